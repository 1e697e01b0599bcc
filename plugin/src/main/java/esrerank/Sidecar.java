package esrerank;

import org.elasticsearch.ElasticsearchException;
import org.elasticsearch.ElasticsearchStatusException;
import org.elasticsearch.ResourceNotFoundException;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.support.ContextPreservingActionListener;
import org.elasticsearch.common.Strings;
import org.elasticsearch.common.bytes.BytesArray;
import org.elasticsearch.common.util.concurrent.EsRejectedExecutionException;
import org.elasticsearch.common.xcontent.XContentHelper;
import org.elasticsearch.core.CheckedConsumer;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.threadpool.ThreadPool;
import org.elasticsearch.xcontent.XContentBuilder;
import org.elasticsearch.xcontent.XContentType;
import org.elasticsearch.xcontent.json.JsonXContent;

import java.io.IOException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;

/**
 * Asks the sidecar, where the models run. No thread waits for an answer.
 *
 * <p>A call is sent again after 429 and 503 while its time lasts. After {@value #OPEN_AFTER} failures one after
 * another, calls fail at once for {@value #OPEN_MS} milliseconds (circuit breaker), so that a dead sidecar does not
 * hold every search for the whole timeout.
 */
public final class Sidecar {
    /** The version of the internal API that this plugin speaks. */
    static final int API_VERSION = 1;

