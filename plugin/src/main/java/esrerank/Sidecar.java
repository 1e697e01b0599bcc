package esrerank;

import org.elasticsearch.ElasticsearchStatusException;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.ActionRunnable;
import org.elasticsearch.action.support.ContextPreservingActionListener;
import org.elasticsearch.common.Strings;
import org.elasticsearch.common.hash.MessageDigests;
import org.elasticsearch.common.util.concurrent.EsRejectedExecutionException;
import org.elasticsearch.core.CheckedConsumer;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.threadpool.ThreadPool;
import org.elasticsearch.xcontent.XContentBuilder;
import org.elasticsearch.xcontent.json.JsonXContent;

import java.io.IOException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;

/**
 * Asks the sidecar, where the models run. No thread waits for an answer.
 *
 * <p>After {@value #OPEN_AFTER} failures one after
 * another, calls fail at once for {@value #OPEN_MS} milliseconds (circuit breaker), so that a dead sidecar does not
 * hold every search for the whole timeout.
 */
public final class Sidecar {
    /** The version of the internal API that this plugin speaks. */
    static final int API_VERSION = 1;

    /** Header by which the caller of a search bounds each call of the sidecar, in milliseconds. */
    static final String TIMEOUT_HEADER = "X-Rerank-Timeout-Ms";

    /** Header by which the sidecar tells the users of Elasticsearch apart, so that none learns what others had scored. */
    private static final String USER_HEADER = "X-Rerank-User";

    /** Where Elasticsearch's security keeps the user of a request: AuthenticationField.AUTHENTICATION_KEY. */
    private static final String AUTHENTICATION = "_xpack_security_authentication";

    /** The default of {@code inference_id} in Elastic's documentation. Here it names the default reranker. */
    private static final String DEFAULT_MODEL = ".rerank-v1-elasticsearch";

    private static final int OPEN_AFTER = 5;
    private static final long OPEN_MS = 5_000;

    final SidecarSettings settings;
    private final HttpClient http;
    private final ThreadPool threads;
    private final AtomicInteger running = new AtomicInteger();
    private final AtomicInteger failuresInARow = new AtomicInteger();
    private volatile long openUntilMs;
    private final LongAdder calls = new LongAdder();
    private final LongAdder failures = new LongAdder();
    private final LongAdder rejected = new LongAdder();
    private final LongAdder millis = new LongAdder();

    Sidecar(SidecarSettings settings, HttpClient http, ThreadPool threads) {
        this.settings = settings;
        this.http = http;
        this.threads = threads;
    }

    /** What this node has asked of the sidecar since it started. */
    record Counters(long calls, long failures, long rejected, long millis, int running, boolean circuitOpen) {}

    Counters counters() {
        return new Counters(
            calls.sum(),
            failures.sum(),
            rejected.sum(),
            millis.sum(),
            running.get(),
            threads.relativeTimeInMillis() < openUntilMs
        );
    }

    /**
     * Posts a JSON body and gives the answer to the listener, on a thread of the pool {@code generic} and in the
     * thread context of the caller. The body is written there, too.
     *
     * <p>The listener fails with an ElasticsearchStatusException: 504 after the timeout, 502 for an answer that is no
     * answer, the sidecar's own status otherwise (400 as IllegalArgumentException), and with
     * EsRejectedExecutionException (429) if too many calls run.
     *
     * @param path path of the endpoint, after the address of the sidecar
     * @param opaqueId the caller's X-Opaque-Id, null for none
     * @param body writes the fields of the body
     */
    void post(
        String path,
        String opaqueId,
        CheckedConsumer<XContentBuilder, IOException> body,
        ActionListener<Map<String, Object>> listener
    ) {
        long start = threads.relativeTimeInMillis();
        threads.generic().execute(ActionRunnable.wrap(
            ContextPreservingActionListener.wrapPreservingContext(listener, threads.getThreadContext()),
            inContext -> {
                checkCircuit(start);
                send(request(path, opaqueId, body), start, inContext);
            }
        ));
    }

    private void checkCircuit(long now) {
        if (now < openUntilMs) {
            throw new ElasticsearchStatusException(
                "the sidecar at [{}] failed {} times one after another and is not asked for up to {} ms",
                RestStatus.SERVICE_UNAVAILABLE,
                settings.url,
                OPEN_AFTER,
                openUntilMs - now
            );
        }
    }

