package esrerank;

import org.elasticsearch.ElasticsearchStatusException;
import org.elasticsearch.ExceptionsHelper;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.common.util.concurrent.EsRejectedExecutionException;
import org.elasticsearch.common.util.concurrent.ThreadContext;
import org.elasticsearch.rest.RestStatus;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Queue;
import java.util.function.BiConsumer;
import java.util.function.Supplier;

/**
 * Sends the documents of bulk requests to the sidecar in batches.
 *
 * <p>All documents of a bulk are in flight at once: 500 documents made 500 calls, 60 at a time (measured). So documents
 * wait in a bounded queue while two calls run, and each call takes what has gathered. A full queue refuses a document
 * with 429, which clients of bulk send again later.
 */
final class PassageBatches {
    private static final int MOST_DOCUMENTS = 64;
    private static final long MOST_CHARACTERS = 256 * 1024;
    private static final int CALLS = 2;
    private static final int QUEUE_DOCUMENTS = 10_000;
    private static final long QUEUE_CHARACTERS = 64L * 1024 * 1024;

    /**
     * A document: its title and text, the embedder that is asked for (null for the sidecar's own), and whether the text is
     * Markdown.
     */
    record Text(String title, String text, String model, boolean markdown) {
        long characters() {
            return (long) title.length() + text.length();
        }
    }

    private record Waiting(
        Text text,
        BiConsumer<List<Map<String, Object>>, Exception> handler,
        Supplier<ThreadContext.StoredContext> context
    ) {}

    private final Sidecar sidecar;
    private final ThreadContext context;
    private final Queue<Waiting> queue = new ArrayDeque<>();
    private long queuedCharacters;
    private int calls;

    PassageBatches(Sidecar sidecar, ThreadContext context) {
        this.sidecar = sidecar;
        this.context = context;
    }

    /**
     * Cuts and embeds a document. The handler gets its passages, or an error: EsRejectedExecutionException (429) if the
     * queue is full, else what the sidecar's call raised.
     */
    void add(Text text, BiConsumer<List<Map<String, Object>>, Exception> handler) {
        boolean full;
        synchronized (this) {
            full = queue.size() >= QUEUE_DOCUMENTS || queuedCharacters + text.characters() > QUEUE_CHARACTERS;
            if (full == false) {
                queue.add(new Waiting(text, handler, context.newRestorableContext(true)));
                queuedCharacters += text.characters();
            }
        }
        if (full) {
            handler.accept(
                null,
                new EsRejectedExecutionException(
                    "[" + PassagesProcessor.TYPE + "] too many documents wait for the sidecar; send fewer at a time, or later"
                )
            );
            return;
        }
        send();
    }

    private void send() {
        List<Waiting> batch;
        while ((batch = next()) != null) {
            send(batch);
        }
    }

    private void send(List<Waiting> batch) {
        sidecar.post("/_rerank/v1/passages", null, body -> {
            body.startArray("documents");
            for (Waiting waiting : batch) {
                body.startObject().field("title", waiting.text.title).field("text", waiting.text.text);
                if (waiting.text.markdown) {
                    body.field("format", "markdown"); // a sidecar of an earlier release does not know it
                }
                body.endObject();
            }
            body.endArray();
            if (batch.get(0).text.model != null) {
                body.field("model", sidecar.allowed(batch.get(0).text.model));
            }
        }, ActionListener.wrap(answer -> finish(batch, answer, null), error -> failed(batch, error)));
    }

    /** Sends a batch that is too large for the sidecar again in halves, so that the other documents are not lost. */
    private void failed(List<Waiting> batch, Exception error) {
        boolean tooLarge = ExceptionsHelper.status(error) == RestStatus.REQUEST_ENTITY_TOO_LARGE;
        if (tooLarge == false || batch.size() == 1) {
            finish(batch, Map.of(), error);
            return;
        }
        synchronized (this) {
            calls++;
        }
        send(batch.subList(0, batch.size() / 2));
        send(batch.subList(batch.size() / 2, batch.size()));
    }

    /** Takes the next batch, with one embedder for all, out of the queue. Returns null if enough calls run. */
    private synchronized List<Waiting> next() {
        if (calls >= CALLS || queue.isEmpty()) {
            return null;
        }
        List<Waiting> batch = new ArrayList<>();
        long characters = 0;
        while (queue.isEmpty() == false
            && batch.size() < MOST_DOCUMENTS
            && (batch.isEmpty() || characters + queue.peek().text.characters() <= MOST_CHARACTERS)
            && (batch.isEmpty() || Objects.equals(queue.peek().text.model, batch.get(0).text.model))) {
            Waiting waiting = queue.remove();
            characters += waiting.text.characters();
            batch.add(waiting);
        }
        queuedCharacters -= characters;
        calls++;
        return batch;
    }

    private void finish(List<Waiting> batch, Map<String, Object> answer, Exception error) {
        synchronized (this) {
            calls--;
        }
        send();
        List<List<Map<String, Object>>> passages = null;
        Exception failure = error;
        if (failure == null) {
            try {
                passages = passages(answer, batch.size());
            } catch (Exception wrong) {
                failure = wrong;
            }
        }
        for (int i = 0; i < batch.size(); i++) {
            try (ThreadContext.StoredContext ignored = batch.get(i).context.get()) {
                batch.get(i).handler.accept(failure == null ? passages.get(i) : null, failure);
            }
        }
    }

    private static List<List<Map<String, Object>>> passages(Map<String, Object> answer, int count) {
        if (answer.get("documents") instanceof List<?> documents && documents.size() == count) {
            List<List<Map<String, Object>>> all = new ArrayList<>();
            for (Object document : documents) {
                List<Map<String, Object>> passages = new ArrayList<>();
                if (document instanceof List<?> == false) {
                    throw wrong();
                }
                for (Object passage : (List<?>) document) {
                    passages.add(passage(passage));
                }
                all.add(passages);
            }
            return all;
        }
        throw wrong();
    }

    @SuppressWarnings("unchecked")
    private static Map<String, Object> passage(Object passage) {
        if (passage instanceof Map<?, ?> map && map.get("text") instanceof String && map.get("vector") instanceof List<?>) {
            return (Map<String, Object>) map;
        }
        throw wrong();
    }

    private static ElasticsearchStatusException wrong() {
        return new ElasticsearchStatusException(
            "the sidecar answered without passages and vectors for each document",
            RestStatus.BAD_GATEWAY
        );
    }
}
