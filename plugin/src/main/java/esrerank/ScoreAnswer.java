package esrerank;

import org.elasticsearch.ElasticsearchStatusException;
import org.elasticsearch.rest.RestStatus;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * The sidecar's answer to a request for scores: the documents in their new order.
 *
 * @param documents one entry for each document of the request, best first
 * @param warning why some documents have no score, null if all have one
 * @param truncated number of passages that were cut to the model's length
 * @param capped number of documents of which not all passages were read
 * @param notes what a caller should know about the scores, one sentence each
 * @param blend the coefficients by which the scores of the first stage had a part in the new ones, null for none
 * @param order {@code first_stage} if the order of the first stage was left alone, else null
 */
record ScoreAnswer(
    List<Scored> documents,
    String warning,
    int truncated,
    int capped,
    List<String> notes,
    String blend,
    String order
) {
    /**
     * One document.
     *
     * @param index its place in the request, from 0
     * @param done whether it was scored before the deadline
     * @param score what the documents are sorted by, 0..1
     */
    record Scored(int index, boolean done, float score, float logit, float probability, String passage, int start, int end) {}

    /**
     * Reads an answer.
     *
     * @throws ElasticsearchStatusException (502) if a document is missing, named twice, has a score that is not a
     *     number from 0 to 1, or none without a warning that says why
     */
    static ScoreAnswer of(Map<String, Object> answer, int count) {
        if (answer.get("documents") instanceof List<?> entries && entries.size() == count) {
            List<Scored> documents = new ArrayList<>();
            Set<Integer> seen = new HashSet<>();
            for (Object entry : entries) {
                Scored scored = entry instanceof Map<?, ?> map ? scored(map) : null;
                if (scored == null || scored.index < 0 || scored.index >= count || seen.add(scored.index) == false) {
                    throw wrong("an entry that is no scored document of the request");
                }
                if (scored.done && (scored.score >= 0 && scored.score <= 1 && Float.isFinite(scored.logit)) == false) {
                    throw wrong("a score that is not a number from 0 to 1");
                }
                documents.add(scored);
            }
            String warning = text(answer, "warning");
            if (warning == null && documents.stream().allMatch(Scored::done) == false) {
                throw wrong("a document without a score, and without a warning that says why");
            }
            return new ScoreAnswer(
                documents,
                warning,
                count(answer, "truncated"),
                count(answer, "capped"),
                notes(answer),
                text(answer, "blend"),
                text(answer, "order")
            );
        }
        throw wrong("other than [" + count + "] documents");
    }

    private static Scored scored(Map<?, ?> entry) {
        if (entry.get("index") instanceof Number index) {
            boolean done = entry.get("score") != null;
            Map<?, ?> passage = entry.get("passage") instanceof Map<?, ?> map ? map : Map.of();
            return new Scored(
                index.intValue(),
                done,
                number(entry, "score"),
                number(entry, "logit"),
                number(entry, "probability"),
                passage.get("text") instanceof String text ? text : null,
                passage.get("start") instanceof Number start ? start.intValue() : -1,
                passage.get("end") instanceof Number end ? end.intValue() : -1
            );
        }
        return null;
    }

    private static List<String> notes(Map<String, Object> answer) {
        List<?> notes = answer.get("notes") instanceof List<?> list ? list : List.of();
        return notes.stream().filter(String.class::isInstance).map(String.class::cast).toList();
    }

    private static String text(Map<String, Object> answer, String name) {
        return answer.get(name) instanceof String text ? text : null;
    }

    private static int count(Map<String, Object> answer, String name) {
        return answer.get(name) instanceof Number number ? number.intValue() : 0;
    }

    private static float number(Map<?, ?> entry, String name) {
        return entry.get(name) instanceof Number number ? number.floatValue() : Float.NaN;
    }

    private static ElasticsearchStatusException wrong(String what) {
        return new ElasticsearchStatusException("the sidecar answered with {}", RestStatus.BAD_GATEWAY, what);
    }
}
