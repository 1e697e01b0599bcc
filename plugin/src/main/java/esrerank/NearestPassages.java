package esrerank;

import org.apache.lucene.search.join.ScoreMode;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.search.SearchRequest;
import org.elasticsearch.action.search.SearchResponse;
import org.elasticsearch.action.search.TransportSearchAction;
import org.elasticsearch.client.internal.Client;
import org.elasticsearch.index.query.BoolQueryBuilder;
import org.elasticsearch.index.query.InnerHitBuilder;
import org.elasticsearch.index.query.MatchAllQueryBuilder;
import org.elasticsearch.index.query.MatchQueryBuilder;
import org.elasticsearch.index.query.NestedQueryBuilder;
import org.elasticsearch.index.query.QueryBuilder;
import org.elasticsearch.index.query.RankDocsQueryBuilder;
import org.elasticsearch.search.SearchHit;
import org.elasticsearch.search.SearchHits;
import org.elasticsearch.search.builder.PointInTimeBuilder;
import org.elasticsearch.search.builder.SearchSourceBuilder;
import org.elasticsearch.search.fetch.subphase.FetchSourceContext;
import org.elasticsearch.search.fetch.subphase.FieldAndFormat;
import org.elasticsearch.search.rank.RankDoc;
import org.elasticsearch.search.sort.FieldSortBuilder;
import org.elasticsearch.search.sort.SortBuilders;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Finds for the documents of a window the stored passages that match the query best by BM25: one search more, only for
 * {@code chunk_rescorer} over nested passages.
 */
record NearestPassages(TextSource source, String text, int size) {
    private static final String INNER_HITS = "rerank.passages";

    /** Elasticsearch's default for {@code index.max_inner_result_window}. */
    private static final int INNER_HITS_LIMIT = 100;

    /** Returns what finds the nearest of the stored passages, null if all passages are read. */
    static NearestPassages of(RerankRetriever.Parameters parameters, TextSource texts) {
        return parameters.chunks() == null || texts.nested() == null
            ? null
            : new NearestPassages(texts, parameters.text(), parameters.chunks().size());
    }

    /** Gives the listener the texts of each document of the window, by the place of the document. */
    void find(Client client, PointInTimeBuilder pointInTime, RankDoc[] window, ActionListener<Map<Long, TextSource.Texts>> listener) {
        SearchSourceBuilder search = new SearchSourceBuilder().pointInTimeBuilder(pointInTime)
            .query(new BoolQueryBuilder().must(new RankDocsQueryBuilder(window, null, true)).should(nearest()))
            .size(window.length)
            .trackTotalHits(false)
            .trackScores(true)
            .fetchSource(false)
            .sort(List.of(SortBuilders.scoreSort(), SortBuilders.fieldSort(FieldSortBuilder.SHARD_DOC_FIELD_NAME)));
        source.context().forEach(search::fetchField);
        source.addKept(search);
        SearchRequest request = new SearchRequest().source(search);
        request.setPreFilterShardSize(Integer.MAX_VALUE);
        client.execute(
            TransportSearchAction.TYPE,
            request,
            listener.delegateFailureAndWrap((next, response) -> {
                ChildSearches.warnOfFailedShards(RerankRetriever.NAME, response, "when the texts were fetched");
                next.onResponse(texts(response));
            })
        );
    }

    private QueryBuilder nearest() {
        // It adds 0 to the score of a document, and matches every document that has passages.
        QueryBuilder near = new BoolQueryBuilder().must(new MatchAllQueryBuilder().boost(0.0f))
            .should(new MatchQueryBuilder(source.text(), text));
        InnerHitBuilder inner = new InnerHitBuilder(INNER_HITS).setSize(Math.min(size, INNER_HITS_LIMIT))
            .setFetchSourceContext(FetchSourceContext.DO_NOT_FETCH_SOURCE)
            .setFetchFields(new ArrayList<>(source.ofPassage().stream().map(name -> new FieldAndFormat(name, null)).toList()));
        return new NestedQueryBuilder(source.nested(), near, ScoreMode.Max).innerHit(inner).boost(0.0f);
    }

    private Map<Long, TextSource.Texts> texts(SearchResponse response) {
        Map<Long, TextSource.Texts> texts = new HashMap<>();
        for (SearchHit hit : response.getHits().getHits()) {
            List<TextSource.Passage> passages = new ArrayList<>();
            SearchHits inner = hit.getInnerHits() == null ? null : hit.getInnerHits().get(INNER_HITS);
            if (inner != null) {
                for (SearchHit passage : inner.getHits()) {
                    passages.addAll(source.passages(source.entries(passage)));
                }
            }
            Object[] sort = hit.getRawSortValues();
            texts.put((long) sort[sort.length - 1], source.texts(hit, passages, false));
        }
        return texts;
    }
}
