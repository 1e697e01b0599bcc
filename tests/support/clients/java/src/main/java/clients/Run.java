package clients;

import co.elastic.clients.elasticsearch.ElasticsearchClient;
import co.elastic.clients.elasticsearch._types.ElasticsearchException;
import co.elastic.clients.elasticsearch._types.ErrorCause;
import co.elastic.clients.elasticsearch._types.ErrorResponse;
import co.elastic.clients.elasticsearch._types.Refresh;
import co.elastic.clients.elasticsearch._types.aggregations.Aggregate;
import co.elastic.clients.elasticsearch.core.BulkResponse;
import co.elastic.clients.elasticsearch.core.GetResponse;
import co.elastic.clients.elasticsearch.core.MsearchRequest;
import co.elastic.clients.elasticsearch.core.MsearchResponse;
import co.elastic.clients.elasticsearch.core.SearchRequest;
import co.elastic.clients.elasticsearch.core.SearchResponse;
import co.elastic.clients.elasticsearch.core.bulk.BulkOperation;
import co.elastic.clients.elasticsearch.core.msearch.RequestItem;
import co.elastic.clients.elasticsearch.core.search.Hit;
import co.elastic.clients.elasticsearch.core.search.ResponseBody;
import co.elastic.clients.json.JsonData;
import co.elastic.clients.json.NdJsonpSerializable;
import co.elastic.clients.transport.endpoints.SimpleEndpoint;
import jakarta.json.Json;
import jakarta.json.JsonArray;
import jakarta.json.JsonArrayBuilder;
import jakarta.json.JsonNumber;
import jakarta.json.JsonObject;
import jakarta.json.JsonObjectBuilder;
import jakarta.json.JsonReader;
import jakarta.json.JsonValue;
import java.io.IOException;
import java.io.StringReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;

/** The official Java client runs the dozen requests: java clients.Run URL REQUESTS. */
public final class Run {
    private final ElasticsearchClient client;
    private final String index;

    private Run(ElasticsearchClient client, String index) {
        this.client = client;
        this.index = index;
    }

    public static void main(String[] args) throws IOException {
        JsonObject requests;
        try (JsonReader reader = Json.createReader(Files.newBufferedReader(Path.of(args[1])))) {
            requests = reader.readObject();
        }
        try (ElasticsearchClient client = ElasticsearchClient.of(b -> b.host(args[0]))) {
            System.out.println(new Run(client, requests.getString("index")).dozen(requests));
        }
    }

    private JsonObject dozen(JsonObject requests) throws IOException {
        JsonObjectBuilder found = Json.createObjectBuilder();
        for (String number : List.of("1", "2", "3", "4", "5", "6", "7")) {
            SearchRequest request = SearchRequest.of(b -> b.withJson(text(requests.get(number))).index(index));
            found.add(number, searched(client.search(request, JsonData.class)));
        }
        found.add("8", several(requests.getJsonArray("8")));
        found.add("9", inAPointInTime(requests.getJsonObject("9")));
        found.add("10", reranked(requests.getJsonObject("10")));
        found.add("11", passedThrough(requests.getJsonObject("11")));
        JsonObjectBuilder refused = Json.createObjectBuilder();
        JsonObject faults = requests.getJsonObject("12");
        refused.add("unknown_field", refused(() -> untyped(faults.getJsonObject("unknown_field"))));
        refused.add("missing_index", refused(() -> typed(faults.getJsonObject("missing_index"))));
        return found.add("12", refused).build();
    }

