package esrerank;

import org.elasticsearch.action.ActionRequestValidationException;
import org.elasticsearch.action.ValidateActions;
import org.elasticsearch.cluster.metadata.IndexMetadata;
import org.elasticsearch.common.ParsingException;
import org.elasticsearch.common.regex.Regex;
import org.elasticsearch.index.query.MatchQueryBuilder;
import org.elasticsearch.index.query.MultiMatchQueryBuilder;
import org.elasticsearch.index.query.QueryBuilder;
import org.elasticsearch.index.query.QueryRewriteContext;
import org.elasticsearch.index.query.TermsQueryBuilder;
import org.elasticsearch.search.builder.SearchSourceBuilder;
import org.elasticsearch.search.retriever.CompoundRetrieverBuilder;
import org.elasticsearch.search.retriever.RetrieverBuilder;
import org.elasticsearch.search.retriever.RetrieverParserContext;
import org.elasticsearch.search.retriever.StandardRetrieverBuilder;
import org.elasticsearch.xcontent.ConstructingObjectParser;
import org.elasticsearch.xcontent.ContextParser;
import org.elasticsearch.xcontent.FilterXContentParserWrapper;
import org.elasticsearch.xcontent.ParseField;
import org.elasticsearch.xcontent.XContentBuilder;
import org.elasticsearch.xcontent.XContentParser;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.TreeSet;

import static org.elasticsearch.xcontent.ConstructingObjectParser.optionalConstructorArg;

/**
 * A retriever that fuses the lists of its children, or of searches for {@code query} in {@code fields}.
 *
 * <p>The multi-field format (https://www.elastic.co/docs/reference/elasticsearch/rest-apis/retrievers) becomes
 * children when Elasticsearch rewrites the search: one for all lexical fields and one for the semantic fields.
 */
abstract class FusionRetriever<T extends FusionRetriever<T>> extends CompoundRetrieverBuilder<T> {
    /** The default of {@code rank_window_size} in Elastic's documentation. */
    static final int DEFAULT_WINDOW = 10;

    static final String NO_MINIMUM = "leave it out for no minimum";

    /** One child, with the factor of what it adds to a score. {@code normalizer} is null where none was given. */
    record Child(RetrieverBuilder retriever, float weight, Normalizer normalizer) {}

    /** The children of a fusion, and what each of them adds. */
    record Children(List<RetrieverSource> sources, float[] weights, Normalizer[] normalizers) {
        static Children of(List<Child> children) {
            float[] weights = new float[children.size()];
            for (int i = 0; i < weights.length; i++) {
                weights[i] = children.get(i).weight;
            }
            return new Children(
                new ArrayList<>(children.stream().map(child -> RetrieverSource.from(child.retriever)).toList()),
                weights,
                children.stream().map(Child::normalizer).toArray(Normalizer[]::new)
            );
        }
    }

    final float[] weights;
    final Normalizer[] normalizers;
    final String query;
    final List<String> fields;

    FusionRetriever(Children children, String query, List<String> fields, int window) {
        super(children.sources, window);
        this.weights = children.weights;
        this.normalizers = children.normalizers;
        this.query = query;
        this.fields = fields;
    }

    /** The parameters that both fusions share, as read from a request. */
    record Fields(Children children, String query, List<String> names, int window) {
        /** Returns the fields in the order in which {@link #declareFusionFields} declares them. */
        @SuppressWarnings("unchecked")
        static Fields of(Object[] values) {
            List<Child> children = values[0] == null ? List.of() : (List<Child>) values[0];
            String query = (String) values[1];
            List<String> names = (List<String>) values[2];
            return new Fields(Children.of(children), query, names, values[3] == null ? DEFAULT_WINDOW : (int) values[3]);
        }
    }

    /** Declares what both fusions read. {@code child} reads one entry of {@code retrievers}. */
    static <R extends RetrieverBuilder> void declareFusionFields(
        ConstructingObjectParser<R, RetrieverParserContext> parser,
        ContextParser<RetrieverParserContext, Child> child
    ) {
        parser.declareObjectArray(optionalConstructorArg(), (p, c) -> child.parse(p, c), new ParseField("retrievers"));
        parser.declareString(optionalConstructorArg(), new ParseField("query"));
        parser.declareStringArray(optionalConstructorArg(), new ParseField("fields"));
        parser.declareInt(optionalConstructorArg(), RANK_WINDOW_SIZE_FIELD);
        declareBaseParserFields(parser);
    }

    /** Reads {@code {"retriever": {...}, "weight": w, "normalizer": n}}. */
    static Child component(XContentParser parser, RetrieverParserContext context) throws IOException {
        RetrieverBuilder retriever = null;
        float weight = 1.0f;
        Normalizer normalizer = null;
        for (XContentParser.Token token = parser.nextToken(); token != XContentParser.Token.END_OBJECT; token = parser
            .nextToken()) {
            String name = parser.currentName();
            parser.nextToken();
            switch (name) {
                case "retriever" -> retriever = parseInnerRetrieverBuilder(parser, context);
                case "weight" -> weight = parser.floatValue();
                case "normalizer" -> normalizer = Normalizer.of(parser.text());
                default -> throw new ParsingException(
                    parser.getTokenLocation(),
                    "unknown field [" + name + "], expected [retriever], [weight] or [normalizer]"
                );
            }
        }
        if (retriever == null) {
            throw new ParsingException(parser.getTokenLocation(), "an entry of [retrievers] has no [retriever]");
        }
        return new Child(retriever, weight, normalizer);
    }

