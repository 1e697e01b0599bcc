package esrerank;

import org.elasticsearch.cluster.metadata.ProjectId;
import org.elasticsearch.ingest.AbstractProcessor;
import org.elasticsearch.ingest.ConfigurationUtils;
import org.elasticsearch.ingest.IngestDocument;
import org.elasticsearch.ingest.Processor;

import java.util.Map;
import java.util.function.BiConsumer;
import java.util.function.Supplier;

/**
 * Ingest processor {@code es_rerank_passages}: the sidecar cuts a field into passages and embeds them, while
 * Elasticsearch indexes the document. It writes the fields that {@code es-rerank ingest} writes.
 */
final class PassagesProcessor extends AbstractProcessor {
    static final String TYPE = "es_rerank_passages";

    private final Supplier<PassageBatches> batches;
    private final String field;
    private final String titleField;
    private final String targetField;
    private final String model;
    private final boolean ignoreMissing;

    private PassagesProcessor(
        String tag,
        String description,
        Supplier<PassageBatches> batches,
        String field,
        String titleField,
        String targetField,
        String model,
        boolean ignoreMissing
    ) {
        super(tag, description);
        this.batches = batches;
        this.field = field;
        this.titleField = titleField;
        this.targetField = targetField;
        this.model = model;
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
            String content = document.getFieldValue(field, String.class, true);
            String title = document.getFieldValue(titleField, String.class, true);
            if (content == null && title == null && ignoreMissing == false) {
                throw new IllegalArgumentException(
                    "field [" + field + "] is missing; give it, or set [ignore_missing] of [" + TYPE + "]"
                );
            }
            text = new PassageBatches.Text(title == null ? "" : title, content == null ? "" : content, model);
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
            } catch (Exception failure) {
                handler.accept(null, failure);
                return;
            }
            handler.accept(document, null);
        });
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
            return new PassagesProcessor(
                tag,
                description,
                batches,
                ConfigurationUtils.readStringProperty(TYPE, tag, config, "field", "text"),
                ConfigurationUtils.readStringProperty(TYPE, tag, config, "title_field", "title"),
                ConfigurationUtils.readStringProperty(TYPE, tag, config, "target_field", "passages"),
                ConfigurationUtils.readOptionalStringProperty(TYPE, tag, config, "model_id"),
                ConfigurationUtils.readBooleanProperty(TYPE, tag, config, "ignore_missing", false)
            );
        }
    }
}
