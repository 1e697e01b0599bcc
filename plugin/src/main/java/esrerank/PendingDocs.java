package esrerank;

import org.elasticsearch.action.ActionListener;
import org.elasticsearch.client.internal.Client;
import org.elasticsearch.index.query.QueryBuilder;
import org.elasticsearch.index.query.QueryRewriteContext;
import org.elasticsearch.search.builder.SearchSourceBuilder;
import org.elasticsearch.search.rank.RankDoc;
import org.elasticsearch.search.retriever.CompoundRetrieverBuilder;
import org.elasticsearch.search.retriever.CompoundRetrieverBuilder.RetrieverSource;
import org.elasticsearch.search.retriever.RankDocsRetrieverBuilder;
import org.elasticsearch.search.retriever.RetrieverBuilder;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.function.BiConsumer;

/** The ranked documents of a retriever, which are there once its asynchronous part has ended. */
final class PendingDocs {
    private volatile RankDoc[] docs;

    private PendingDocs() {}

    /**
     * Registers the asynchronous part of a retriever, and returns the retriever that it becomes.
     *
     * @param least the minimum score that Elasticsearch applies, null for none
     * @param part searches, and gives the listener the ranked documents
     */
    static RetrieverBuilder of(
        CompoundRetrieverBuilder<?> retriever,
        QueryRewriteContext context,
        Float least,
        BiConsumer<Client, ActionListener<RankDoc[]>> part
    ) {
        PendingDocs pending = new PendingDocs();
        SearchWarnings.registerAsyncAction(context, (client, listener) -> part.accept(client, listener.delegateFailureAndWrap((next, docs) -> {
            pending.docs = docs;
            next.onResponse(null);
        })));
        RankDocsRetrieverBuilder ranked = new RankDocsRetrieverBuilder(
            retriever.rankWindowSize(),
            retriever.innerRetrievers().stream().map(RetrieverSource::retriever).toList(),
            () -> pending.docs,
            least
        );
        ranked.retrieverName(retriever.retrieverName());
        return ranked;
    }

    /** Returns the search of a child, rewritten; the same object if there is nothing more to rewrite. */
    static SearchSourceBuilder rewritten(SearchSourceBuilder source, QueryRewriteContext context) {
        try {
            return source.rewrite(context);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    /** Gives a copy the name, the minimum score and the filters that every retriever may have, and returns it. */
    static <T extends RetrieverBuilder> T withBase(T copy, RetrieverBuilder original, List<QueryBuilder> preFilters) {
        copy.retrieverName(original.retrieverName());
        copy.minScore(original.minScore());
        copy.getPreFilterQueryBuilders().addAll(preFilters);
        return copy;
    }
}
