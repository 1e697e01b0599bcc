package esrerank;

import org.apache.lucene.search.ScoreDoc;
import org.elasticsearch.search.builder.SearchSourceBuilder;
import org.elasticsearch.search.rank.RankDoc;
import org.elasticsearch.search.retriever.RetrieverParserContext;
import org.elasticsearch.xcontent.ConstructingObjectParser;
import org.elasticsearch.xcontent.ParseField;
import org.elasticsearch.xcontent.XContentBuilder;
import org.elasticsearch.xcontent.XContentParser;

import java.io.IOException;
import java.util.List;

import static org.elasticsearch.xcontent.ConstructingObjectParser.optionalConstructorArg;

/** {@code es_linear}: the weighted sum of normalized scores, with the parameters of Elastic's {@code linear}. */
final class LinearRetriever extends FusionRetriever<LinearRetriever> {
    static final String NAME = "es_linear";

    private final Normalizer normalizer;

    private LinearRetriever(Children children, String query, List<String> fields, int window, Normalizer normalizer) {
        super(children, query, fields, window);
        this.normalizer = normalizer;
    }

    private static final ConstructingObjectParser<LinearRetriever, RetrieverParserContext> PARSER =
        new ConstructingObjectParser<>(NAME, false, LinearRetriever::of);

    static {
        declareFusionFields(PARSER, FusionRetriever::component);
        PARSER.declareString(optionalConstructorArg(), new ParseField("normalizer"));
    }

    /** Returns the retriever of a request. Throws IllegalArgumentException for a value that is not allowed. */
    static LinearRetriever parse(XContentParser parser, RetrieverParserContext context) throws IOException {
        LinearRetriever retriever = PARSER.apply(parser, context);
        RetrieverChecks.checkMinimum("min_score", retriever.minScore(), NO_MINIMUM);
        return retriever;
    }

    private static LinearRetriever of(Object[] values) {
        Fields fields = Fields.of(values);
        checkWeights(fields.children().weights());
        String normalizer = (String) values[values.length - 1];
        return new LinearRetriever(fields.children(), fields.query(), fields.names(), fields.window(), normalizer == null ? null : Normalizer.of(normalizer));
    }

    @Override
    public String getName() {
        return NAME;
    }

    @Override
    LinearRetriever with(Children children, String query, List<String> fields) {
        return new LinearRetriever(children, query, fields, rankWindowSize, normalizer);
    }

    @Override
    List<String> fieldErrors() {
        List<String> errors = super.fieldErrors();
        if (query != null && normalizer == null) {
            errors.add("[normalizer] must be provided when [query] is specified");
        }
        return errors;
    }

    @Override
    protected SearchSourceBuilder finalizeSourceBuilder(SearchSourceBuilder source) {
        // Elasticsearch leaves the scores of a sorted child out, and the sum is made from them.
        return source.trackScores(true);
    }

    @Override
    protected RankDoc[] combineInnerRetrieverResults(List<ScoreDoc[]> results, boolean explain) {
        Normalizer[] chosen = new Normalizer[normalizers.length];
        for (int i = 0; i < chosen.length; i++) {
            chosen[i] = normalizers[i] != null ? normalizers[i] : normalizer != null ? normalizer : Normalizer.NONE;
        }
        return Fusion.linear(results, weights, chosen, rankWindowSize);
    }

    @Override
    protected void doToXContent(XContentBuilder builder, Params params) throws IOException {
        childrenToXContent(builder, params);
        if (normalizer != null) {
            builder.field("normalizer", normalizer.toString());
        }
    }

    @Override
    public boolean doEquals(Object other) {
        return super.doEquals(other) && normalizer == ((LinearRetriever) other).normalizer;
    }
}
