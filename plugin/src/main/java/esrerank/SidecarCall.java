package esrerank;

import org.elasticsearch.core.TimeValue;
import org.elasticsearch.threadpool.ThreadPool;

import java.io.IOException;
import java.net.ConnectException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

import javax.net.ssl.SSLException;

/**
 * One call of the sidecar.
 *
 * <p>It is sent again after 429 and 503 while its time lasts, and once if the connection ends before an answer
 * begins: a sidecar closes a connection that was not used for some seconds. That is safe, for no request changes
 * anything in the sidecar.
 */
final class SidecarCall {
    private static final long RETRY_MS = 100;

    private final HttpClient http;
    private final HttpRequest request;
    private final ThreadPool threads;
    private final CompletableFuture<HttpResponse<byte[]>> answer = new CompletableFuture<>();
    private volatile CompletableFuture<HttpResponse<byte[]>> inFlight;
    private volatile HttpResponse<byte[]> busy;
    private volatile boolean begun;
    private boolean lost;
    private long deadlineMs;

    SidecarCall(HttpClient http, HttpRequest request, ThreadPool threads) {
        this.http = http;
        this.request = request;
        this.threads = threads;
    }

    /**
     * Sends the request. The answer fails with TimeoutException after this time, unless the sidecar was busy the last
     * time it was asked: then its answer of 429 or 503 is given. The connection of a late answer is closed.
     */
    CompletableFuture<HttpResponse<byte[]>> send(TimeValue timeout) {
        deadlineMs = threads.relativeTimeInMillis() + timeout.millis();
        ask();
        // Unlike the timeout of HttpRequest, this covers an answer that begins and stalls.
        return answer.orTimeout(timeout.millis(), TimeUnit.MILLISECONDS).handle((response, error) -> {
            if (error == null) {
                return response;
            }
            inFlight.cancel(true);
            if (error instanceof TimeoutException && busy != null) {
                return busy;
            }
            throw error instanceof CompletionException wrapped ? wrapped : new CompletionException(error);
        });
    }

    private void ask() {
        begun = false;
        CompletableFuture<HttpResponse<byte[]>> sent;
        try {
            sent = http.sendAsync(request, information -> {
                begun = true;
                return new BoundedBody();
            });
        } catch (RuntimeException error) {
            sent = CompletableFuture.failedFuture(error);
        }
        inFlight = sent;
        sent.whenComplete((response, error) -> {
            if (error != null) {
                failed(error instanceof CompletionException && error.getCause() != null ? error.getCause() : error);
            } else if (isBusy(response) && threads.relativeTimeInMillis() + RETRY_MS < deadlineMs) {
                busy = response;
                CompletableFuture.delayedExecutor(RETRY_MS, TimeUnit.MILLISECONDS, threads.generic()).execute(this::askAgain);
            } else {
                answer.complete(response);
            }
        });
    }

    private void askAgain() {
        if (answer.isDone() == false) {
            ask();
            if (answer.isDone()) {
                inFlight.cancel(true); // The time ended meanwhile, and only the request before was cancelled.
            }
        }
    }

    private void failed(Throwable error) {
        boolean connected = error instanceof IOException
            && (error instanceof ConnectException || error instanceof SSLException) == false;
        if (connected && begun == false && lost == false) {
            lost = true;
            threads.generic().execute(this::askAgain);
        } else {
            answer.completeExceptionally(error);
        }
    }

    private static boolean isBusy(HttpResponse<byte[]> response) {
        return response.statusCode() == 429 || response.statusCode() == 503;
    }
}
