package esrerank;

import org.apache.lucene.search.ScoreDoc;
import org.elasticsearch.search.rank.RankDoc;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Fuses ranked lists: reciprocal rank fusion, and the weighted sum of normalized scores. Pure functions.
 *
 * <p>Scores are floats and are added in the order of the lists. Equal sums are ordered by shard and document, as
 * Elasticsearch orders equal scores.
 */
final class Fusion {
    /** A spread (minmax) or norm (l2_norm) below this value counts as zero; observed on Elasticsearch 9.5. */
    private static final double EPSILON = 1e-6;

    private Fusion() {}

    /**
     * Returns the {@code size} best documents by the sum of weight / (rankConstant + rank).
     *
     * <p>Formula: Cormack, Clarke and Buettcher, SIGIR 2009. Weights: Elastic's documentation of retrievers.
     */
    static RankDoc[] rrf(List<ScoreDoc[]> lists, float[] weights, int rankConstant, int size) {
        List<float[]> shares = new ArrayList<>();
        for (int i = 0; i < lists.size(); i++) {
            float[] share = new float[lists.get(i).length];
            for (int rank = 1; rank <= share.length; rank++) {
                share[rank - 1] = weights[i] * (1.0f / (rankConstant + rank));
            }
            shares.add(share);
        }
        return summed(lists, shares, size);
    }

    /**
     * Returns the {@code size} best documents by the sum of weight * normalized score. A list adds 0 for a document
     * that it lacks or holds without a score.
     */
    static RankDoc[] linear(List<ScoreDoc[]> lists, float[] weights, Normalizer[] normalizers, int size) {
        List<float[]> shares = new ArrayList<>();
        for (int i = 0; i < lists.size(); i++) {
            float[] share = normalized(lists.get(i), normalizers[i]);
            for (int j = 0; j < share.length; j++) {
                share[j] = Float.isNaN(share[j]) ? 0.0f : weights[i] * share[j];
            }
            shares.add(share);
        }
        return summed(lists, shares, size);
    }

    /** Returns the normalized scores of a list. NaN, the score of a document without one, stays NaN. */
    static float[] normalized(ScoreDoc[] list, Normalizer normalizer) {
        float low = Float.POSITIVE_INFINITY;
        float high = Float.NEGATIVE_INFINITY;
        double squares = 0.0;
        float[] values = new float[list.length];
        for (int i = 0; i < list.length; i++) {
            values[i] = list[i].score;
            if (Float.isNaN(values[i]) == false) {
                low = Math.min(low, values[i]);
                high = Math.max(high, values[i]);
                squares += (double) values[i] * values[i];
            }
        }
        double norm = Math.sqrt(squares);
        for (int i = 0; i < values.length; i++) {
            values[i] = switch (normalizer) {
                case NONE -> values[i];
                case MINMAX -> Float.isNaN(values[i]) ? values[i]
                    : Math.abs((double) high - low) < EPSILON ? 1.0f : (values[i] - low) / (high - low);
                case L2_NORM -> norm < EPSILON ? values[i] : (float) (values[i] / norm);
            };
        }
        return values;
    }

    /** Returns the {@code size} documents with the largest sums, with ranks from 1. */
    private static RankDoc[] summed(List<ScoreDoc[]> lists, List<float[]> shares, int size) {
        Map<Long, RankDoc> documents = new HashMap<>();
        for (int i = 0; i < lists.size(); i++) {
            ScoreDoc[] list = lists.get(i);
            for (int j = 0; j < list.length; j++) {
                ScoreDoc doc = list[j];
                RankDoc sum = documents.computeIfAbsent(key(doc), unused -> RerankedDoc.copyOf(doc, 0.0f));
                sum.score += shares.get(i)[j];
                if (sum instanceof RerankedDoc == false && doc instanceof RerankedDoc reranked) {
                    documents.put(key(doc), RerankedDoc.copyOf(reranked, sum.score));
                }
            }
        }
        List<RankDoc> order = new ArrayList<>(documents.values());
        order.sort(
            Comparator.comparingDouble((RankDoc doc) -> -doc.score)
                .thenComparingInt(doc -> doc.shardIndex)
                .thenComparingInt(doc -> doc.doc)
        );
        RankDoc[] best = order.subList(0, Math.min(size, order.size())).toArray(new RankDoc[0]);
        for (int i = 0; i < best.length; i++) {
            best[i].rank = i + 1;
        }
        return best;
    }

    /** Returns what identifies a document in one search: its shard and its number in the shard. */
    private static long key(ScoreDoc doc) {
        return ((long) doc.shardIndex << 32) | doc.doc;
    }
}
