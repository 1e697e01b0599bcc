package esrerank;

import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.ActionRequest;
import org.elasticsearch.action.ActionResponse;
import org.elasticsearch.action.search.SearchRequest;
import org.elasticsearch.action.search.TransportSearchAction;
import org.elasticsearch.action.support.ActionFilterChain;
import org.elasticsearch.action.support.MappedActionFilter;
import org.elasticsearch.common.util.concurrent.ThreadContext;
import org.elasticsearch.tasks.Task;

import java.util.function.Supplier;

/**
 * Gives the searches of a retriever's children the caller's {@code allow_partial_search_results=false}: a shard that
 * fails in one of them fails the search.
 *
 * @param threads gives the thread context of the node
 */
record WholeResults(Supplier<ThreadContext> threads) implements MappedActionFilter {
    /** The transient value of a search whose caller wants no partial results. */
    private static final String WHOLE = "es_rerank.whole_results";

    @Override
    public String actionName() {
        return TransportSearchAction.NAME;
    }

    @Override
    public <Request extends ActionRequest, Response extends ActionResponse> void apply(
        Task task,
        String action,
        Request request,
        ActionListener<Response> listener,
        ActionFilterChain<Request, Response> chain
    ) {
        ThreadContext context = threads.get();
        boolean whole = context.getTransient(WHOLE) != null;
        if (whole == false && request instanceof SearchRequest outer && wantsWhole(outer)) {
            try (ThreadContext.StoredContext ignored = context.newStoredContextPreservingResponseHeaders()) {
                context.putTransient(WHOLE, true);
                chain.proceed(task, action, request, listener);
            }
            return;
        }
        if (whole && request instanceof SearchRequest inner && inner.allowPartialSearchResults() == null) {
            inner.allowPartialSearchResults(false);
        }
        chain.proceed(task, action, request, listener);
    }

    private static boolean wantsWhole(SearchRequest search) {
        return Boolean.FALSE.equals(search.allowPartialSearchResults())
            && search.source() != null
            && search.source().retriever() != null;
    }
}
