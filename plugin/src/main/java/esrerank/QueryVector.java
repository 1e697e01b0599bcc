package esrerank;

import org.elasticsearch.ElasticsearchStatusException;
import org.elasticsearch.TransportVersion;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.client.internal.Client;
import org.elasticsearch.common.io.stream.StreamInput;
import org.elasticsearch.common.io.stream.StreamOutput;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.search.vectors.QueryVectorBuilder;
import org.elasticsearch.xcontent.ConstructingObjectParser;
import org.elasticsearch.xcontent.ParseField;
import org.elasticsearch.xcontent.XContentBuilder;
import org.elasticsearch.xcontent.XContentParser;

import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.Objects;

import static org.elasticsearch.xcontent.ConstructingObjectParser.constructorArg;
import static org.elasticsearch.xcontent.ConstructingObjectParser.optionalConstructorArg;

/** {@code query_vector_builder.es_rerank}: the sidecar's embedder makes the query vector of a kNN search. */
final class QueryVector implements QueryVectorBuilder {
    static final String NAME = "es_rerank";

    /** Format of this writeable. A reader refuses a newer one in one sentence. */
    private static final int FORMAT = 1;

    private static final ConstructingObjectParser<QueryVector, Sidecar> PARSER = new ConstructingObjectParser<>(
        NAME,
        false,
        (values, sidecar) -> new QueryVector((String) values[0], (String) values[1], sidecar)
    );

    static {
        PARSER.declareString(constructorArg(), new ParseField("model_text"));
        PARSER.declareString(optionalConstructorArg(), new ParseField("model_id"));
    }

    private final String text;
    private final String model;
    private final Sidecar sidecar;

    private QueryVector(String text, String model, Sidecar sidecar) {
        if (text.isEmpty()) {
            throw new IllegalArgumentException("[model_text] is empty; give the text whose vector is searched for");
        }
        this.text = text;
        this.model = model;
        this.sidecar = sidecar;
    }

    QueryVector(StreamInput in, Sidecar sidecar) throws IOException {
        int format = in.readVInt();
        if (format != FORMAT) {
            throw new IOException("a node sent format [" + format + "] of query vector builder [" + NAME + "], this node reads ["
                + FORMAT + "]; install the same version of the plugin es-rerank on all nodes");
        }
        this.text = in.readString();
        this.model = in.readOptionalString();
        this.sidecar = sidecar;
    }

    static QueryVector parse(XContentParser parser, Sidecar sidecar) {
        return PARSER.apply(parser, sidecar);
    }

    @Override
    public void writeTo(StreamOutput out) throws IOException {
        out.writeVInt(FORMAT);
        out.writeString(text);
        out.writeOptionalString(model);
    }

    @Override
    public void buildVector(Client client, ActionListener<float[]> listener) {
        sidecar.post("/_rerank/v1/embed", client.threadPool().getThreadContext().getHeader("X-Opaque-Id"), body -> {
            body.field("purpose", "query").field("texts", List.of(text));
            if (model != null) {
                body.field("model", sidecar.allowed(model));
            }
        }, listener.delegateFailureAndWrap((next, answer) -> next.onResponse(vectors(answer, 1)[0])));
    }

    /**
     * Returns the vectors of an answer.
     *
     * @throws ElasticsearchStatusException (502) if the answer holds other than {@code count} vectors of numbers
     */
    static float[][] vectors(Map<String, Object> answer, int count) {
        if (answer.get("vectors") instanceof List<?> rows && rows.size() == count) {
            float[][] vectors = new float[count][];
            for (int i = 0; i < count; i++) {
                vectors[i] = vector(rows.get(i));
            }
            return vectors;
        }
        throw wrong();
    }

    private static float[] vector(Object row) {
        if (row instanceof List<?> numbers && numbers.isEmpty() == false) {
            float[] vector = new float[numbers.size()];
            for (int i = 0; i < vector.length; i++) {
                vector[i] = numbers.get(i) instanceof Number number ? number.floatValue() : Float.NaN;
                if (Float.isFinite(vector[i]) == false) {
                    throw wrong();
                }
            }
            return vector;
        }
        throw wrong();
    }

    private static ElasticsearchStatusException wrong() {
        return new ElasticsearchStatusException("the sidecar answered without a vector for each text", RestStatus.BAD_GATEWAY);
    }

    @Override
    public String getWriteableName() {
        return NAME;
    }

    @Override
    public TransportVersion getMinimalSupportedVersion() {
        return Generation.minimumCompatible();
    }

    @Override
    public XContentBuilder toXContent(XContentBuilder builder, Params params) throws IOException {
        builder.startObject().field("model_text", text);
        if (model != null) {
            builder.field("model_id", model);
        }
        return builder.endObject();
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof QueryVector vector && text.equals(vector.text) && Objects.equals(model, vector.model);
    }

    @Override
    public int hashCode() {
        return Objects.hash(text, model);
    }
}
