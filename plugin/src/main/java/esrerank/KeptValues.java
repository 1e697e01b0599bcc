package esrerank;

import org.elasticsearch.cluster.metadata.IndexMetadata;
import org.elasticsearch.cluster.metadata.MappingMetadata;
import org.elasticsearch.common.regex.Regex;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * What indices keep of fields whose values {@code _source} leaves out.
 *
 * @param stored fields that are stored
 * @param docValues fields whose doc values are their text, in every index that has them
 * @param lost for each index, the fields that its {@code _source} leaves out, with the reason
 */
record KeptValues(List<String> stored, List<String> docValues, Map<String, Map<String, String>> lost) {
    private static final Set<String> WITH_DOC_VALUES = Set.of("keyword", "wildcard", "version");

    /** Returns what these indices keep of these fields. */
    static KeptValues of(List<String> fields, Collection<IndexMetadata> indices) {
        Map<String, Map<String, String>> lost = new HashMap<>();
        List<String> stored = new ArrayList<>();
        List<String> docValues = new ArrayList<>();
        for (String field : fields) {
            boolean missing = false;
            boolean everywhere = true;
            boolean somewhere = false;
            for (IndexMetadata index : indices) {
                Map<String, Object> mapping = mapping(index.mapping());
                Map<String, Object> definition = definition(objects(mapping.get("properties")), field);
                if (definition.isEmpty()) {
                    continue;
                }
                somewhere |= Boolean.parseBoolean(String.valueOf(definition.get("store")));
                everywhere &= WITH_DOC_VALUES.contains(definition.get("type"))
                    && "false".equals(String.valueOf(definition.get("doc_values"))) == false;
                String why = why(field, index, objects(mapping.get("_source")));
                if (why != null) {
                    missing = true;
                    lost.computeIfAbsent(index.getIndex().getName(), name -> new HashMap<>()).put(field, why);
                }
            }
            if (missing && somewhere) {
                stored.add(field);
            }
            if (missing && everywhere) {
                docValues.add(field);
            }
        }
        return new KeptValues(stored, docValues, lost);
    }

    /** Returns why fields of a document of this index cannot be read, null if they have no value there. */
    String why(String index, List<String> lacking) {
        Map<String, String> reasons = lost.getOrDefault(index, Map.of());
        List<String> out = lacking.stream().filter(reasons::containsKey).toList();
        if (out.isEmpty()) {
            return null;
        }
        String reason = reasons.get(out.get(0));
        return "[" + index + "] " + (reason.isEmpty() ? "leaves [" + String.join(", ", out) + "] out of its [_source]" : reason);
    }

    /** Returns why a field is not in {@code _source}: empty if it is left out, null if it is there. */
    private static String why(String field, IndexMetadata index, Map<String, Object> source) {
        String mode = index.getSettings().get("index.mapping.source.mode");
        if ("false".equals(String.valueOf(source.get("enabled")))
            || "disabled".equalsIgnoreCase(mode)
            || "disabled".equals(source.get("mode"))) {
            return "keeps no [_source]";
        }
        boolean included = source.get("includes") == null || names(source.get("includes"), field);
        return included && names(source.get("excludes"), field) == false ? null : "";
    }

    /** Whether a pattern names the field or an object that holds it. */
    private static boolean names(Object patterns, String field) {
        if (patterns instanceof List<?> list) {
            for (int end = field.length(); end > 0; end = field.lastIndexOf('.', end - 1)) {
                String path = field.substring(0, end);
                if (list.stream().anyMatch(pattern -> Regex.simpleMatch(pattern.toString(), path))) {
                    return true;
                }
            }
        }
        return false;
    }

    private static Map<String, Object> mapping(MappingMetadata mapping) {
        return mapping == null ? Map.of() : mapping.sourceAsMap();
    }

    private static Map<String, Object> definition(Map<String, Object> properties, String field) {
        Map<String, Object> found = field(properties, field);
        return "alias".equals(found.get("type")) ? field(properties, String.valueOf(found.get("path"))) : found;
    }

    private static Map<String, Object> field(Map<String, Object> properties, String field) {
        for (Map.Entry<String, Object> entry : properties.entrySet()) {
            Map<String, Object> definition = objects(entry.getValue());
            if (field.equals(entry.getKey())) {
                return definition;
            }
            if (field.startsWith(entry.getKey() + ".")) {
                Object below = definition.getOrDefault("properties", definition.get("fields"));
                Map<String, Object> found = field(objects(below), field.substring(entry.getKey().length() + 1));
                if (found.isEmpty() == false) {
                    return found;
                }
            }
        }
        return Map.of();
    }

    @SuppressWarnings("unchecked")
    private static Map<String, Object> objects(Object value) {
        return value instanceof Map<?, ?> map ? (Map<String, Object>) map : Map.of();
    }
}
