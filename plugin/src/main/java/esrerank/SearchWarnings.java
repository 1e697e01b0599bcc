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
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.BiConsumer;
import java.util.function.Supplier;

/**
 * Brings the warnings of a retriever's asynchronous part, and what it tells of the blend, to the answer of its search.
 *
 * <p>Both are response headers in the context of the thread that added it. Elasticsearch goes on in the context of
 * the thread that started the asynchronous parts if they end before it has registered what comes next
 * ({@code SubscribableListener.addListener}), and in the context of the last part if there are several. So each part
 * leaves its headers with the search here, and they are added when the search answers.
 *
 * @param actionName the action that is filtered
 * @param threads gives the thread context of the node
 */
record SearchWarnings(String actionName, Supplier<ThreadContext> threads) implements MappedActionFilter {
    /** The coefficients by which scores of the first stage had a part in the new ones, percent-encoded. */
    static final String BLEND = "X-Rerank-Blend";

    /** Says {@code first_stage} where a reranker left the order of the first stage alone. */
    static final String ORDER = "X-Rerank-Order";

    private static final List<String> HEADERS = List.of("Warning", BLEND, ORDER);

    /** The transient value of a search that holds its headers, a set of names and values. */
    private static final String KEPT = "es_rerank.warnings";

    /** Returns the filters of all actions whose answers may have warnings. */
    static Collection<MappedActionFilter> filters(Supplier<ThreadContext> threads) {
        return List.of(
            new SearchWarnings(TransportSearchAction.NAME, threads),
            new SearchWarnings(TransportMultiSearchAction.NAME, threads)
        );
    }

    /** Registers an asynchronous part of a rewrite. When it ends, its headers stay with the search. */
    static void registerAsyncAction(QueryRewriteContext rewrite, BiConsumer<Client, ActionListener<?>> action) {
        rewrite.registerAsyncAction((client, listener) -> {
            ThreadContext context = client.threadPool().getThreadContext();
            Set<Map.Entry<String, String>> kept = context.getTransient(KEPT);
            action.accept(client, kept == null ? listener : ActionListener.runBefore(listener, () -> keep(context, kept)));
        });
    }

    private static void keep(ThreadContext context, Set<Map.Entry<String, String>> kept) {
        for (String name : HEADERS) {
            context.getResponseHeaders().getOrDefault(name, List.of()).forEach(value -> kept.add(Map.entry(name, value)));
        }
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
        Set<Map.Entry<String, String>> outer = context.getTransient(KEPT);
        Set<Map.Entry<String, String>> kept = outer == null ? ConcurrentHashMap.newKeySet() : outer;
        try (ThreadContext.StoredContext ignored = context.newStoredContextPreservingResponseHeaders()) {
            if (outer == null) {
                context.putTransient(KEPT, kept);
            }
            chain.proceed(
                task,
                action,
                request,
                ActionListener.runBefore(
                    listener,
                    () -> kept.forEach(header -> context.addResponseHeader(header.getKey(), header.getValue()))
                )
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
