package esrerank;

import org.elasticsearch.action.ResolvedIndices;
import org.elasticsearch.cluster.metadata.IndexMetadata;

import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * What indices record in {@code _meta.search} of their mapping for searches that name no field.
 *
 * @param fields the fields that a reranker reads
 * @param reranker the name of the reranker, null if none is recorded
 */
record SearchDefaults(List<String> fields, String reranker) {
    /**
     * Returns what the indices of a search record.
     *
     * @throws IllegalArgumentException if they record nothing, or not the same
     */
    static SearchDefaults of(ResolvedIndices indices) {
        Collection<IndexMetadata> local = indices == null ? List.of() : indices.getConcreteLocalIndicesMetadata().values();
        boolean known = local.isEmpty() == false && indices.getRemoteClusterIndices().isEmpty();
        if (known == false || local.stream().allMatch(index -> of(index) == null)) {
            throw new IllegalArgumentException("Required [field]");
        }
        List<IndexMetadata> sorted = local.stream().sorted(Comparator.comparing(index -> index.getIndex().getName())).toList();
        SearchDefaults record = of(sorted.get(0));
        for (IndexMetadata index : sorted) {
            SearchDefaults other = of(index);
            if (Objects.equals(record, other) == false) {
                throw new IllegalArgumentException(
                    "the search names no [field], and the indices record different defaults: ["
                        + sorted.get(0).getIndex().getName() + "] " + told(record) + ", ["
                        + index.getIndex().getName() + "] " + told(other)
                        + "; name [field], and [inference_id] if you need it"
                );
            }
        }
        return record;
    }

    private static SearchDefaults of(IndexMetadata index) {
        Map<?, ?> meta = index.mapping() == null ? Map.of() : map(index.mapping().sourceAsMap().get("_meta"));
        Map<?, ?> search = map(meta.get("search"));
        if (search.get("field") instanceof List<?> names
            && names.isEmpty() == false
            && names.stream().allMatch(name -> name instanceof String text && text.isEmpty() == false)) {
            String model = search.get("inference_id") instanceof String name && name.isEmpty() == false ? name : null;
            return new SearchDefaults(names.stream().map(Object::toString).toList(), model);
        }
        return null;
    }

    private static Map<?, ?> map(Object value) {
        return value instanceof Map<?, ?> map ? map : Map.of();
    }

    private static String told(SearchDefaults record) {
        if (record == null) {
            return "none";
        }
        String fields = String.join(", ", record.fields);
        return record.reranker == null ? fields : fields + ", reranker " + record.reranker;
    }
}