    private void send(HttpRequest request, long start, ActionListener<Map<String, Object>> inContext) {
        if (running.incrementAndGet() > settings.maxCalls) {
            running.decrementAndGet();
            rejected.increment();
            throw new EsRejectedExecutionException(
                "[" + settings.maxCalls + "] calls of the sidecar run already, the most that "
                    + "[es_rerank.max_concurrent_calls] allows"
            );
        }
        calls.increment();
        long sent = System.nanoTime(); // the clock of the thread pool has steps of 200 ms
        TimeValue timeout = timeout();
        new SidecarCall(http, request, threads).send(timeout).whenCompleteAsync((response, error) -> {
            running.decrementAndGet();
            millis.add(TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - sent));
            count(response);
            ActionListener.completeWith(inContext, () -> {
                try {
                    return SidecarAnswer.of(response, error, settings.url, timeout);
                } catch (Exception failure) {
                    failures.increment();
                    throw failure;
                }
            });
        }, threads.generic());
    }

    /** Opens the circuit after failures in a row. An answer below 500 shows that the sidecar works. */
    private void count(HttpResponse<byte[]> response) {
        if (response != null && response.statusCode() < 500) {
            failuresInARow.set(0);
        } else if (failuresInARow.incrementAndGet() >= OPEN_AFTER) {
            openUntilMs = threads.relativeTimeInMillis() + OPEN_MS;
            failuresInARow.set(0);
        }
    }

    private HttpRequest request(String path, String opaqueId, CheckedConsumer<XContentBuilder, IOException> body)
        throws IOException {
        String text;
        try (XContentBuilder builder = JsonXContent.contentBuilder()) {
            builder.startObject();
            body.accept(builder);
            builder.endObject();
            text = Strings.toString(builder);
        }
        HttpRequest.Builder request = HttpRequest.newBuilder(settings.url.resolve(settings.url.getRawPath() + path))
            .header("Content-Type", "application/json")
            .header(TIMEOUT_HEADER, Long.toString(timeout().millis()))
            .header(USER_HEADER, user())
            .POST(HttpRequest.BodyPublishers.ofString(text, StandardCharsets.UTF_8));
        String key = settings.apiKey();
        if (key != null) {
            request.header("Authorization", "Bearer " + key);
        }
        if (opaqueId != null) {
            request.header("X-Opaque-Id", opaqueId);
        }
        return request.build();
    }

    /** Returns a digest of the user of this thread's request, or the word none where Elasticsearch has no security. */
    private String user() {
        String authentication = threads.getThreadContext().getHeader(AUTHENTICATION);
        return authentication == null
            ? "none"
            : MessageDigests.toHexString(MessageDigests.sha256().digest(authentication.getBytes(StandardCharsets.UTF_8)));
    }

    /** Ends all calls. */
    void close() {
        http.shutdownNow();
    }

    /** Returns the time for one call: that of the setting, or that of the caller's header if it is shorter. */
    private TimeValue timeout() {
        String header = threads.getThreadContext().getHeader(TIMEOUT_HEADER);
        if (header == null) {
            return settings.timeout;
        }
        if (header.matches("[1-9][0-9]{0,8}") == false) {
            throw new IllegalArgumentException(
                "header [" + TIMEOUT_HEADER + "] must be a positive number of milliseconds, found [" + header + "]"
            );
        }
        return TimeValue.timeValueMillis(Math.min(Long.parseLong(header), settings.timeout.millis()));
    }

    /**
     * Returns the reranker to ask for, null for the sidecar's own default: where the node allows some models only, the
     * first of them is the default. Throws IllegalArgumentException for a model that the node does not allow.
     */
    String reranker(String model) {
        boolean unnamed = model == null || model.equals(DEFAULT_MODEL);
        return allowed(unnamed ? settings.models.isEmpty() ? null : settings.models.get(0) : model);
    }

    /** Whether the node allows a model. */
    boolean allows(String model) {
        return settings.models.isEmpty() || settings.models.contains(model);
    }

    /** Returns the model to ask for. Throws IllegalArgumentException for one that the node does not allow. */
    String allowed(String model) {
        if (model != null && allows(model) == false) {
            throw new IllegalArgumentException(
                "model [" + model + "] is not allowed on this node; allowed (setting es_rerank.models): " + settings.models
            );
        }
        return model;
    }
}
