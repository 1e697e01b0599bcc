package esrerank;

import org.apache.lucene.search.ScoreDoc;
import org.elasticsearch.ElasticsearchStatusException;
import org.elasticsearch.ExceptionsHelper;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.search.MultiSearchRequest;
import org.elasticsearch.action.search.MultiSearchResponse;
import org.elasticsearch.action.search.SearchRequest;
import org.elasticsearch.action.search.SearchResponse;
import org.elasticsearch.action.search.TransportMultiSearchAction;
import org.elasticsearch.client.internal.Client;
import org.elasticsearch.common.logging.HeaderWarning;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.search.SearchHit;
import org.elasticsearch.search.rank.RankDoc;
import org.elasticsearch.search.retriever.CompoundRetrieverBuilder.RetrieverSource;
import org.elasticsearch.search.sort.ShardDocSortField;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

/**
 * Searches the children of a fusion in one request.
 *
 * <p>Elasticsearch's own compound retrievers do the same, but say nothing of shards that failed in a child, and lose
 * what an inner reranker said before version 9.3.
 */
final class ChildSearches {
    /** How a warning names the search of a child. */
    static final String FIRST_STAGE = "in the first stage";

    private ChildSearches() {}

    /**
     * Gives the listener the documents of each child, ranked from 1, in the order of the children.
     *
     * <p>The listener fails with an ElasticsearchStatusException that has the errors of the children as suppressed ones
     * and the highest of their statuses. Shards that failed become a warning.
     *
     * @param retriever name of the fusion, for messages
     */
    static void run(String retriever, List<RetrieverSource> children, Client client, ActionListener<List<ScoreDoc[]>> listener) {
        MultiSearchRequest request = new MultiSearchRequest();
        for (RetrieverSource child : children) {
            SearchRequest search = new SearchRequest().source(child.source());
            // The can-match phase may reorder shards, and the order of shards decides between equal scores.
            search.setPreFilterShardSize(Integer.MAX_VALUE);
            request.add(search);
        }
        client.execute(
            TransportMultiSearchAction.TYPE,
            request,
            listener.delegateFailureAndWrap((next, response) -> next.onResponse(documents(retriever, children, response)))
        );
    }

    private static List<ScoreDoc[]> documents(String retriever, List<RetrieverSource> children, MultiSearchResponse response) {
        check(retriever, children, response);
        List<ScoreDoc[]> lists = new ArrayList<>();
        for (int i = 0; i < children.size(); i++) {
            SearchResponse answer = response.getResponses()[i].getResponse();
            warnOfFailedShards(retriever, answer, FIRST_STAGE);
            RankDoc[] docs = documents(answer);
            // A kNN matches these documents when Elasticsearch counts and aggregates what all leaves match.
            children.get(i).retriever().setRankDocs(docs);
            lists.add(docs);
        }
        return lists;
    }

    private static void check(String retriever, List<RetrieverSource> children, MultiSearchResponse response) {
        List<Exception> errors = new ArrayList<>();
        List<String> names = new ArrayList<>();
        int status = RestStatus.OK.getStatus();
        for (int i = 0; i < children.size(); i++) {
            MultiSearchResponse.Item item = response.getResponses()[i];
            if (item.isFailure()) {
                errors.add(item.getFailure());
                names.add("[" + children.get(i).retriever().getName() + "]");
                status = Math.max(status, ExceptionsHelper.status(item.getFailure()).getStatus());
            }
        }
        if (errors.isEmpty() == false) {
            ElasticsearchStatusException failure = new ElasticsearchStatusException(
                "[{}] the search of its children {} failed; each error is attached as suppressed",
                RestStatus.fromCode(status),
                retriever,
                names.stream().collect(Collectors.joining(", "))
            );
            errors.forEach(failure::addSuppressed);
            throw failure;
        }
    }

    /** Warns of shards that failed in a search. {@code when} names the search. */
    static void warnOfFailedShards(String retriever, SearchResponse response, String when) {
        if (response.getFailedShards() > 0) {
            HeaderWarning.addWarning(
                "[{}] {} of {} shards failed {}: {}",
                retriever,
                response.getFailedShards(),
                response.getTotalShards(),
                when,
                ExceptionsHelper.unwrapCause(response.getShardFailures()[0].getCause()).getMessage()
            );
        }
    }

    /** Returns the documents of a search that is sorted by shard and document last, with ranks from 1. */
    static RankDoc[] documents(SearchResponse response) {
        SearchHit[] hits = response.getHits().getHits();
        RankDoc[] docs = new RankDoc[hits.length];
        for (int i = 0; i < docs.length; i++) {
            Object[] sort = hits[i].getRawSortValues();
            long shardDoc = (long) sort[sort.length - 1];
            docs[i] = HitFields.rankDoc(
                ShardDocSortField.decodeDoc(shardDoc),
                hits[i],
                ShardDocSortField.decodeShardRequestIndex(shardDoc)
            );
            docs[i].rank = i + 1;
        }
        return docs;
    }
}