    /** The typed request has no place for an unknown field, so the whole goes untyped and what is sound goes typed as well. */
    private JsonArray several(JsonArray lines) throws IOException {
        List<RequestItem> sound = new ArrayList<>();
        for (int i = 0; i + 3 < lines.size(); i += 2) {
            JsonValue header = lines.get(i);
            JsonValue body = lines.get(i + 1);
            sound.add(RequestItem.of(b -> b.header(h -> h.withJson(text(header))).body(s -> s.withJson(text(body)))));
        }
        JsonArray typed = items(client.msearch(MsearchRequest.of(b -> b.searches(sound)), JsonData.class));
        SimpleEndpoint<Lines, MsearchResponse<JsonData>> endpoint =
                new SimpleEndpoint<>(
                        "es/msearch",
                        r -> "POST",
                        r -> "/_msearch",
                        r -> Map.of(),
                        r -> Map.of("typed_keys", "true"),
                        SimpleEndpoint.emptyMap(),
                        true,
                        MsearchResponse.createMsearchResponseDeserializer(JsonData._DESERIALIZER));
        Lines all = new Lines(lines.stream().map(JsonData::of).toList());
        JsonArray untyped = items(client._transport().performRequest(all, endpoint, null));
        if (!untyped.subList(0, typed.size()).equals(typed)) {
            throw new IllegalStateException("the same searches were answered otherwise: " + typed + " " + untyped);
        }
        return untyped;
    }

    private record Lines(List<JsonData> lines) implements NdJsonpSerializable {
        @Override
        public Iterator<?> _serializables() {
            return lines.iterator();
        }
    }

    private static JsonArray items(MsearchResponse<JsonData> answer) {
        JsonArrayBuilder items = Json.createArrayBuilder();
        answer.responses().forEach(item -> items.add(item.isFailure() ? failed(item.failure()) : searched(item.result())));
        return items.build();
    }

    private JsonObject inAPointInTime(JsonObject wanted) throws IOException {
        String keepAlive = wanted.getString("keep_alive");
        String[] pit = {client.openPointInTime(b -> b.index(index).keepAlive(k -> k.time(keepAlive))).id()};
        JsonArrayBuilder pages = Json.createArrayBuilder();
        for (JsonNumber from : wanted.getJsonArray("from").getValuesAs(JsonNumber.class)) {
            SearchRequest request =
                    SearchRequest.of(
                            b ->
                                    b.withJson(text(wanted.get("search")))
                                            .from(from.intValue())
                                            .pit(p -> p.id(pit[0]).keepAlive(k -> k.time(keepAlive))));
            SearchResponse<JsonData> page = client.search(request, JsonData.class);
            pit[0] = page.pitId();
            pages.add(searched(page));
        }
        boolean closed = client.closePointInTime(b -> b.id(pit[0])).succeeded();
        return Json.createObjectBuilder().add("pages", pages).add("closed", closed).build();
    }

    private JsonArray reranked(JsonObject wanted) throws IOException {
        JsonArrayBuilder found = Json.createArrayBuilder();
        JsonObject body = Json.createObjectBuilder(wanted).remove("inference_id").build();
        client.inference().rerank(b -> b.withJson(text(body)).inferenceId(wanted.getString("inference_id"))).rerank().stream()
                .map(
                        each ->
                                Json.createObjectBuilder()
                                        .add("index", each.index())
                                        .add("relevance_score", each.relevanceScore())
                                        .add("text", each.text()))
                .forEach(found::add);
        return found.build();
    }

    private JsonObject passedThrough(JsonObject wanted) throws IOException {
        String into = wanted.getString("index");
        JsonObject one = wanted.getJsonObject("one");
        String id = one.getString("id");
        JsonData document = JsonData.of(one.get("document"));
        String indexed = client.index(b -> b.index(into).id(id).document(document)).result().jsonValue();
        GetResponse<JsonData> got = client.get(b -> b.index(into).id(id), JsonData.class);
        List<BulkOperation> operations =
                wanted.getJsonArray("more").getValuesAs(JsonObject.class).stream()
                        .map(
                                each ->
                                        BulkOperation.of(
                                                b ->
                                                        b.index(
                                                                i ->
                                                                        i.index(into)
                                                                                .id(each.getString("id"))
                                                                                .document(JsonData.of(each.get("document"))))))
                        .toList();
        BulkResponse bulk = client.bulk(b -> b.operations(operations).refresh(Refresh.True));
        long count = client.count(b -> b.index(into).query(q -> q.withJson(text(wanted.get("query"))))).count();
        String deleted = client.delete(b -> b.index(into).id(id)).result().jsonValue();
        boolean exists = client.exists(b -> b.index(into).id(id)).value();
        boolean dropped = client.indices().delete(b -> b.index(into)).acknowledged();
        JsonArrayBuilder items = Json.createArrayBuilder();
        bulk.items().forEach(item -> items.add(Json.createArrayBuilder().add(item.id()).add(item.result()).add(item.status())));
        return Json.createObjectBuilder()
                .add("indexed", indexed)
                .add("got", Json.createObjectBuilder().add("id", got.id()).add("source", got.source().toJson()))
                .add("bulk", Json.createObjectBuilder().add("errors", bulk.errors()).add("items", items))
                .add("count", count)
                .add("deleted", deleted)
                .add("exists", exists)
                .add("dropped", dropped)
                .build();
    }

