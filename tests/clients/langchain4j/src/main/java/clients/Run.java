package clients;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.langchain4j.data.segment.TextSegment;
import dev.langchain4j.model.cohere.CohereEmbeddingModel;
import dev.langchain4j.model.cohere.CohereScoringModel;
import dev.langchain4j.model.embedding.EmbeddingModel;
import dev.langchain4j.model.jina.JinaEmbeddingModel;
import dev.langchain4j.model.jina.JinaScoringModel;
import dev.langchain4j.model.openai.OpenAiEmbeddingModel;
import dev.langchain4j.model.output.Response;
import dev.langchain4j.model.output.TokenUsage;
import dev.langchain4j.model.scoring.ScoringModel;
import dev.langchain4j.model.voyageai.VoyageAiEmbeddingModel;
import dev.langchain4j.model.voyageai.VoyageAiScoringModel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** LangChain4j's models ask the sidecar at URL: {@code Run URL KEY REQUEST}. Prints what each understood. */
public final class Run {
    private static final String MODEL = "any-name";

    private interface Asking {
        Map<String, Object> ask() throws Exception;
    }

    private Run() {}

    public static void main(String[] arguments) throws Exception {
        String v1 = arguments[0] + "/v1/";
        String key = arguments[1];
        JsonNode request = new ObjectMapper().readTree(Path.of(arguments[2]).toFile());
        String query = request.get("query").asText();
        List<TextSegment> texts = new ArrayList<>();
        request.get("documents").forEach(text -> texts.add(TextSegment.from(text.asText())));

        Map<String, Object> found = new LinkedHashMap<>();
        scored(found, "jina", texts, query,
                JinaScoringModel.builder().baseUrl(v1).apiKey(key).modelName(MODEL).maxRetries(0).build());
        scored(found, "cohere", texts, query,
                CohereScoringModel.builder().baseUrl(v1).apiKey(key).modelName(MODEL).maxRetries(0).build());
        scored(found, "cohere without a model", texts, query,
                CohereScoringModel.builder().baseUrl(v1).apiKey(key).maxRetries(0).build());
        scored(found, "voyage", texts, query,
                VoyageAiScoringModel.builder().baseUrl(v1).apiKey(key).modelName(MODEL).maxRetries(0).build());
        scored(found, "voyage truncating", texts, query,
                VoyageAiScoringModel.builder().baseUrl(v1).apiKey(key).modelName(MODEL).maxRetries(0)
                        .truncation(true).build());
        embedded(found, "openai embeddings", texts,
                OpenAiEmbeddingModel.builder().baseUrl(v1).apiKey(key).modelName(MODEL).maxRetries(0).build());
        embedded(found, "jina embeddings", texts,
                JinaEmbeddingModel.builder().baseUrl(arguments[0] + "/").apiKey(key).modelName(MODEL).maxRetries(0).build());
        embedded(found, "voyage embeddings", texts,
                VoyageAiEmbeddingModel.builder().baseUrl(v1).apiKey(key).modelName(MODEL).maxRetries(0).build());
        embedded(found, "cohere embeddings", texts,
                CohereEmbeddingModel.builder().baseUrl(v1).apiKey(key).modelName(MODEL)
                        .inputType("search_document").build());
        System.out.println(new ObjectMapper().writeValueAsString(found));
        System.exit(0); // threads of HTTP clients would hold the program for a minute
    }

    private static void scored(
            Map<String, Object> found, String name, List<TextSegment> texts, String query, ScoringModel model) {
        put(found, name, () -> {
            Response<List<Double>> answer = model.scoreAll(texts, query);
            return Map.of("scores", answer.content(), "tokens", tokens(answer.tokenUsage()));
        });
    }

    private static void embedded(
            Map<String, Object> found, String name, List<TextSegment> texts, EmbeddingModel model) {
        put(found, name, () -> {
            var answer = model.embedAll(texts);
            List<List<Float>> vectors = answer.content().stream().map(one -> one.vectorAsList()).toList();
            return Map.of("vectors", vectors, "tokens", tokens(answer.tokenUsage()));
        });
    }

    private static List<Integer> tokens(TokenUsage usage) {
        List<Integer> counts = new ArrayList<>();
        if (usage != null) {
            counts.add(usage.inputTokenCount());
            counts.add(usage.totalTokenCount());
        }
        return counts;
    }

    private static void put(Map<String, Object> found, String name, Asking asking) {
        try {
            found.put(name, asking.ask());
        } catch (Exception error) {
            found.put(name, Map.of("error", String.valueOf(error.getMessage()), "class", error.getClass().getName()));
        }
    }
}
