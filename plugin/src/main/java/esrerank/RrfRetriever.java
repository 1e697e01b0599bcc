package esrerank;

import org.apache.lucene.search.ScoreDoc;
import org.elasticsearch.search.rank.RankDoc;
import org.elasticsearch.search.retriever.RetrieverParserContext;
import org.elasticsearch.xcontent.ConstructingObjectParser;
import org.elasticsearch.xcontent.ParseField;
import org.elasticsearch.xcontent.XContentBuilder;
import org.elasticsearch.xcontent.XContentParser;

import java.io.IOException;
import java.util.List;

import static org.elasticsearch.xcontent.ConstructingObjectParser.optionalConstructorArg;

/** {@code es_rrf}: reciprocal rank fusion, with the parameters that Elastic's documentation gives {@code rrf}. */
final class RrfRetriever extends FusionRetriever<RrfRetriever> {
    static final String NAME = "es_rrf";

    /** The default of {@code rank_constant} in Elastic's documentation. */
    private static final int DEFAULT_RANK_CONSTANT = 60;

    private final int rankConstant;

    private RrfRetriever(Children children, String query, List<String> fields, int window, int rankConstant) {
        super(children, query, fields, window);
        this.rankConstant = rankConstant;
    }

    private static final ConstructingObjectParser<RrfRetriever, RetrieverParserContext> PARSER =
        new ConstructingObjectParser<>(NAME, false, RrfRetriever::of);

    static {
        declareFusionFields(PARSER, FusionRetriever::retrieverOrComponent);
        PARSER.declareInt(optionalConstructorArg(), new ParseField("rank_constant"));
    }

    /** Returns the retriever of a request. Throws IllegalArgumentException for a value that is not allowed. */
    static RrfRetriever parse(XContentParser parser, RetrieverParserContext context) throws IOException {
        RrfRetriever retriever = PARSER.apply(parser, context);
        if (retriever.rankConstant < 1) {
            throw new IllegalArgumentException(
                "[rank_constant] must be greater or equal to [1] for [" + NAME + "], found [" + retriever.rankConstant + "]"
            );
        }
        checkWeights(retriever.weights);
        RetrieverChecks.checkMinimum("min_score", retriever.minScore(), NO_MINIMUM);
        return retriever;
    }

    private static RrfRetriever of(Object[] values) {
        Fields fields = Fields.of(values);
        int constant = values[values.length - 1] == null ? DEFAULT_RANK_CONSTANT : (int) values[values.length - 1];
        return new RrfRetriever(fields.children(), fields.query(), fields.names(), fields.window(), constant);
    }

    @Override
    public String getName() {
        return NAME;
    }

    @Override
    RrfRetriever with(Children children, String query, List<String> fields) {
        return new RrfRetriever(children, query, fields, rankWindowSize, rankConstant);
    }

    @Override
    protected RankDoc[] combineInnerRetrieverResults(List<ScoreDoc[]> results, boolean explain) {
        return Fusion.rrf(results, weights, rankConstant, rankWindowSize);
    }

    @Override
    protected void doToXContent(XContentBuilder builder, Params params) throws IOException {
        childrenToXContent(builder, params);
        builder.field("rank_constant", rankConstant);
    }

    @Override
    public boolean doEquals(Object other) {
        return super.doEquals(other) && rankConstant == ((RrfRetriever) other).rankConstant;
    }
}
