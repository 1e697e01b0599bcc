package esrerank;

import org.elasticsearch.cluster.metadata.ProjectId;
import org.elasticsearch.ingest.AbstractProcessor;
import org.elasticsearch.ingest.ConfigurationUtils;
import org.elasticsearch.ingest.IngestDocument;
import org.elasticsearch.ingest.Processor;

import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.BiConsumer;
import java.util.function.Supplier;
import java.util.stream.Collectors;

/**
 * Ingest processor {@code es_rerank_passages}: the sidecar cuts a field into passages and embeds them, while
 * Elasticsearch indexes the document. It writes the fields that {@code es-rerank ingest} writes.
 */
final class PassagesProcessor extends AbstractProcessor {
    static final String TYPE = "es_rerank_passages";

    /** The parameter, and the field of a document whose text is not plain text. */
    private static final String FORMAT = "format";

    private final Supplier<PassageBatches> batches;
    private final String field;
    private final String titleField;
    private final String targetField;
    private final String model;
    private final boolean markdown;
    private final boolean ignoreMissing;

    private PassagesProcessor(
        String tag,
        String description,
        Supplier<PassageBatches> batches,
        String field,
        String titleField,
        String targetField,
        String model,
        boolean markdown,
        boolean ignoreMissing
    ) {
        super(tag, description);
        this.batches = batches;
        this.field = field;
        this.titleField = titleField;
        this.targetField = targetField;
        this.model = model;
        this.markdown = markdown;
        this.ignoreMissing = ignoreMissing;
    }

    @Override
    public String getType() {
        return TYPE;
    }

    @Override
    public boolean isAsync() {
        return true;
    }

    @Override
    public void execute(IngestDocument document, BiConsumer<IngestDocument, Exception> handler) {
        PassageBatches.Text text;
        try {
            String content = textOf(document, field);
            String title = textOf(document, titleField);
            if (content == null && title == null && ignoreMissing == false) {
                throw new IllegalArgumentException(
                    "field [" + field + "] is missing; give it, or set [ignore_missing] of [" + TYPE + "]"
                );
            }
            text = new PassageBatches.Text(title == null ? "" : title, content == null ? "" : content, model, markdown);
        } catch (Exception error) {
            handler.accept(null, error);
            return;
        }
        batches.get().add(text, (passages, error) -> {
            if (error != null) {
                handler.accept(null, error);
                return;
            }
            try {
                document.setFieldValue(targetField, passages);
                if (markdown && document.hasField(FORMAT) == false) {
                    document.setFieldValue(FORMAT, "markdown");
                }
            } catch (Exception failure) {
                handler.accept(null, failure);
                return;
            }
            handler.accept(document, null);
        });
    }

    /**
     * Returns the text of a field: a list as one text, a line for each value. Returns null if the field is missing.
     *
     * @throws IllegalArgumentException if a value is an object
     */
    private static String textOf(IngestDocument document, String name) {
        Object value = document.getFieldValue(name, Object.class, true);
        if (value == null) {
            return null;
        }
        List<?> values = value instanceof List<?> list ? list : List.of(value);
        for (Object part : values) {
            if (part instanceof Map || part instanceof List) {
                throw new IllegalArgumentException(
                    "field [" + name + "] holds an object; [" + TYPE + "] reads text, or a list of texts"
                );
            }
        }
        return values.stream().filter(Objects::nonNull).map(Object::toString).collect(Collectors.joining("\n"));
    }

    /** Reads the definition of a processor in a pipeline. */
    record Factory(Supplier<PassageBatches> batches) implements Processor.Factory {
        @Override
        public Processor create(
            Map<String, Processor.Factory> others,
            String tag,
            String description,
            Map<String, Object> config,
            ProjectId project
        ) {
            String field = readName(tag, config, "field", "text");
            String titleField = readName(tag, config, "title_field", "title");
            String targetField = readName(tag, config, "target_field", "passages");
            if (targetField.equals(field) || targetField.equals(titleField)) {
                throw ConfigurationUtils.newConfigurationException(
                    TYPE,
                    tag,
                    "target_field",
                    "[" + targetField + "] is a field that is read; name another one for the passages"
                );
            }
            String format = ConfigurationUtils.readStringProperty(TYPE, tag, config, FORMAT, "text");
            if (List.of("text", "markdown").contains(format) == false) {
                throw ConfigurationUtils.newConfigurationException(
                    TYPE,
                    tag,
                    FORMAT,
                    "[" + format + "] is no format; the formats are text and markdown"
                );
            }
            return new PassagesProcessor(
                tag,
                description,
                batches,
                field,
                titleField,
                targetField,
                ConfigurationUtils.readOptionalStringProperty(TYPE, tag, config, "model_id"),
                format.equals("markdown"),
                ConfigurationUtils.readBooleanProperty(TYPE, tag, config, "ignore_missing", false)
            );
        }

        private static String readName(String tag, Map<String, Object> config, String property, String fallback) {
            String name = ConfigurationUtils.readStringProperty(TYPE, tag, config, property, fallback);
            if (name.isBlank() || name.startsWith("_") || name.contains("..") || name.endsWith(".")) {
                throw ConfigurationUtils.newConfigurationException(
                    TYPE,
                    tag,
                    property,
                    "[" + name + "] is no name of a field; name a field of the document"
                );
            }
            return name;
        }
    }
}