    private interface Call {
        Object made() throws IOException;
    }

    private static JsonObject refused(Call call) throws IOException {
        try {
            throw new IllegalStateException("answered, though it should be refused: " + call.made());
        } catch (ElasticsearchException error) {
            if (error.status() != error.response().status()) {
                throw new IllegalStateException("the status is " + error.status() + " and the body says " + error.response());
            }
            return failed(error.response());
        }
    }

    private Object typed(JsonObject wanted) throws IOException {
        return client.search(b -> b.withJson(text(wanted.get("search"))).index(wanted.getString("index")), JsonData.class);
    }

    /** A typed request drops an unknown field before it is sent. */
    private Object untyped(JsonObject wanted) throws IOException {
        SimpleEndpoint<JsonData, SearchResponse<JsonData>> endpoint =
                new SimpleEndpoint<>(
                        "es/search",
                        r -> "POST",
                        r -> "/" + wanted.getString("index") + "/_search",
                        r -> Map.of(),
                        r -> Map.of("typed_keys", "true"),
                        SimpleEndpoint.emptyMap(),
                        true,
                        SearchResponse.createSearchResponseDeserializer(JsonData._DESERIALIZER));
        return client._transport().performRequest(JsonData.of(wanted.get("search")), endpoint, null);
    }

    private static JsonObject failed(ErrorResponse answer) {
        ErrorCause cause = answer.error();
        return Json.createObjectBuilder().add("status", answer.status()).add("type", cause.type()).add("reason", cause.reason()).build();
    }

    private static JsonObject searched(ResponseBody<JsonData> answer) {
        JsonArrayBuilder hits = Json.createArrayBuilder();
        answer.hits().hits().forEach(hit -> hits.add(hit(hit)));
        JsonObjectBuilder total =
                Json.createObjectBuilder()
                        .add("value", answer.hits().total().value())
                        .add("relation", answer.hits().total().relation().jsonValue());
        JsonObjectBuilder found = Json.createObjectBuilder().add("total", total).add("hits", hits);
        if (!answer.aggregations().isEmpty()) {
            JsonObjectBuilder aggregations = Json.createObjectBuilder();
            answer.aggregations().forEach((name, each) -> aggregations.add(name, aggregation(each)));
            found.add("aggregations", aggregations);
        }
        return found.build();
    }

    private static JsonObjectBuilder hit(Hit<JsonData> hit) {
        JsonObjectBuilder found = Json.createObjectBuilder().add("id", hit.id()).add("score", hit.score());
        if (hit.source() != null) {
            found.add("source", hit.source().toJson());
        }
        if (!hit.fields().isEmpty()) {
            JsonObjectBuilder fields = Json.createObjectBuilder();
            hit.fields().forEach((name, value) -> fields.add(name, value.toJson()));
            found.add("fields", fields);
        }
        if (!hit.highlight().isEmpty()) {
            JsonObjectBuilder highlight = Json.createObjectBuilder();
            hit.highlight().forEach((name, parts) -> highlight.add(name, Json.createArrayBuilder(parts)));
            found.add("highlight", highlight);
        }
        return found;
    }

    private static JsonValue aggregation(Aggregate value) {
        if (!value.isLterms()) {
            return Json.createValue(value.max().value());
        }
        JsonArrayBuilder buckets = Json.createArrayBuilder();
        value.lterms().buckets().array().forEach(each -> buckets.add(Json.createArrayBuilder().add(each.key()).add(each.docCount())));
        return buckets.build();
    }

    private static StringReader text(JsonValue value) {
        return new StringReader(value.toString());
    }
}