    /** Throws IllegalArgumentException if the weight of a child is negative or no number. */
    static void checkWeights(float[] weights) {
        for (float weight : weights) {
            if ((weight >= 0 && Float.isFinite(weight)) == false) {
                throw new IllegalArgumentException("[weight] must be non-negative, found [" + weight + "]");
            }
        }
    }

    /** Adds the errors of the multi-field format, which Elasticsearch reports with the other errors of a search. */
    @Override
    public ActionRequestValidationException validate(
        SearchSourceBuilder source,
        ActionRequestValidationException errors,
        boolean scroll,
        boolean allowPartial
    ) {
        ActionRequestValidationException all = RetrieverChecks.checkDepth(this, super.validate(source, errors, scroll, allowPartial));
        for (String error : fieldErrors()) {
            all = ValidateActions.addValidationError("[" + getName() + "] " + error, all);
        }
        return all;
    }

    List<String> fieldErrors() {
        List<String> errors = new ArrayList<>();
        if (query == null && fields != null) {
            errors.add("[query] must be provided when [fields] is specified");
        } else if (query == null && innerRetrievers.isEmpty()) {
            errors.add("must provide [retrievers] or [query]");
        } else if (query != null) {
            if (query.isEmpty()) {
                errors.add("[query] cannot be empty");
            }
            if (fields != null && fields.isEmpty()) {
                errors.add("[fields] cannot be empty");
            }
            if (innerRetrievers.isEmpty() == false) {
                errors.add("cannot combine [retrievers] and [query]");
            }
        }
        return errors;
    }

    /** Reads a retriever, or {@code {"retriever": {...}, "weight": w}}; the first key decides which of the two. */
    static Child retrieverOrComponent(XContentParser parser, RetrieverParserContext context) throws IOException {
        XContentParser.Token token = parser.nextToken();
        if (token != XContentParser.Token.FIELD_NAME) {
            throw new ParsingException(parser.getTokenLocation(), "an entry of [retrievers] is empty");
        }
        String name = parser.currentName();
        if (name.equals("retriever") || name.equals("weight")) {
            Child child = component(new FirstTokenAgain(parser), context);
            if (child.normalizer != null) {
                throw new ParsingException(parser.getTokenLocation(), "[normalizer] belongs to [es_linear]");
            }
            return child;
        }
        parser.nextToken();
        RetrieverBuilder retriever = parser.namedObject(RetrieverBuilder.class, name, context);
        if (parser.nextToken() != XContentParser.Token.END_OBJECT) {
            throw new ParsingException(
                parser.getTokenLocation(),
                "unknown field [" + parser.currentName() + "] after retriever [" + name + "]"
            );
        }
        return new Child(retriever, 1.0f, null);
    }

    /** A parser whose next token is the one that it stands on. */
    private static final class FirstTokenAgain extends FilterXContentParserWrapper {
        private boolean again = true;

        private FirstTokenAgain(XContentParser parser) {
            super(parser);
        }

        @Override
        public Token nextToken() throws IOException {
            if (again) {
                again = false;
                return currentToken();
            }
            return super.nextToken();
        }
    }

    /** Returns a retriever with the parameters of this one over these children, or over fields. */
    abstract T with(Children children, String query, List<String> fields);

    @Override
    protected T clone(List<RetrieverSource> children, List<QueryBuilder> preFilters) {
        return PendingDocs.withBase(with(new Children(children, weights, normalizers), query, fields), this, preFilters);
    }

    @Override
    protected RetrieverBuilder doRewrite(QueryRewriteContext context) {
        if (query != null) {
            return PendingDocs.withBase(with(Children.of(fieldChildren(context)), null, null), this, getPreFilterQueryBuilders());
        }
        List<RetrieverSource> children = new ArrayList<>();
        boolean changed = false;
        for (RetrieverSource child : innerRetrievers) {
            if (child.source() == null) {
                return this; // Elasticsearch rewrites the children and the filters first.
            }
            SearchSourceBuilder rewritten = PendingDocs.rewritten(child.source(), context);
            changed |= rewritten != child.source();
            children.add(new RetrieverSource(child.retriever(), rewritten));
        }
        if (changed) {
            return clone(children, getPreFilterQueryBuilders());
        }
        return PendingDocs.of(
            this,
            context,
            minScore(),
            (client, listener) -> ChildSearches.run(
                getName(),
                children,
                client,
                listener.delegateFailureAndWrap((next, lists) -> next.onResponse(combineInnerRetrieverResults(lists, false)))
            )
        );
    }

    /** Indices whose searches may be the same: equal default fields and equal semantic fields. */
    private record Group(List<String> defaults, List<String> semantic) {}

