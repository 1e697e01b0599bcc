package esrerank;

import org.elasticsearch.action.ResolvedIndices;
import org.elasticsearch.cluster.metadata.IndexMetadata;
import org.elasticsearch.cluster.metadata.MappingMetadata;
import org.elasticsearch.common.document.DocumentField;
import org.elasticsearch.search.SearchHit;
import org.elasticsearch.search.builder.SearchSourceBuilder;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * The texts that a reranker reads of a document.
 *
 * @param context fields that are read before each passage, such as a title
 * @param text the field that is read; the text of a passage if {@code nested} is not null
 * @param nested path of the nested passages, null if the index stores none
 * @param offsets whether the passages have their character position as {@code start} and {@code end}
 * @param headings whether such passages also have a {@code heading}, which is read before each
 * @param reranker the reranker that the indices record for a search that names no field, null if none
 * @param embedders the embedders that the indices record
 * @param deeper paths of nested objects within the passages
 * @param kept what the indices keep of the fields beside {@code _source}
 */
record TextSource(
    List<String> context,
    String text,
    String nested,
    boolean offsets,
    boolean headings,
    String reranker,
    Collection<String> embedders,
    Set<String> deeper,
    KeptValues kept
) {
    /** Most passages of a document that are read without {@code chunk_rescorer}; the same as outside. */
    static final int PASSAGE_CAP = 32;

    /**
     * A passage of a document: its text, if known its characters in the document (-1 if not), and the headings above it,
     * empty if there are none.
     */
    record Passage(String text, int start, int end, String heading) {}

    /**
     * The texts of one hit.
     *
     * @param capped whether the document has more passages than are read
     * @param unread why a field could not be read, null if all could; a field without a value is read
     */
    record Texts(String context, List<Passage> passages, boolean capped, String unread) {
        /** Whether there is nothing to read, or blanks alone. */
        boolean empty() {
            return context.isBlank() && passages.stream().allMatch(passage -> passage.text().isBlank());
        }

        long characters() {
            return context.length() + passages.stream().mapToLong(passage -> passage.text.length() + passage.heading.length()).sum();
        }
    }

    /**
     * Returns what to read for the fields of a request from these indices; for a request without fields (null), what the
     * indices record.
     *
     * @throws IllegalArgumentException if no index has one of the fields, several fields are nested, or none are named
     *     or recorded
     */
    static TextSource of(List<String> named, ResolvedIndices indices) {
        SearchDefaults defaults = named == null ? SearchDefaults.of(indices) : new SearchDefaults(named, null);
        List<String> fields = defaults.fields();
        Collection<IndexMetadata> local = indices == null ? List.of() : indices.getConcreteLocalIndicesMetadata().values();
        boolean known = local.isEmpty() == false && indices.getRemoteClusterIndices().isEmpty();
        List<String> nestedFields = new ArrayList<>();
        String path = null;
        boolean offsets = false;
        for (String field : fields) {
            boolean found = false;
            for (IndexMetadata index : local) {
                Place place = Place.of(field, index.mapping());
                found |= place.exists;
                if (place.nested != null && nestedFields.contains(field) == false) {
                    nestedFields.add(field);
                    path = place.nested;
                    offsets = Place.of(path + ".start", index.mapping()).exists
                        && Place.of(path + ".end", index.mapping()).exists;
                }
            }
            if (known && found == false) {
                // Other fields are not listed: field-level security may hide their names from this user.
                throw new IllegalArgumentException(
                    "[es_rerank] no field with text [" + field + "] in ["
                        + local.stream().map(index -> index.getIndex().getName()).sorted().collect(Collectors.joining(", "))
                        + "]; check the name in the mapping"
                );
            }
        }
        if (nestedFields.size() > 1) {
            throw new IllegalArgumentException(
                "[field] names several nested fields [" + String.join(", ", nestedFields)
                    + "]; name one nested field, alone or with fields outside nested objects"
            );
        }
        String text = nestedFields.isEmpty() ? fields.get(fields.size() - 1) : nestedFields.get(0);
        return new TextSource(
            fields.stream().filter(field -> field.equals(text) == false).toList(),
            text,
            path,
            offsets,
            offsets && hasHeadings(path, local),
            defaults.reranker(),
            FirstStage.recorded(indices),
            path == null ? Set.of() : Place.nestedBelow(path, local),
            KeptValues.of(fields, local)
        );
    }

    private static boolean hasHeadings(String path, Collection<IndexMetadata> indices) {
        return path != null && indices.stream().anyMatch(index -> Place.of(path + ".heading", index.mapping()).exists);
    }

    /** Returns the fields to fetch from each hit. */
    List<String> fetched() {
        List<String> fields = new ArrayList<>(context);
        fields.addAll(ofPassage());
        return fields;
    }

    /** Returns all fields that are read, as a message names them. */
    String named() {
        return String.join(", ", fields());
    }

    private List<String> fields() {
        List<String> fields = new ArrayList<>(context);
        fields.add(text);
        return fields;
    }

    /** Lets a search fetch what the indices keep of the documents' fields beside {@code _source}. */
    void addKept(SearchSourceBuilder search) {
        List<String> stored = ofDocument(kept.stored());
        if (stored.isEmpty() == false) {
            search.storedFields(stored);
        }
        ofDocument(kept.docValues()).forEach(search::docValueField);
    }

    /** Returns those of the names that are fields of the document, not of a passage. */
    private List<String> ofDocument(List<String> names) {
        return names.stream().filter(name -> nested == null || name.equals(text) == false).toList();
    }

    /** Returns the fields to fetch from each passage, or the one field of the document. */
    List<String> ofPassage() {
        if (offsets == false) {
            return List.of(text);
        }
        List<String> fields = new ArrayList<>(List.of(text, nested + ".start", nested + ".end"));
        if (headings) {
            fields.add(nested + ".heading");
        }
        return fields;
    }

    /** Whether a field belongs to the nested objects of the passages themselves. */
    boolean isOfPassage(String field) {
        return nested != null && field.startsWith(nested + ".") && deeper.stream().noneMatch(path -> field.startsWith(path + "."));
    }

    /** Returns the texts of a hit, all passages in the order of the document. */
    Texts texts(SearchHit hit) {
        List<Passage> passages;
        if (nested == null) {
            String whole = joined(values(hit, text));
            passages = whole.isEmpty() ? List.of() : List.of(new Passage(whole, -1, -1, ""));
        } else {
            passages = passages(entries(hit));
        }
        boolean capped = passages.size() > PASSAGE_CAP;
        return texts(hit, capped ? List.copyOf(passages.subList(0, PASSAGE_CAP)) : passages, capped);
    }

    /** Returns the texts of a hit whose passages are known. */
    Texts texts(SearchHit hit, List<Passage> passages, boolean capped) {
        List<String> lacking = new ArrayList<>(context.stream().filter(field -> joined(values(hit, field)).isEmpty()).toList());
        if (passages.isEmpty()) {
            lacking.add(text);
        }
        return new Texts(contextOf(hit), passages, capped, kept.why(hit.getIndex(), lacking));
    }

    String contextOf(SearchHit hit) {
        return context.stream()
            .map(field -> joined(values(hit, field)))
            .filter(value -> value.isEmpty() == false)
            .collect(Collectors.joining("\n"));
    }

    /** Returns the passages in the values of the nested path, as the {@code fields} of a hit group them. */
    List<Passage> passages(List<Object> entries) {
        List<Passage> passages = new ArrayList<>();
        for (Object entry : entries) {
            if (entry instanceof Map<?, ?> object) {
                String content = joined(listOf(object.get(text.substring(nested.length() + 1))));
                if (content.isEmpty() == false) {
                    int start = offset(object, "start");
                    int end = offset(object, "end");
                    String heading = headings && 0 <= start && start <= end ? joined(listOf(object.get("heading"))) : "";
                    passages.add(new Passage(content, start, end, heading));
                }
            }
        }
        return passages;
    }

    /** Returns the nested objects of a hit. Elasticsearch groups them by the outermost nested path. */
    List<Object> entries(SearchHit hit) {
        for (int end = nested.length(); end > 0; end = nested.lastIndexOf('.', end - 1)) {
            List<Object> entries = values(hit, nested.substring(0, end));
            if (entries.isEmpty() == false) {
                return end == nested.length() ? entries : below(entries, nested.substring(end + 1));
            }
        }
        return List.of();
    }

    /** Returns the objects at a path below other objects. A key may itself hold dots. */
    private static List<Object> below(List<Object> entries, String path) {
        List<Object> found = new ArrayList<>();
        for (Object entry : entries) {
            if (entry instanceof Map<?, ?> object) {
                object.forEach((key, value) -> {
                    if (path.equals(key)) {
                        found.addAll(listOf(value));
                    } else if (path.startsWith(key + ".")) {
                        found.addAll(below(listOf(value), path.substring(key.toString().length() + 1)));
                    }
                });
            }
        }
        return found;
    }

    private static int offset(Map<?, ?> object, String name) {
        List<Object> values = listOf(object.get(name));
        return values.isEmpty() == false && values.get(0) instanceof Number number ? number.intValue() : -1;
    }

    static List<Object> values(SearchHit hit, String field) {
        DocumentField values = hit.field(field);
        if (values == null) {
            return List.of();
        }
        // A value that the field does not index (a keyword beyond ignore_above) is still text of the document.
        List<Object> all = new ArrayList<>(values.getValues());
        all.addAll(values.getIgnoredValues());
        return all;
    }

    @SuppressWarnings("unchecked")
    private static List<Object> listOf(Object value) {
        return value == null ? List.of() : value instanceof List<?> list ? (List<Object>) list : List.of(value);
    }

    private static String joined(List<Object> values) {
        // An object is no text: a geo point, a range or a flattened field gives one.
        return values.stream()
            .filter(value -> value instanceof Map == false)
            .map(Object::toString)
            .collect(Collectors.joining("\n"));
    }

    /** Where a mapping has a field: whether it exists, and the path of the nested object around it. */
    private record Place(boolean exists, String nested) {
        static Place of(String field, MappingMetadata mapping) {
            if (mapping == null) {
                return new Place(false, null);
            }
            Map<String, Object> source = mapping.sourceAsMap();
            if (objects(source.get("runtime")).containsKey(field)) {
                return new Place(true, null);
            }
            return of(field, "", objects(source.get("properties")), null);
        }

        private static Place of(String field, String path, Map<String, Object> properties, String nested) {
            for (Map.Entry<String, Object> entry : properties.entrySet()) {
                Map<String, Object> definition = objects(entry.getValue());
                if (field.equals(entry.getKey())) {
                    boolean leaf = definition.containsKey("properties") == false;
                    return new Place(leaf, nested);
                }
                if (field.startsWith(entry.getKey() + ".")) {
                    String rest = field.substring(entry.getKey().length() + 1);
                    String full = path + entry.getKey();
                    if ("flattened".equals(definition.get("type")) || "passthrough".equals(definition.get("type"))) {
                        return new Place(true, nested);
                    }
                    Place place = of(
                        rest,
                        full + ".",
                        objects(definition.getOrDefault("properties", definition.get("fields"))),
                        "nested".equals(definition.get("type")) ? full : nested
                    );
                    if (place.exists) {
                        return place;
                    }
                }
            }
            return new Place(false, null);
        }

        /** Returns the paths of nested objects below a path. */
        static Set<String> nestedBelow(String path, Collection<IndexMetadata> indices) {
            Set<String> found = new HashSet<>();
            for (IndexMetadata index : indices) {
                if (index.mapping() != null) {
                    addNested("", objects(index.mapping().sourceAsMap().get("properties")), found);
                }
            }
            found.removeIf(nested -> nested.startsWith(path + ".") == false);
            return found;
        }

        private static void addNested(String path, Map<String, Object> properties, Set<String> found) {
            properties.forEach((name, value) -> {
                Map<String, Object> definition = objects(value);
                if ("nested".equals(definition.get("type"))) {
                    found.add(path + name);
                }
                addNested(path + name + ".", objects(definition.get("properties")), found);
            });
        }

        @SuppressWarnings("unchecked")
        private static Map<String, Object> objects(Object value) {
            return value instanceof Map<?, ?> map ? (Map<String, Object>) map : Map.of();
        }
    }
}
