package esrerank;

import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.ActionRequest;
import org.elasticsearch.action.ActionResponse;
import org.elasticsearch.action.search.MultiSearchRequest;
import org.elasticsearch.action.search.SearchRequest;
import org.elasticsearch.action.search.TransportMultiSearchAction;
import org.elasticsearch.action.search.TransportSearchAction;
import org.elasticsearch.action.support.ActionFilterChain;
import org.elasticsearch.action.support.MappedActionFilter;
import org.elasticsearch.client.internal.Client;
import org.elasticsearch.common.util.concurrent.ThreadContext;
import org.elasticsearch.index.query.QueryRewriteContext;
import org.elasticsearch.tasks.Task;

import java.util.Collection;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.BiConsumer;
import java.util.function.Supplier;

/**
 * Brings the warnings of a retriever's asynchronous part to the answer of its search.
 *
 * <p>A warning is a response header in the context of the thread that added it. Elasticsearch goes on in the context of
 * the thread that started the asynchronous parts if they end before it has registered what comes next
 * ({@code SubscribableListener.addListener}), and in the context of the last part if there are several. So each part
 * leaves its warnings with the search here, and they are added when the search answers.
 *
 * @param actionName the action that is filtered
 * @param threads gives the thread context of the node
 */
record SearchWarnings(String actionName, Supplier<ThreadContext> threads) implements MappedActionFilter {
    private static final String HEADER = "Warning";

    /** The transient value of a search that holds its warnings, a set of header values. */
    private static final String KEPT = "es_rerank.warnings";

    /** Returns the filters of all actions whose answers may have warnings. */
    static Collection<MappedActionFilter> filters(Supplier<ThreadContext> threads) {
        return List.of(
            new SearchWarnings(TransportSearchAction.NAME, threads),
            new SearchWarnings(TransportMultiSearchAction.NAME, threads)
        );
    }

    /** Registers an asynchronous part of a rewrite. When it ends, its warnings stay with the search. */
    static void registerAsyncAction(QueryRewriteContext rewrite, BiConsumer<Client, ActionListener<?>> action) {
        rewrite.registerAsyncAction((client, listener) -> {
            ThreadContext context = client.threadPool().getThreadContext();
            Set<String> kept = context.getTransient(KEPT);
            action.accept(client, kept == null ? listener : ActionListener.runBefore(listener, () -> keep(context, kept)));
        });
    }

    private static void keep(ThreadContext context, Set<String> kept) {
        kept.addAll(context.getResponseHeaders().getOrDefault(HEADER, List.of()));
    }

    @Override
    public <Request extends ActionRequest, Response extends ActionResponse> void apply(
        Task task,
        String action,
        Request request,
        ActionListener<Response> listener,
        ActionFilterChain<Request, Response> chain
    ) {
        if (retrieves(request) == false) {
            chain.proceed(task, action, request, listener);
            return;
        }
        ThreadContext context = threads.get();
        Set<String> outer = context.getTransient(KEPT);
        Set<String> kept = outer == null ? ConcurrentHashMap.newKeySet() : outer;
        try (ThreadContext.StoredContext ignored = context.newStoredContextPreservingResponseHeaders()) {
            if (outer == null) {
                context.putTransient(KEPT, kept);
            }
            chain.proceed(
                task,
                action,
                request,
                ActionListener.runBefore(listener, () -> kept.forEach(warning -> context.addResponseHeader(HEADER, warning)))
            );
        }
    }

    private static boolean retrieves(ActionRequest request) {
        if (request instanceof MultiSearchRequest searches) {
            return searches.requests().stream().anyMatch(SearchWarnings::retrieves);
        }
        return request instanceof SearchRequest search && search.source() != null && search.source().retriever() != null;
    }
}