    private static final int OPEN_AFTER = 5;
    private static final long OPEN_MS = 5_000;
    private static final long RETRY_MS = 100;
    private static final int MAX_MESSAGE = 500;
    private static final int MAX_ANSWER_BYTES = 64 * 1024 * 1024;

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
     * thread context of the caller.
     *
     * <p>The listener fails with an ElasticsearchStatusException: 504 after the timeout, 502 for an answer that is no
     * answer, the sidecar's own status otherwise (400 as IllegalArgumentException), and with EsRejectedExecutionException (429) if too many calls run.
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
        ActionListener<Map<String, Object>> inContext = ContextPreservingActionListener.wrapPreservingContext(
            listener,
            threads.getThreadContext()
        );
        try {
            long start = threads.relativeTimeInMillis();
            if (start < openUntilMs) {
                throw new ElasticsearchStatusException(
                    "the sidecar at [{}] failed {} times one after another and is not asked for up to {} ms",
                    RestStatus.SERVICE_UNAVAILABLE,
                    settings.url,
                    OPEN_AFTER,
                    openUntilMs - start
                );
            }
            HttpRequest request = request(path, opaqueId, body);
            if (running.incrementAndGet() > settings.maxCalls) {
                running.decrementAndGet();
                rejected.increment();
                throw new EsRejectedExecutionException(
                    "[" + settings.maxCalls + "] calls of the sidecar run already, the most that "
                        + "[es_rerank.max_concurrent_calls] allows"
                );
            }
            calls.increment();
            TimeValue timeout = settings.timeout;
            Executor generic = threads.generic();
            CompletableFuture<HttpResponse<byte[]>> answer;
            try {
                answer = send(request, start + timeout.millis());
            } catch (RuntimeException error) {
                answer = CompletableFuture.failedFuture(error);
            }
            // orTimeout also covers an answer that begins and stalls; the timeout of HttpRequest does not.
            answer.orTimeout(timeout.millis(), TimeUnit.MILLISECONDS).whenCompleteAsync((response, error) -> {
                running.decrementAndGet();
                millis.add(threads.relativeTimeInMillis() - start);
                Map<String, Object> parsed;
                try {
                    parsed = read(response, error, timeout);
                } catch (Exception failure) {
                    inContext.onFailure(failure);
                    return;
                }
                inContext.onResponse(parsed);
            }, generic);
        } catch (Exception error) {
            inContext.onFailure(error);
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
            .timeout(Duration.ofMillis(settings.timeout.millis()))
            .header("Content-Type", "application/json")
            .header("X-Rerank-Timeout-Ms", Long.toString(settings.timeout.millis()))
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

    private CompletableFuture<HttpResponse<byte[]>> send(HttpRequest request, long deadlineMs) {
        return http.sendAsync(request, BoundedBody.of(MAX_ANSWER_BYTES)).thenCompose(response -> {
            boolean busy = response.statusCode() == 429 || response.statusCode() == 503;
            if (busy == false || threads.relativeTimeInMillis() + RETRY_MS >= deadlineMs) {
                return CompletableFuture.completedFuture(response);
            }
            Executor later = CompletableFuture.delayedExecutor(RETRY_MS, TimeUnit.MILLISECONDS, threads.generic());
            return CompletableFuture.supplyAsync(() -> null, later).thenCompose(unused -> send(request, deadlineMs));
        });
    }

    private Map<String, Object> read(HttpResponse<byte[]> response, Throwable error, TimeValue timeout) {
        try {
            Map<String, Object> parsed = parsed(response, error, timeout);
            failuresInARow.set(0);
            return parsed;
        } catch (ElasticsearchException failure) {
            failures.increment();
            if (failure.status().getStatus() >= 500 && failuresInARow.incrementAndGet() >= OPEN_AFTER) {
                openUntilMs = threads.relativeTimeInMillis() + OPEN_MS;
                failuresInARow.set(0);
            }
            throw failure;
        }
    }

    private Map<String, Object> parsed(HttpResponse<byte[]> response, Throwable error, TimeValue timeout) {
        if (error != null) {
            Throwable cause = error instanceof CompletionException && error.getCause() != null ? error.getCause() : error;
            if (cause instanceof TimeoutException || cause instanceof java.net.http.HttpTimeoutException) {
                throw new ElasticsearchStatusException(
                    "the sidecar at [{}] did not answer within [{}] (setting es_rerank.timeout)",
                    RestStatus.GATEWAY_TIMEOUT,
                    cause,
                    settings.url,
                    timeout
                );
            }
            throw new ElasticsearchStatusException(
                "the sidecar at [{}] cannot be reached: {}; start it with: es-rerank serve",
                RestStatus.BAD_GATEWAY,
                cause,
                settings.url,
                cause.getClass().getSimpleName()
            );
        }
        Map<String, Object> body;
        try {
            body = XContentHelper.convertToMap(new BytesArray(response.body()), false, XContentType.JSON).v2();
        } catch (Exception cause) {
            throw new ElasticsearchStatusException(
                "the sidecar at [{}] answered [{}] with a body that is no JSON object; is it an es-rerank sidecar?",
                RestStatus.BAD_GATEWAY,
                settings.url,
                response.statusCode()
            );
        }
        if (response.statusCode() == 401 || response.statusCode() == 403) {
            // The caller of the search has no part in this key, so 401 would mislead.
            throw new ElasticsearchStatusException(
                "the sidecar at [{}] refused the key of this node; put its key into the keystore as [es_rerank.api_key] and "
                    + "reload the secure settings",
                RestStatus.BAD_GATEWAY,
                settings.url
            );
        }
        if (response.statusCode() == 404) {
            throw new ResourceNotFoundException("the sidecar refused: {}", reason(body));
        }
        if (response.statusCode() == 400) {
            throw new IllegalArgumentException("the sidecar refused: " + reason(body));
        }
        if (response.statusCode() != 200) {
            RestStatus status = RestStatus.fromCode(response.statusCode());
            throw new ElasticsearchStatusException(
                "the sidecar refused: {}",
                status == null || status.getStatus() < 400 ? RestStatus.BAD_GATEWAY : status,
                reason(body)
            );
        }
        if (body.get("version") instanceof Number version && version.intValue() == API_VERSION) {
            return body;
        }
        throw new ElasticsearchStatusException(
            "the sidecar at [{}] speaks version [{}] of the internal API and the plugin version [{}]; "
                + "install the same release of both",
            RestStatus.BAD_GATEWAY,
            settings.url,
            body.get("version"),
            API_VERSION
        );
    }

    private static String reason(Map<String, Object> body) {
        Object error = body.get("error");
        Object reason = error instanceof Map<?, ?> map ? map.get("reason") : error;
        String text = reason == null ? "it gave no reason" : reason.toString();
        return text.length() > MAX_MESSAGE ? text.substring(0, MAX_MESSAGE) + "…" : text;
    }

    /** Ends all calls. */
    void close() {
        http.shutdownNow();
    }

    /** Returns the model to ask for. Throws IllegalArgumentException for one that the node does not allow. */
    String allowed(String model) {
        if (model != null && settings.models.isEmpty() == false && settings.models.contains(model) == false) {
            throw new IllegalArgumentException(
                "model [" + model + "] is not allowed on this node; allowed (setting es_rerank.models): " + settings.models
            );
        }
        return model;
    }
}
