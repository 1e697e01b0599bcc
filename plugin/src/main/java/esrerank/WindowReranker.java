package esrerank;

import org.elasticsearch.ExceptionsHelper;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.search.SearchRequest;
import org.elasticsearch.action.search.SearchResponse;
import org.elasticsearch.action.search.TransportSearchAction;
import org.elasticsearch.client.internal.Client;
import org.elasticsearch.common.logging.HeaderWarning;
import org.elasticsearch.common.util.concurrent.ThreadContext;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.search.SearchHit;
import org.elasticsearch.search.builder.SearchSourceBuilder;
import org.elasticsearch.search.rank.RankDoc;
import org.elasticsearch.search.retriever.RetrieverBuilder;
import org.elasticsearch.search.sort.ShardDocSortField;
import org.elasticsearch.xcontent.XContentBuilder;
import java.io.IOException;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import java.util.stream.Collectors;

/**
 * Reranks the window of one search: searches the child with the texts of its hits, lets the sidecar score them, and
 * makes ranked documents of the answer. Nothing here waits: each step goes on when the one before has answered.
 */
final class WindowReranker {
    private final Sidecar sidecar;
    private final boolean hitFields;
    private final RerankRetriever.Parameters parameters;
    private final FirstStage firstStage;
    private final TextSource texts;
    private final Float minScore;
    private final RetrieverBuilder child;

    /**
     * @param hitFields whether all nodes can read documents with what their hits show
     * @param firstStage what the scores of the child are made of, null if they have no part in the new ones
     * @param minScore the least score of the request, null for none
     * @param child the retriever whose hits are reranked
     */
    WindowReranker(
        Sidecar sidecar,
        boolean hitFields,
        RerankRetriever.Parameters parameters,
        FirstStage firstStage,
        TextSource texts,
        Float minScore,
        RetrieverBuilder child
    ) {
        this.sidecar = sidecar;
        this.hitFields = hitFields;
        this.parameters = parameters;
        this.firstStage = firstStage;
        this.texts = texts;
        this.minScore = minScore;
        this.child = child;
    }

    /** Searches the child and gives the listener the ranked documents. {@code source} is the search of the child. */
    void search(Client client, SearchSourceBuilder source, ActionListener<RankDoc[]> listener) {
        NearestPassages nearest = NearestPassages.of(parameters, texts);
        boolean comeAlong = nearest != null && NearestPassages.comeWith(source);
        SearchRequest request = new SearchRequest().source(source);
        // The can-match phase may reorder shards, and the order of shards decides between equal scores.
        request.setPreFilterShardSize(Integer.MAX_VALUE);
        client.execute(
            TransportSearchAction.TYPE,
            request,
            listener.delegateFailureAndWrap((next, response) -> {
                List<Hit> window = window(response, comeAlong ? nearest::texts : texts::texts);
                if (nearest == null || comeAlong || window.isEmpty()) {
                    score(client, window, next);
                } else {
                    nearest.find(
                        client,
                        source.pointInTimeBuilder(),
                        firstStage(window),
                        next.delegateFailureAndWrap((after, found) -> score(client, withTexts(window, found), after))
                    );
                }
            })
        );
    }

    private static List<Hit> withTexts(List<Hit> window, Map<Long, TextSource.Texts> found) {
        return window.stream()
            .map(hit -> new Hit(hit.doc, found.getOrDefault(ShardDocSortField.encodeShardAndDoc(hit.doc.shardIndex, hit.doc.doc), hit.texts)))
            .toList();
    }

    /** A hit of the window: the document, its rank in the first stage and its texts. */
    private record Hit(RankDoc doc, TextSource.Texts texts) {}

    private List<Hit> window(SearchResponse response, Function<SearchHit, TextSource.Texts> textsOf) {
        ChildSearches.warnOfFailedShards(RerankRetriever.NAME, response, ChildSearches.FIRST_STAGE);
        RankDoc[] docs = ChildSearches.documents(response);
        SearchHit[] hits = response.getHits().getHits();
        List<Hit> window = new ArrayList<>();
        long characters = 0;
        for (int i = 0; i < hits.length; i++) {
            TextSource.Texts read = textsOf.apply(hits[i]);
            characters += read.characters();
            if (characters > sidecar.settings.maxText.getBytes()) {
                throw new IllegalArgumentException(
                    "[" + RerankRetriever.NAME + "] the texts of " + window.size() + " of " + hits.length
                        + " documents already hold " + sidecar.settings.maxText
                        + ", the most that [es_rerank.max_text_size] allows; name a smaller [rank_window_size] or a field with less text"
                );
            }
            window.add(new Hit(docs[i], read));
        }
        // A kNN matches these documents when Elasticsearch counts and aggregates what all leaves match.
        child.setRankDocs(firstStage(window));
        return window;
    }

