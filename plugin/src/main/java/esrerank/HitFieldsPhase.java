package esrerank;

import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.search.BooleanQuery;
import org.apache.lucene.search.BoostQuery;
import org.apache.lucene.search.ConstantScoreQuery;
import org.apache.lucene.search.Query;
import org.elasticsearch.search.fetch.FetchContext;
import org.elasticsearch.search.fetch.FetchSubPhase;
import org.elasticsearch.search.fetch.FetchSubPhaseProcessor;
import org.elasticsearch.search.fetch.StoredFieldsSpec;
import org.elasticsearch.search.rank.RankDoc;
import org.elasticsearch.search.retriever.rankdoc.RankDocsQuery;

import java.util.HashMap;
import java.util.Map;

/** Adds to each hit of a reranked search what the reranker said about it. */
final class HitFieldsPhase implements FetchSubPhase {
    @Override
    public FetchSubPhaseProcessor getProcessor(FetchContext context) {
        Map<Integer, RerankedDoc.Facts> facts = new HashMap<>();
        collect(context.query(), facts);
        if (facts.isEmpty()) {
            return null;
        }
        return new FetchSubPhaseProcessor() {
            @Override
            public void setNextReader(LeafReaderContext reader) {}

            @Override
            public void process(HitContext context) {
                RerankedDoc.Facts said = facts.get(context.readerContext().docBase + context.docId());
                if (said != null) {
                    HitFields.add(context.hit(), said);
                }
            }

            @Override
            public StoredFieldsSpec storedFieldsSpec() {
                return StoredFieldsSpec.NO_REQUIREMENTS;
            }
        };
    }

    /** Collects the ranked documents of a query. A query of ranked documents shows them to no visitor. */
    private static void collect(Query query, Map<Integer, RerankedDoc.Facts> facts) {
        if (query instanceof RankDocsQuery ranked) {
            for (RankDoc doc : ranked.rankDocs()) {
                if (doc instanceof RerankedDoc reranked) {
                    facts.put(doc.doc, reranked.facts);
                }
            }
        } else if (query instanceof BooleanQuery bool) {
            bool.forEach(clause -> collect(clause.query(), facts));
        } else if (query instanceof BoostQuery boost) {
            collect(boost.getQuery(), facts);
        } else if (query instanceof ConstantScoreQuery constant) {
            collect(constant.getQuery(), facts);
        }
    }
}
