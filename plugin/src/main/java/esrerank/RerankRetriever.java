package esrerank;

import org.apache.lucene.search.ScoreDoc;
import org.elasticsearch.action.ActionRequestValidationException;
import org.elasticsearch.index.query.QueryBuilder;
import org.elasticsearch.index.query.QueryRewriteContext;
import org.elasticsearch.search.builder.SearchSourceBuilder;
import org.elasticsearch.search.fetch.StoredFieldsContext;
import org.elasticsearch.search.rank.RankDoc;
import org.elasticsearch.search.retriever.CompoundRetrieverBuilder;
import org.elasticsearch.search.retriever.RetrieverBuilder;
import org.elasticsearch.search.retriever.RetrieverParser;
import org.elasticsearch.search.retriever.RetrieverParserContext;
import org.elasticsearch.xcontent.ConstructingObjectParser;
import org.elasticsearch.xcontent.ObjectParser;
import org.elasticsearch.xcontent.ParseField;
import org.elasticsearch.xcontent.XContentBuilder;
import org.elasticsearch.xcontent.XContentParser;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;

import static org.elasticsearch.xcontent.ConstructingObjectParser.constructorArg;
import static org.elasticsearch.xcontent.ConstructingObjectParser.optionalConstructorArg;

/**
 * {@code es_rerank}: reorders the first {@code rank_window_size} hits of its child with a cross-encoder that the
 * sidecar serves, with the parameters that Elastic's documentation gives {@code text_similarity_reranker}.
 *
 * <p>While Elasticsearch rewrites the search, this retriever searches its child once, with the texts of the window as
 * {@code fields}, lets the sidecar score the texts, and becomes a list of ranked documents. So it reads several fields
 * and nested passages, and nothing of it runs on a data node.
 */
final class RerankRetriever extends CompoundRetrieverBuilder<RerankRetriever> {
    static final String NAME = "es_rerank";

    private static final int DEFAULT_WINDOW = 10;
    private static final String SCALE = "scores are from 0 to 1";

    /**
     * The parameters of a request beside child, filters, minimum score and name.
     *
     * @param fields the fields whose text is read; all but the last, or but the nested one, are context; null for those
     *     that the indices record
     * @param text the text that the documents are compared with
     * @param model the sidecar's name of the reranker, null for its default
     * @param window number of hits that are reordered
     * @param failures whether the order of the first stage stays when the reranker fails
     * @param chunks limit of passages for each document, null for none
     * @param aggregation how the scores of passages become one: a name, or {@code {"top_k_mean": k}}
     * @param blend whether the scores of the first stage have a part in the new ones
     * @param minProbability the least probability of the pair, null for none
     */
    record Parameters(
        List<String> fields,
        String text,
        String model,
        int window,
        boolean failures,
        ChunkRescorer chunks,
        Object aggregation,
        boolean blend,
        Float minProbability
    ) {}

    /** {@code chunk_rescorer}: only the {@code size} passages nearest to the query are scored. */
    record ChunkRescorer(int size, Map<String, Object> settings) {}

    private final Sidecar sidecar;
    private final boolean hitFields;
    private final Parameters parameters;
    private final FirstStage firstStage;
    private volatile TextSource texts;

    private RerankRetriever(
        List<RetrieverSource> child,
        Sidecar sidecar,
        boolean hitFields,
        Parameters parameters,
        FirstStage firstStage,
        TextSource texts
    ) {
        super(child, parameters.window);
        this.sidecar = sidecar;
        this.hitFields = hitFields;
        this.parameters = parameters;
        this.firstStage = firstStage;
        this.texts = texts;
    }

    private static final ConstructingObjectParser<ChunkRescorer, Void> CHUNKS = new ConstructingObjectParser<>(
        "chunk_rescorer",
        values -> {
            int size = values[0] == null ? 1 : (int) values[0];
            if (size < 1) {
                throw new IllegalArgumentException("[chunk_rescorer] size must be greater than 0, was: " + size);
            }
            @SuppressWarnings("unchecked")
            Map<String, Object> settings = (Map<String, Object>) values[1];
            return new ChunkRescorer(size, settings);
        }
    );