    private void score(Client client, List<Hit> window, ActionListener<RankDoc[]> listener) {
        if (window.isEmpty()) {
            listener.onResponse(new RankDoc[0]);
            return;
        }
        ActionListener<RankDoc[]> withFallback = parameters.failures() ? fallback(window, listener) : listener;
        if (checkTexts(window) == false) {
            listener.onResponse(firstStage(window));
            return;
        }
        ThreadContext threads = client.threadPool().getThreadContext();
        String opaqueId = threads.getHeader("X-Opaque-Id");
        sidecar.post(
            "/_rerank/v1/score",
            opaqueId,
            body -> write(body, window),
            // A request that the sidecar refuses as wrong stays wrong: only a failure leaves the first stage's order.
            ActionListener.<Map<String, Object>>wrap(
                answer -> ActionListener.completeWith(withFallback, () -> reranked(window, answer, threads)),
                error -> (ExceptionsHelper.status(error) == RestStatus.BAD_REQUEST ? listener : withFallback).onFailure(error)
            )
        );
    }

    /** Returns a listener that answers a failure with the window in the order of the first stage, and a warning. */
    private static ActionListener<RankDoc[]> fallback(List<Hit> window, ActionListener<RankDoc[]> listener) {
        return listener.delegateResponse((next, error) -> {
            HeaderWarning.addWarning(
                "[{}] the reranker failed, the order of the first stage stays: {}",
                RerankRetriever.NAME,
                error.getMessage()
            );
            next.onResponse(firstStage(window));
        });
    }

    /**
     * Warns of documents without text, and of texts that could not be read.
     *
     * @return whether a document of the window has a text
     */
    private boolean checkTexts(List<Hit> window) {
        long without = window.stream().filter(hit -> hit.texts.empty()).count();
        long unread = window.stream().filter(hit -> hit.texts.unread() != null).count();
        String causes = window.stream()
            .map(hit -> hit.texts.unread())
            .filter(Objects::nonNull)
            .distinct()
            .collect(Collectors.joining("; index "));
        String because = causes.isEmpty() ? "" : ": index " + causes;
        if (without == window.size()) {
            HeaderWarning.addWarning(
                "[{}] none of the {} documents of the window has text in [{}]{}; name a field that they have, or index them with [_source]",
                RerankRetriever.NAME,
                without,
                texts.named(),
                because
            );
            return false;
        }
        if (without > 0) {
            HeaderWarning.addWarning("[{}] {} of {} documents have no text in [{}]", RerankRetriever.NAME, without, window.size(), texts.named());
        }
        if (unread > 0) {
            HeaderWarning.addWarning("[{}] the text of {} of {} documents cannot be read{}", RerankRetriever.NAME, unread, window.size(), because);
        }
        return true;
    }

    /**
     * Returns the window in the order of the first stage, all of it: a minimum score compares with probabilities.
     *
     * <p>Elasticsearch orders ranked documents by their scores. Hits of a sorted child have none and get the smallest.
     */
    private static RankDoc[] firstStage(List<Hit> window) {
        RankDoc[] docs = new RankDoc[window.size()];
        for (int i = 0; i < docs.length; i++) {
            RankDoc doc = window.get(i).doc;
            docs[i] = Float.isNaN(doc.score) ? RerankedDoc.copyOf(doc, smallest(docs.length - i)) : doc;
            docs[i].rank = i + 1;
        }
        return docs;
    }

    /** Returns one of the smallest scores above 0, in the order of {@code place} from 1. Ranked documents need one. */
    private static float smallest(int place) {
        return Float.MIN_VALUE * place;
    }

