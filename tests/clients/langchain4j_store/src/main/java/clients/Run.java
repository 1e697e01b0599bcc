package clients;

import static dev.langchain4j.store.embedding.filter.MetadataFilterBuilder.metadataKey;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.langchain4j.data.document.Metadata;
import dev.langchain4j.data.embedding.Embedding;
import dev.langchain4j.data.segment.TextSegment;
import dev.langchain4j.model.embedding.EmbeddingModel;
import dev.langchain4j.model.output.Response;
import dev.langchain4j.rag.content.retriever.elasticsearch.ElasticsearchContentRetriever;
import dev.langchain4j.rag.query.Query;
import dev.langchain4j.store.embedding.EmbeddingSearchRequest;
import dev.langchain4j.store.embedding.EmbeddingSearchResult;
import dev.langchain4j.store.embedding.elasticsearch.ElasticsearchConfiguration;
import dev.langchain4j.store.embedding.elasticsearch.ElasticsearchConfigurationFullText;
import dev.langchain4j.store.embedding.elasticsearch.ElasticsearchConfigurationHybrid;
import dev.langchain4j.store.embedding.elasticsearch.ElasticsearchConfigurationKnn;
import dev.langchain4j.store.embedding.elasticsearch.ElasticsearchEmbeddingStore;
import dev.langchain4j.store.embedding.filter.Filter;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.http.HttpHost;
import org.elasticsearch.client.RestClient;

/** LangChain4j's Elasticsearch store at URL: {@code Run URL KEY REQUEST}. Prints what its user gets. */
public final class Run {
    private static final Filter GREEN = metadataKey("group").isEqualTo("green");

    private interface Asking {
        Object ask() throws Exception;
    }

    /** Vectors that the test made. */
    private record Vectors(JsonNode of) implements EmbeddingModel {
        @Override
        public Response<List<Embedding>> embedAll(List<TextSegment> segments) {
            List<Embedding> found = new ArrayList<>();
            for (TextSegment segment : segments) {
                List<Float> numbers = new ArrayList<>();
                of.get(segment.text()).forEach(number -> numbers.add((float) number.asDouble()));
                found.add(Embedding.from(numbers));
            }
            return Response.from(found);
        }
    }

    private Run() {}

    public static void main(String[] arguments) throws Exception {
        JsonNode request = new ObjectMapper().readTree(Path.of(arguments[2]).toFile());
        String url = arguments[0];
        String index = request.get("index").asText();
        String question = request.get("question").asText();
        Vectors vectors = new Vectors(request.get("vectors"));
        Embedding near = vectors.embed(question).content();
        ElasticsearchConfiguration hybrid = ElasticsearchConfigurationHybrid.builder().numCandidates(50).build();
        ElasticsearchConfiguration knn = ElasticsearchConfigurationKnn.builder().numCandidates(50).build();
        ElasticsearchConfiguration words = ElasticsearchConfigurationFullText.builder().build();

        Map<String, Object> found = new LinkedHashMap<>();
        put(found, "index", () -> filled(url, index, request, vectors));
        put(found, "hybrid", () -> told(store(url, index, hybrid).hybridSearch(asked(near, 4, null), question)));
        put(found, "hybrid_eight", () -> told(store(url, index, hybrid).hybridSearch(asked(near, 8, null), question)));
        put(found, "hybrid_filtered", () -> told(store(url, index, hybrid).hybridSearch(asked(near, 4, GREEN), question)));
        put(found, "retriever", () -> ElasticsearchContentRetriever.builder()
                .restClient(RestClient.builder(HttpHost.create(url)).build())
                .indexName(index).configuration(hybrid).embeddingModel(vectors).maxResults(4).build()
                .retrieve(Query.from(question)).stream().map(content -> content.textSegment().text()).toList());
        put(found, "knn", () -> told(store(url, index, knn).search(asked(near, 5, GREEN))));
        put(found, "words", () -> store(url, index, words).fullTextSearch(question).stream()
                .map(TextSegment::text).toList());
        put(found, "deletions", () -> {
            String other = index + "-less";
            filled(url, other, request, vectors);
            ElasticsearchEmbeddingStore store = store(url, other, knn);
            store.removeAll(List.of("d0", "d4"));
            store.removeAll(GREEN);
            refresh(url, other);
            return store.search(asked(near, 60, null)).matches().size();
        });
        System.out.println(new ObjectMapper().writeValueAsString(found));
        System.exit(0); // threads of HTTP clients would hold the program for a minute
    }

    private static int filled(String url, String index, JsonNode request, Vectors vectors) throws Exception {
        List<String> ids = new ArrayList<>();
        List<TextSegment> segments = new ArrayList<>();
        for (JsonNode document : request.get("documents")) {
            JsonNode told = document.get(2);
            ids.add(document.get(0).asText());
            segments.add(TextSegment.from(document.get(1).asText(), new Metadata()
                    .put("group", told.get("group").asText())
                    .put("number", told.get("number").asInt())));
        }
        store(url, index, ElasticsearchConfigurationKnn.builder().build())
                .addAll(ids, vectors.embedAll(segments).content(), segments);
        refresh(url, index);
        return ids.size();
    }

    private static ElasticsearchEmbeddingStore store(
            String url, String index, ElasticsearchConfiguration configuration) {
        return ElasticsearchEmbeddingStore.builder()
                .restClient(RestClient.builder(HttpHost.create(url)).build())
                .indexName(index).configuration(configuration).build();
    }

    private static EmbeddingSearchRequest asked(Embedding near, int most, Filter filter) {
        return EmbeddingSearchRequest.builder().queryEmbedding(near).maxResults(most).filter(filter).build();
    }

    private static List<List<Object>> told(EmbeddingSearchResult<TextSegment> result) {
        List<List<Object>> hits = new ArrayList<>();
        result.matches().forEach(match -> hits.add(List.of(match.embeddingId(), match.score())));
        return hits;
    }

    private static void refresh(String url, String index) throws Exception {
        HttpRequest asked = HttpRequest.newBuilder(URI.create(url + "/" + index + "/_refresh"))
                .POST(BodyPublishers.noBody()).build();
        HttpClient.newHttpClient().send(asked, BodyHandlers.discarding());
    }

    private static void put(Map<String, Object> found, String name, Asking asking) {
        try {
            found.put(name, asking.ask());
        } catch (Exception error) {
            StringBuilder said = new StringBuilder();
            for (Throwable cause = error; cause != null; cause = cause.getCause()) {
                said.append(cause.getMessage()).append('\n');
            }
            found.put(name, Map.of("said", said.toString()));
        }
    }
}