    static {
        CHUNKS.declareInt(optionalConstructorArg(), new ParseField("size"));
        CHUNKS.declareObject(optionalConstructorArg(), (p, c) -> p.map(), new ParseField("chunking_settings"));
    }

    /**
     * Returns the parser of this retriever. Its retrievers ask this sidecar.
     *
     * <p>{@code hitFields} says whether all nodes can read documents with what their hits show. The parser throws IllegalArgumentException for a value that is not allowed.
     */
    static RetrieverParser<RerankRetriever> parser(Supplier<Sidecar> sidecar, BooleanSupplier hitFields) {
        ConstructingObjectParser<RerankRetriever, RetrieverParserContext> parser = new ConstructingObjectParser<>(
            NAME,
            false,
            values -> new RerankRetriever(
                new ArrayList<>(List.of(RetrieverSource.from((RetrieverBuilder) values[0]))),
                sidecar.get(),
                hitFields.getAsBoolean(),
                parameters(values),
                Boolean.TRUE.equals(values[8]) ? FirstStage.of((RetrieverBuilder) values[0]) : null,
                null
            )
        );
        parser.declareObject(constructorArg(), RetrieverBuilder::parseInnerRetrieverBuilder, new ParseField("retriever"));
        parser.declareField(
            optionalConstructorArg(),
            (p, c) -> p.currentToken() == XContentParser.Token.START_ARRAY ? p.list() : List.of(p.text()),
            new ParseField("field"),
            ObjectParser.ValueType.STRING_ARRAY
        );
        parser.declareString(constructorArg(), new ParseField("inference_text"));
        parser.declareString(optionalConstructorArg(), new ParseField("inference_id"));
        parser.declareInt(optionalConstructorArg(), RANK_WINDOW_SIZE_FIELD);
        parser.declareBoolean(optionalConstructorArg(), new ParseField("allow_rerank_failures"));
        parser.declareObject(optionalConstructorArg(), (p, c) -> CHUNKS.apply(p, null), new ParseField("chunk_rescorer"));
        parser.declareField(
            optionalConstructorArg(),
            (p, c) -> p.currentToken() == XContentParser.Token.START_OBJECT ? p.map() : p.text(),
            new ParseField("aggregation"),
            ObjectParser.ValueType.OBJECT_OR_STRING
        );
        parser.declareBoolean(optionalConstructorArg(), new ParseField("blend"));
        parser.declareFloat(optionalConstructorArg(), new ParseField("min_probability"));
        declareBaseParserFields(parser);
        return (p, context) -> {
            RerankRetriever retriever = parser.apply(p, context);
            RetrieverChecks.checkMinimum("min_score", retriever.minScore(), SCALE);
            RetrieverChecks.checkMinimum("min_probability", retriever.parameters.minProbability, SCALE);
            if (retriever.parameters.blend && retriever.minScore() != null) {
                throw new IllegalArgumentException(
                    "[min_score] has no fixed meaning with [blend]: the score depends on the window; "
                        + "use [min_probability], which is compared with the probability of the pair"
                );
            }
            return retriever;
        };
    }

    private static Parameters parameters(Object[] values) {
        List<String> fields = values[1] == null ? null : ((List<?>) values[1]).stream().map(Object::toString).toList();
        if (fields != null && fields.isEmpty()) {
            throw new IllegalArgumentException("[field] names no field; name the one whose text is read");
        }
        if (((String) values[2]).isEmpty()) {
            throw new IllegalArgumentException("[inference_text] is empty; give the text that the documents are compared with");
        }
        return new Parameters(
            fields,
            (String) values[2],
            (String) values[3],
            values[4] == null ? DEFAULT_WINDOW : (int) values[4],
            Boolean.TRUE.equals(values[5]),
            (ChunkRescorer) values[6],
            values[7],
            Boolean.TRUE.equals(values[8]),
            (Float) values[9]
        );
    }