    private void write(XContentBuilder body, List<Hit> window) throws IOException {
        body.field("query", parameters.text());
        if (parameters.model() == null && texts.reranker() != null && sidecar.allows(texts.reranker())) {
            body.field("recorded_model", texts.reranker()); // if it is not served, the sidecar takes its default one
        } else {
            String model = sidecar.reranker(parameters.model());
            if (model != null) {
                body.field("model", model);
            }
        }
        body.field("allow_failures", parameters.failures());
        body.field("blend", parameters.blend());
        if (firstStage != null) { // a sidecar of an earlier release does not know these fields
            if (firstStage.kind() != null) {
                body.field("first_stage", firstStage.kind().toString());
            }
            body.field("recorded_embedders", texts.embedders()).field("vector_models", firstStage.models());
        }
        if (parameters.aggregation() != null) {
            body.field("aggregation", parameters.aggregation());
        }
        if (parameters.chunks() != null && texts.nested() == null) {
            body.startObject("chunk_rescorer").field("size", parameters.chunks().size());
            if (parameters.chunks().settings() != null) {
                body.field("chunking_settings", parameters.chunks().settings());
            }
            body.endObject();
        }
        body.field("passages_stored", texts.nested() != null);
        body.startArray("documents");
        for (Hit hit : window) {
            body.startObject();
            if (Float.isNaN(hit.doc.score) == false) {
                body.field("first_stage_score", hit.doc.score);
            }
            body.field("context", hit.texts.context());
            body.startArray("passages");
            for (TextSource.Passage passage : hit.texts.passages()) {
                body.startObject().field("text", passage.text());
                if (passage.start() >= 0) {
                    body.field("start", passage.start()).field("end", passage.end());
                }
                if (passage.heading().isEmpty() == false) {
                    body.field("heading", passage.heading()); // a sidecar of an earlier release does not know it
                }
                body.endObject();
            }
            body.endArray().endObject();
        }
        body.endArray();
    }

    /**
     * Returns the ranked documents of an answer: scored ones by descending score, then those without a score in the
     * order of the first stage, without those below the minimum score.
     */
    private RankDoc[] reranked(List<Hit> window, Map<String, Object> answer, ThreadContext threads) {
        ScoreAnswer scores = ScoreAnswer.of(answer, window.size());
        if (scores.warning() != null) {
            HeaderWarning.addWarning("[{}] {}", RerankRetriever.NAME, scores.warning());
        }
        tell(threads, SearchWarnings.BLEND, scores.blend());
        tell(threads, SearchWarnings.ORDER, scores.order());
        for (String note : scores.notes()) {
            HeaderWarning.addWarning("[{}] {}", RerankRetriever.NAME, note);
        }
        long capped = scores.capped() + window.stream().filter(hit -> hit.texts.capped()).count();
        if (capped > 0) {
            HeaderWarning.addWarning(
                "[{}] of {} of {} documents the first {} passages were read",
                RerankRetriever.NAME,
                capped,
                window.size(),
                TextSource.PASSAGE_CAP
            );
        }
        if (scores.truncated() > 0) {
            HeaderWarning.addWarning("[{}] {} passages were cut to the model's length", RerankRetriever.NAME, scores.truncated());
        }
        if (scores.documents().stream().noneMatch(ScoreAnswer.Scored::done)) {
            return firstStage(window);
        }
        List<RankDoc> docs = new ArrayList<>();
        int place = scores.documents().size();
        for (ScoreAnswer.Scored scored : scores.documents()) {
            RankDoc doc = window.get(scored.index()).doc;
            float least = smallest(place--);
            if (scored.done() && (below(scored.score(), minScore) || below(scored.probability(), parameters.minProbability()))) {
                continue;
            }
            float score = scored.done() ? Math.max(scored.score(), least) : least;
            docs.add(
                hitFields
                    ? new RerankedDoc(doc.doc, score, doc.shardIndex, facts(doc, scored))
                    : new RankDoc(doc.doc, score, doc.shardIndex)
            );
        }
        for (int i = 0; i < docs.size(); i++) {
            docs.get(i).rank = i + 1;
        }
        return docs.toArray(new RankDoc[0]);
    }

    /** Adds a header to the answer of the search. The name of an embedder may have characters that no header has. */
    private static void tell(ThreadContext threads, String header, String value) {
        if (value != null) {
            threads.addResponseHeader(header, URLEncoder.encode(value, StandardCharsets.UTF_8).replace("+", "%20"));
        }
    }

    private static boolean below(float value, Float least) {
        return least != null && value < least;
    }

    private static RerankedDoc.Facts facts(RankDoc doc, ScoreAnswer.Scored scored) {
        return new RerankedDoc.Facts(
            doc.score,
            doc.rank,
            scored.logit(),
            scored.probability(),
            scored.passage(),
            scored.start(),
            scored.end()
        );
    }
}
