package esrerank;

import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.ActionRequest;
import org.elasticsearch.action.ActionRequestValidationException;
import org.elasticsearch.action.ActionResponse;
import org.elasticsearch.action.ActionType;
import org.elasticsearch.action.support.ActionFilters;
import org.elasticsearch.action.support.HandledTransportAction;
import org.elasticsearch.client.internal.Client;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.common.io.stream.StreamInput;
import org.elasticsearch.common.io.stream.StreamOutput;
import org.elasticsearch.common.util.concurrent.EsExecutors;
import org.elasticsearch.injection.guice.Inject;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.action.RestToXContentListener;
import org.elasticsearch.tasks.Task;
import org.elasticsearch.transport.TransportService;
import org.elasticsearch.xcontent.ToXContentObject;
import org.elasticsearch.xcontent.XContentBuilder;

import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * {@code GET /_es_rerank}: versions, health of the sidecar and counters of the node that answers, and the nodes of the
 * cluster that lack the plugin. The privilege {@code monitor} allows it.
 */
public final class InfoAction {
    static final String NAME = "cluster:monitor/es_rerank/info";
    static final ActionType<Response> TYPE = new ActionType<>(NAME);

    private InfoAction() {}

    /** The request has no parameters. */
    public static final class Request extends ActionRequest {
        Request() {}

        Request(StreamInput in) throws IOException {
            super(in);
        }

        @Override
        public ActionRequestValidationException validate() {
            return null;
        }
    }

    /** The answer, as JSON shows it. */
    public static final class Response extends ActionResponse implements ToXContentObject {
        private final Map<String, Object> body;

        Response(Map<String, Object> body) {
            this.body = body;
        }

        @Override
        public void writeTo(StreamOutput out) throws IOException {
            out.writeGenericMap(body);
        }

        @Override
        public XContentBuilder toXContent(XContentBuilder builder, Params params) throws IOException {
            return builder.map(body);
        }
    }

    /** Answers on the node that is asked. */
    public static final class Transport extends HandledTransportAction<Request, Response> {
        private final Sidecar sidecar;
        private final Client client;

        @Inject
        public Transport(TransportService transport, ActionFilters filters, Sidecar sidecar, Client client) {
            super(NAME, transport, filters, Request::new, EsExecutors.DIRECT_EXECUTOR_SERVICE);
            this.sidecar = sidecar;
            this.client = client;
        }

        @Override
        protected void doExecute(Task task, Request request, ActionListener<Response> listener) {
            PluginNodes.ask(client, listener.delegateFailureAndWrap((next, without) -> {
                sidecar.post("/_rerank/v1/info", null, body -> {}, ActionListener.wrap(
                    answer -> next.onResponse(new Response(body(without, answer, null))),
                    error -> next.onResponse(new Response(body(without, Map.of(), error)))
                ));
            }));
        }

        private Map<String, Object> body(List<String> without, Map<String, Object> answer, Exception error) {
            Sidecar.Counters counters = sidecar.counters();
            Map<String, Object> asked = new LinkedHashMap<>();
            asked.put("url", sidecar.settings.url.toString());
            asked.put("status", error == null ? "ok" : "failed");
            if (error != null) {
                asked.put("reason", String.valueOf(error.getMessage()));
            } else {
                asked.put("models", answer.getOrDefault("models", List.of()));
                asked.put("sends_texts_onward", answer.getOrDefault("sends_texts_onward", List.of()));
                asked.put("embedder", String.valueOf(answer.get("embedder")));
                asked.put("embedders", answer.getOrDefault("embedders", List.of()));
                asked.put("release", String.valueOf(answer.get("release")));
            }
            Map<String, Object> counted = new LinkedHashMap<>();
            counted.put("calls", counters.calls());
            counted.put("failures", counters.failures());
            counted.put("rejected", counters.rejected());
            counted.put("milliseconds", counters.millis());
            counted.put("running", counters.running());
            counted.put("circuit_open", counters.circuitOpen());
            Map<String, Object> body = new LinkedHashMap<>();
            body.put("name", PluginNodes.PLUGIN);
            body.put("api_version", Sidecar.API_VERSION);
            body.put("sidecar", asked);
            body.put("calls", counted);
            body.put("nodes_without_plugin", without);
            return body;
        }
    }

    /** The path of the action. */
    static final class Rest extends BaseRestHandler {
        @Override
        public String getName() {
            return "es_rerank_info";
        }

        @Override
        public List<Route> routes() {
            return List.of(new Route(RestRequest.Method.GET, "/_es_rerank"));
        }

        @Override
        protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
            return channel -> client.execute(TYPE, new Request(), new RestToXContentListener<>(channel));
        }
    }
}