    private List<Child> fieldChildren(QueryRewriteContext context) {
        Map<Group, List<String>> groups = new LinkedHashMap<>();
        if (context.getResolvedIndices() != null) {
            Map<String, IndexMetadata> sorted = new TreeMap<>();
            context.getResolvedIndices()
                .getConcreteLocalIndicesMetadata()
                .forEach((index, metadata) -> sorted.put(index.getName(), metadata));
            sorted.forEach((name, metadata) -> groups.computeIfAbsent(group(metadata), unused -> new ArrayList<>()).add(name));
        }
        if (groups.isEmpty()) {
            groups.put(new Group(List.of("*"), List.of()), new ArrayList<>());
        }
        List<Child> children = new ArrayList<>();
        Map<String, Float> weighted = split(fields, getName());
        groups.forEach((group, indices) -> children.addAll(children(group, weighted, groups.size() > 1 ? indices : null)));
        return children;
    }

    private static Group group(IndexMetadata metadata) {
        return new Group(
            metadata.getSettings().getAsList("index.query.default_field", List.of("*")),
            List.copyOf(new TreeSet<>(metadata.getInferenceFields().keySet()))
        );
    }

    private List<Child> children(Group group, Map<String, Float> weighted, List<String> indices) {
        Map<String, Float> asked = new LinkedHashMap<>(weighted);
        if (asked.isEmpty()) {
            group.defaults.forEach(name -> asked.put(name, 1.0f));
        }
        Map<String, Float> semantic = new LinkedHashMap<>();
        asked.forEach((pattern, weight) -> {
            for (String name : group.semantic) {
                if (Regex.simpleMatch(pattern, name)) {
                    semantic.merge(name, weight, (before, more) -> before * more);
                }
            }
        });
        Map<String, Float> lexical = new LinkedHashMap<>(asked);
        lexical.keySet().removeAll(semantic.keySet());
        List<Child> children = new ArrayList<>();
        if (lexical.isEmpty() == false) {
            QueryBuilder match = new MultiMatchQueryBuilder(query).fields(lexical)
                .type(MultiMatchQueryBuilder.Type.MOST_FIELDS);
            children.add(new Child(leaf(match, indices), 1.0f, null));
        }
        if (semantic.isEmpty() == false) {
            List<Child> matches = new ArrayList<>();
            semantic.forEach(
                (name, weight) -> matches.add(new Child(leaf(new MatchQueryBuilder(name, query), indices), weight, null))
            );
            children.add(new Child(with(Children.of(matches), null, null), 1.0f, null));
        }
        return children;
    }

    private static RetrieverBuilder leaf(QueryBuilder query, List<String> indices) {
        RetrieverBuilder leaf = new StandardRetrieverBuilder(query);
        if (indices != null) {
            leaf.getPreFilterQueryBuilders().add(new TermsQueryBuilder("_index", indices));
        }
        return leaf;
    }

    /** Splits the fields of the multi-field format into names and the weights after {@code ^}. */
    static Map<String, Float> split(List<String> fields, String retriever) {
        Map<String, Float> weights = new LinkedHashMap<>();
        if (fields == null) {
            return weights;
        }
        for (String field : fields) {
            int caret = field.indexOf('^');
            String name = caret < 0 ? field : field.substring(0, caret);
            try {
                weights.put(name, caret < 0 ? 1.0f : Float.parseFloat(field.substring(caret + 1)));
            } catch (NumberFormatException error) {
                throw new IllegalArgumentException(
                    "[" + retriever + "] [fields] holds [" + field + "], whose weight is not a number"
                );
            }
            if ((weights.get(name) >= 0 && Float.isFinite(weights.get(name))) == false) {
                throw new IllegalArgumentException(
                    "[" + retriever + "] [fields] holds [" + field + "], whose weight is no number from 0 on; give one"
                );
            }
        }
        return weights;
    }

    void childrenToXContent(XContentBuilder builder, Params params) throws IOException {
        if (innerRetrievers.isEmpty() == false) {
            builder.startArray("retrievers");
            for (int i = 0; i < innerRetrievers.size(); i++) {
                builder.startObject();
                builder.field("retriever", innerRetrievers.get(i).retriever());
                builder.field("weight", weights[i]);
                if (normalizers[i] != null) {
                    builder.field("normalizer", normalizers[i].toString());
                }
                builder.endObject();
            }
            builder.endArray();
        }
        if (query != null) {
            builder.field("query", query);
        }
        if (fields != null) {
            builder.field("fields", fields);
        }
        builder.field("rank_window_size", rankWindowSize);
    }

    @Override
    public boolean doEquals(Object other) {
        return super.doEquals(other)
            && other instanceof FusionRetriever<?> fusion
            && Arrays.equals(weights, fusion.weights)
            && Arrays.equals(normalizers, fusion.normalizers)
            && Objects.equals(query, fusion.query)
            && Objects.equals(fields, fusion.fields);
    }

    @Override
    public int doHashCode() {
        return Objects.hash(super.doHashCode(), query, fields, Arrays.hashCode(weights));
    }
}
