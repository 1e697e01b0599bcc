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
import org.elasticsearch.search.vectors.KnnSearchBuilder;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Finds for the documents of a window the stored passages nearest to the query, only for {@code chunk_rescorer} over nested
 * passages. Right above a kNN over the vectors of these passages they are those with the nearest vectors, and come with its
 * hits. Else they are those that match the query best by BM25, and need one search more.
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

    /** Lets the search of a child fetch the nearest passages, if it is a kNN over their vectors. */
    void addTo(SearchSourceBuilder child) {
        List<KnnSearchBuilder> searches = child.knnSearch();
        if (searches.size() == 1 && source.isOfPassage(searches.get(0).getField())) {
            searches.get(0).innerHit(inner());
            child.skipInnerHits(false); // Elasticsearch leaves them out of inner searches
            source.context().forEach(child::fetchField);
        }
    }

    /** Whether the search of a child fetches the nearest passages. */
    static boolean comeWith(SearchSourceBuilder child) {
        return child.knnSearch().stream().anyMatch(knn -> knn.innerHit() != null && INNER_HITS.equals(knn.innerHit().getName()));
    }

    /** Returns the texts of a hit, of its nearest passages only. */
    TextSource.Texts texts(SearchHit hit) {
        List<TextSource.Passage> passages = new ArrayList<>();
        SearchHits inner = hit.getInnerHits() == null ? null : hit.getInnerHits().get(INNER_HITS);
        if (inner != null) {
            for (SearchHit passage : inner.getHits()) {
                passages.addAll(source.passages(source.entries(passage)));
            }
        }
        return source.texts(hit, passages, false);
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
        return new NestedQueryBuilder(source.nested(), near, ScoreMode.Max).innerHit(inner()).boost(0.0f);
    }

    private InnerHitBuilder inner() {
        return new InnerHitBuilder(INNER_HITS).setSize(Math.min(size, INNER_HITS_LIMIT))
            .setFetchSourceContext(FetchSourceContext.DO_NOT_FETCH_SOURCE)
            .setFetchFields(new ArrayList<>(source.ofPassage().stream().map(name -> new FieldAndFormat(name, null)).toList()));
    }

    private Map<Long, TextSource.Texts> texts(SearchResponse response) {
        Map<Long, TextSource.Texts> texts = new HashMap<>();
        for (SearchHit hit : response.getHits().getHits()) {
            Object[] sort = hit.getRawSortValues();
            texts.put((long) sort[sort.length - 1], texts(hit));
        }
        return texts;
    }
}