    @Override
    public ActionRequestValidationException validate(
        SearchSourceBuilder source,
        ActionRequestValidationException errors,
        boolean scroll,
        boolean allowPartial
    ) {
        return RetrieverChecks.checkDepth(this, super.validate(source, errors, scroll, allowPartial));
    }

    @Override
    public String getName() {
        return NAME;
    }

    @Override
    protected RerankRetriever clone(List<RetrieverSource> children, List<QueryBuilder> preFilters) {
        RerankRetriever copy = new RerankRetriever(children, sidecar, hitFields, parameters, firstStage, texts);
        return PendingDocs.withBase(copy, this, preFilters);
    }

    @Override
    protected SearchSourceBuilder finalizeSourceBuilder(SearchSourceBuilder source) {
        // Elasticsearch disables stored fields for inner searches, but "fields" needs them.
        source.storedFields((StoredFieldsContext) null).fetchSource(false);
        texts.addKept(source);
        NearestPassages nearest = NearestPassages.of(parameters, texts);
        if (nearest == null) {
            texts.fetched().forEach(source::fetchField);
        } else {
            nearest.addTo(source);
        }
        return source;
    }

    /** Never called: {@link #doRewrite} searches the child itself. */
    @Override
    protected RankDoc[] combineInnerRetrieverResults(List<ScoreDoc[]> results, boolean explain) {
        throw new IllegalStateException("[" + NAME + "] searches its child itself");
    }

    @Override
    protected RetrieverBuilder doRewrite(QueryRewriteContext context) {
        if (texts == null) {
            texts = textSource(context);
        }
        RetrieverSource child = innerRetrievers.get(0);
        if (child.source() == null) {
            return this; // Elasticsearch rewrites the child and the filters first.
        }
        SearchSourceBuilder rewritten = PendingDocs.rewritten(child.source(), context);
        if (rewritten != child.source()) {
            return clone(List.of(new RetrieverSource(child.retriever(), rewritten)), getPreFilterQueryBuilders());
        }
        WindowReranker window = new WindowReranker(sidecar, hitFields, parameters, firstStage, texts, minScore(), child.retriever());
        // Documents below a minimum are left out by then. The least positive score makes Elasticsearch count and aggregate
        // over those that are left, and keeps those without a score.
        Float least = minScore() != null || parameters.minProbability != null ? Float.MIN_VALUE : null;
        return PendingDocs.of(this, context, least, (client, listener) -> window.search(client, rewritten, listener));
    }

    private TextSource textSource(QueryRewriteContext context) {
        TextSource source = TextSource.of(parameters.fields, context.getResolvedIndices());
        if (source.nested() != null && parameters.chunks != null && parameters.chunks.settings != null) {
            throw new IllegalArgumentException(
                "[chunking_settings] cannot cut [" + source.text() + "]: its passages were cut when they were indexed; "
                    + "leave the settings out, or name a field of the document"
            );
        }
        return source;
    }

    @Override
    protected void doToXContent(XContentBuilder builder, Params params) throws IOException {
        builder.field("retriever", innerRetrievers.get(0).retriever());
        if (parameters.fields != null) {
            builder.field("field", parameters.fields);
        }
        builder.field("inference_text", parameters.text);
        if (parameters.model != null) {
            builder.field("inference_id", parameters.model);
        }
        builder.field("rank_window_size", rankWindowSize);
        builder.field("allow_rerank_failures", parameters.failures);
    }

    @Override
    public boolean doEquals(Object other) {
        return super.doEquals(other) && other instanceof RerankRetriever rerank && parameters.equals(rerank.parameters);
    }

    @Override
    public int doHashCode() {
        return Objects.hash(super.doHashCode(), parameters);
    }
}
