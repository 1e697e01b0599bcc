package esrerank;

import org.elasticsearch.action.ResolvedIndices;
import org.elasticsearch.cluster.metadata.IndexMetadata;
import org.elasticsearch.common.bytes.BytesReference;
import org.elasticsearch.common.xcontent.XContentHelper;
import org.elasticsearch.search.retriever.RetrieverBuilder;
import org.elasticsearch.xcontent.ToXContent;
import org.elasticsearch.xcontent.XContentBuilder;
import org.elasticsearch.xcontent.XContentType;
import org.elasticsearch.xcontent.json.JsonXContent;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Deque;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * What the scores of a reranker's first stage are made of. The sidecar chooses the coefficients of {@code blend} by it.
 *
 * <p>It is the same as {@code es_rerank/retrievers/planning/first_stage.py} tells of a search outside Elasticsearch.
 *
 * @param kind the kind of the first stage, null if it is none of these
 * @param models for each kNN search whose query vector the sidecar makes the name of its embedder, null for the default
 */
record FirstStage(Kind kind, List<String> models) {
    /** The kinds of first stage for which a model may have coefficients. */
    enum Kind {
        DENSE,
        BM25,
        HYBRID;

        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    private static final Set<String> HYBRIDS = Set.of(
        "rrf",
        "linear",
        "text_similarity_reranker",
        RrfRetriever.NAME,
        LinearRetriever.NAME,
        RerankRetriever.NAME
    );

    /** Queries that analyse a text and score its terms by BM25. */
    private static final Set<String> TEXT_QUERIES = Set.of(
        "match",
        "multi_match",
        "match_phrase",
        "match_phrase_prefix",
        "match_bool_prefix",
        "combined_fields",
        "query_string",
        "simple_query_string",
        "more_like_this",
        "intervals"
    );

    /** The keys of a query under which the queries stand whose scores it takes. */
    private static final Map<String, List<String>> WITHIN = Map.of(
        "bool", List.of("must", "should"),
        "boosting", List.of("positive"),
        "dis_max", List.of("queries"),
        "function_score", List.of("query"),
        "nested", List.of("query"),
        "pinned", List.of("organic"),
        "rule", List.of("organic")
    );

    /** The functions of a {@code script_score} that compare vectors. */
    private static final List<String> OF_VECTORS = List.of("cosineSimilarity(", "dotProduct(", "l1norm(", "l2norm(", "hamming(");

    /** Returns what is known of a child as it was parsed: a fusion is a list of documents after it was rewritten. */
    static FirstStage of(RetrieverBuilder child) {
        Map<String, Object> tree;
        try (XContentBuilder json = JsonXContent.contentBuilder()) {
            child.toXContent(json, ToXContent.EMPTY_PARAMS);
            tree = XContentHelper.convertToMap(BytesReference.bytes(json), false, XContentType.JSON).v2();
        } catch (IOException error) {
            throw new UncheckedIOException(error); // nothing is written to a file or a network
        }
        List<String> models = new ArrayList<>();
        addModels(tree, models);
        return new FirstStage(kindOf(tree), models);
    }

    /** Returns the embedders that the indices record, sorted. */
    static Collection<String> recorded(ResolvedIndices indices) {
        Set<String> names = new TreeSet<>();
        for (IndexMetadata index : indices == null ? List.<IndexMetadata>of() : indices.getConcreteLocalIndicesMetadata().values()) {
            Map<?, ?> meta = index.mapping() == null ? Map.of() : map(index.mapping().sourceAsMap().get("_meta"));
            if (meta.get("embedder") instanceof String name) {
                names.add(name);
            }
        }
        return names;
    }

    private static Kind kindOf(Map<?, ?> tree) {
        Map<?, ?> inner = tree;
        while (inner.size() == 1) {
            Map.Entry<?, ?> entry = inner.entrySet().iterator().next();
            Map<?, ?> content = map(entry.getValue());
            if ("knn".equals(entry.getKey())) {
                return Kind.DENSE;
            }
            if ("standard".equals(entry.getKey())) {
                return kindOfQuery(content.get("query"));
            }
            if (entry.getKey() instanceof String name && HYBRIDS.contains(name)) {
                return Kind.HYBRID;
            }
            inner = map(content.get("retriever"));
        }
        return null;
    }

    private static Kind kindOfQuery(Object query) {
        Set<Kind> found = EnumSet.noneOf(Kind.class);
        Deque<Map.Entry<?, ?>> waiting = new ArrayDeque<>();
        addClauses(query, waiting);
        while (waiting.isEmpty() == false) {
            Map.Entry<?, ?> clause = waiting.pop();
            String name = clause.getKey().toString();
            Map<?, ?> content = map(clause.getValue());
            if (TEXT_QUERIES.contains(name)) {
                found.add(Kind.BM25);
            } else if ("knn".equals(name) || "script_score".equals(name) && comparesVectors(content)) {
                found.add(Kind.DENSE);
            } else if (("function_score".equals(name) && "replace".equals(content.get("boost_mode"))) == false) {
                WITHIN.getOrDefault(name, List.of()).forEach(key -> addClauses(content.get(key), waiting));
            }
        }
        return found.isEmpty() ? null : found.size() == 1 ? found.iterator().next() : Kind.HYBRID;
    }

    private static void addClauses(Object queries, Deque<Map.Entry<?, ?>> waiting) {
        for (Object query : queries instanceof List<?> list ? list : List.of(map(queries))) {
            waiting.addAll(map(query).entrySet());
        }
    }

    private static boolean comparesVectors(Map<?, ?> scriptScore) {
        return map(scriptScore.get("script")).get("source") instanceof String source
            && OF_VECTORS.stream().anyMatch(source::contains);
    }

    /** Adds the embedders of the kNN retrievers of a tree whose query vectors the sidecar makes. */
    private static void addModels(Object tree, List<String> models) {
        for (Map.Entry<?, ?> entry : map(tree).entrySet()) {
            Map<?, ?> content = map(entry.getValue());
            if ("knn".equals(entry.getKey())) {
                addModel(content.get("query_vector_builder"), models);
            }
            addModels(content.get("retriever"), models);
            for (Object child : content.get("retrievers") instanceof List<?> children ? children : List.of()) {
                Map<?, ?> weighted = map(child);
                addModels(weighted.get("retriever") instanceof Map<?, ?> inner ? inner : weighted, models);
            }
        }
    }

    private static void addModel(Object builder, List<String> models) {
        Map<?, ?> wanted = map(builder);
        Map<?, ?> content = wanted.get(QueryVector.NAME) instanceof Map<?, ?> named ? named : wanted;
        if (content.containsKey("model_text")) {
            models.add(content.get("model_id") instanceof String name ? name : null);
        }
    }

    private static Map<?, ?> map(Object value) {
        return value instanceof Map<?, ?> map ? map : Map.of();
    }
}
