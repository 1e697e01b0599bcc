package esrerank;

import org.elasticsearch.ElasticsearchStatusException;
import org.elasticsearch.ResourceNotFoundException;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.xcontent.XContentParser;
import org.elasticsearch.xcontent.XContentParserConfiguration;
import org.elasticsearch.xcontent.json.JsonXContent;

import java.io.IOException;
import java.net.ConnectException;
import java.net.URI;
import java.net.http.HttpConnectTimeoutException;
import java.net.http.HttpResponse;
import java.util.Map;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeoutException;

import javax.net.ssl.SSLException;

/** Reads what the sidecar answered, or why it did not, and says in one sentence what is wrong. */
final class SidecarAnswer {
    private static final int MAX_MESSAGE = 500;

    private SidecarAnswer() {}

    /**
     * Returns the body of an answer of status 200.
     *
     * @param response the answer, null if there is none
     * @param error why there is none, null if there is one
     * @throws ElasticsearchStatusException 504 after the timeout, 502 for an answer that is none of a sidecar of this
     *     version, or the sidecar's own status
     * @throws IllegalArgumentException if the sidecar answered 400
     */
    static Map<String, Object> of(HttpResponse<byte[]> response, Throwable error, URI url, TimeValue timeout) {
        if (error != null) {
            throw unanswered(error instanceof CompletionException && error.getCause() != null ? error.getCause() : error, url, timeout);
        }
        int code = response.statusCode();
        if (code == 401 || code == 403) {
            // The caller of the search has no part in this key, so 401 would mislead.
            throw gateway(
                null,
                "the sidecar at [{}] refused the key of this node; put its key into the keystore as [es_rerank.api_key] and "
                    + "reload the secure settings",
                url
            );
        }
        Map<String, Object> body = json(response.body());
        if (code != 200) {
            throw refused(code, body == null ? null : reason(body), url);
        }
        if (body == null) {
            throw gateway(
                null,
                "the sidecar at [{}] answered with a body that is no JSON object; is it an es-rerank sidecar?",
                url
            );
        }
        if (body.get("version") instanceof Number version && version.intValue() == Sidecar.API_VERSION) {
            return body;
        }
        throw gateway(
            null,
            "the sidecar at [{}] speaks version [{}] of the internal API and the plugin version [{}]; "
                + "install the same release of both",
            url,
            body.get("version"),
            Sidecar.API_VERSION
        );
    }

    private static ElasticsearchStatusException unanswered(Throwable cause, URI url, TimeValue timeout) {
        if (cause instanceof TimeoutException) {
            return new ElasticsearchStatusException(
                "the sidecar at [{}] did not answer within [{}] (setting es_rerank.timeout)",
                RestStatus.GATEWAY_TIMEOUT,
                cause,
                url,
                timeout
            );
        }
        if (cause instanceof BoundedBody.TooLongException) {
            return gateway(cause, "the answer of the sidecar at [{}] is longer than {}", url, BoundedBody.LIMIT);
        }
        if (cause instanceof SSLException) {
            return gateway(
                cause,
                "the TLS connection to the sidecar at [{}] failed: {}; check [es_rerank.certificate_authority]",
                url,
                cause.getMessage()
            );
        }
        if (cause instanceof ConnectException || cause instanceof HttpConnectTimeoutException) {
            return gateway(cause, "the sidecar at [{}] cannot be reached; start it with: es-rerank serve", url);
        }
        return gateway(cause, "the sidecar at [{}] broke off its answer: {}", url, cause.getMessage());
    }

    private static RuntimeException refused(int code, String reason, URI url) {
        boolean fault = code >= 500 || code == 429;
        if (reason == null && fault == false) {
            return gateway(null, "the sidecar at [{}] answered [{}] without a reason; is it an es-rerank sidecar?", url, code);
        }
        String said = reason == null
            ? "the sidecar at [" + url + "] answered [" + code + "] without a reason"
            : "the sidecar refused: " + reason;
        if (code == 400) {
            return new IllegalArgumentException(said);
        }
        if (code == 404) {
            return new ResourceNotFoundException("{}", said);
        }
        RestStatus status = RestStatus.fromCode(code);
        return new ElasticsearchStatusException("{}", status == null || code < 400 ? RestStatus.BAD_GATEWAY : status, said);
    }

    /** Returns the object in a body, null if the body is no JSON object. */
    private static Map<String, Object> json(byte[] body) {
        try (XContentParser parser = JsonXContent.jsonXContent.createParser(XContentParserConfiguration.EMPTY, body)) {
            return parser.nextToken() == XContentParser.Token.START_OBJECT ? parser.map() : null;
        } catch (IOException | RuntimeException error) {
            return null;
        }
    }

    private static String reason(Map<String, Object> body) {
        Object error = body.get("error");
        Object reason = error instanceof Map<?, ?> map ? map.get("reason") : error;
        if (reason == null) {
            return null;
        }
        // What was wrong with a value is often told by the cause alone.
        Object cause = error instanceof Map<?, ?> map && map.get("caused_by") instanceof Map<?, ?> by ? by.get("reason") : null;
        String text = cause == null ? reason.toString() : reason + ": " + cause;
        return text.length() > MAX_MESSAGE ? text.substring(0, MAX_MESSAGE) + "…" : text;
    }

    private static ElasticsearchStatusException gateway(Throwable cause, String message, Object... values) {
        return new ElasticsearchStatusException(message, RestStatus.BAD_GATEWAY, cause, values);
    }
}
