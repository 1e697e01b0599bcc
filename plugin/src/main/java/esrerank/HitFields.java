package esrerank;

import org.elasticsearch.common.document.DocumentField;
import org.elasticsearch.search.SearchHit;
import org.elasticsearch.search.rank.RankDoc;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The fields that a reranked hit shows, and the way back from a hit to what the reranker said. */
final class HitFields {
    private static final String FIRST_STAGE_SCORE = "rerank.first_stage_score";
    private static final String FIRST_STAGE_RANK = "rerank.first_stage_rank";
    private static final String LOGIT = "rerank.logit";
    private static final String PROBABILITY = "rerank.probability";
    private static final String PASSAGE = "rerank.passage";

    private HitFields() {}

    /** Adds what the reranker said to the {@code fields} of a hit. Values that are not known are left out. */
    static void add(SearchHit hit, RerankedDoc.Facts facts) {
        number(hit, FIRST_STAGE_SCORE, facts.firstStageScore());
        hit.setDocumentField(new DocumentField(FIRST_STAGE_RANK, List.of(facts.firstStageRank())));
        number(hit, LOGIT, facts.logit());
        number(hit, PROBABILITY, facts.probability());
        if (facts.passage() != null) {
            Map<String, Object> passage = new LinkedHashMap<>();
            passage.put("text", facts.passage());
            if (facts.start() >= 0) {
                passage.put("start", facts.start());
                passage.put("end", facts.end());
            }
            hit.setDocumentField(new DocumentField(PASSAGE, List.of(passage)));
        }
    }

    private static void number(SearchHit hit, String name, float value) {
        if (Float.isNaN(value) == false) {
            hit.setDocumentField(new DocumentField(name, List.of(value)));
        }
    }

    /** Returns the ranked document of an inner hit. It keeps what an inner reranker said about the hit. */
    static RankDoc rankDoc(int doc, SearchHit hit, int shardIndex) {
        DocumentField rank = hit.field(FIRST_STAGE_RANK);
        if (rank == null) {
            return new RankDoc(doc, hit.getScore(), shardIndex);
        }
        Map<?, ?> passage = hit.field(PASSAGE) == null ? Map.of() : hit.field(PASSAGE).getValue();
        return new RerankedDoc(
            doc,
            hit.getScore(),
            shardIndex,
            new RerankedDoc.Facts(
                number(hit, FIRST_STAGE_SCORE),
                rank.<Number>getValue().intValue(),
                number(hit, LOGIT),
                number(hit, PROBABILITY),
                (String) passage.get("text"),
                passage.get("start") instanceof Number start ? start.intValue() : -1,
                passage.get("end") instanceof Number end ? end.intValue() : -1
            )
        );
    }

    private static float number(SearchHit hit, String name) {
        DocumentField field = hit.field(name);
        return field == null ? Float.NaN : field.<Number>getValue().floatValue();
    }
}
