package esrerank;

import org.apache.lucene.search.ScoreDoc;
import org.elasticsearch.common.io.stream.StreamInput;
import org.elasticsearch.common.io.stream.StreamOutput;
import org.elasticsearch.search.rank.RankDoc;
import org.elasticsearch.xcontent.XContentBuilder;

import java.io.IOException;
import java.util.Objects;

/**
 * A document that a reranker scored, with what its hit shows: score and rank of the first stage, logit, probability
 * and best passage.
 */
final class RerankedDoc extends RankDoc {
    static final String NAME = "es_rerank_doc";

    /** Format of this writeable. A reader refuses a newer one in one sentence. */
    private static final int FORMAT = 1;

    final Facts facts;

    /**
     * What the reranker said about a document.
     *
     * @param firstStageScore score before reranking, NaN if the first stage gave none
     * @param firstStageRank rank before reranking, from 1
     * @param logit the model's logit of the pair, NaN if the document was not scored
     * @param probability probability of relevance of the pair, 0..1, NaN if the document was not scored
     * @param passage text of the best passage, null if the document was read whole
     * @param start first character of the passage in the document, -1 if not known
     * @param end the character after the passage, -1 if not known
     */
    record Facts(
        float firstStageScore,
        int firstStageRank,
        float logit,
        float probability,
        String passage,
        int start,
        int end
    ) {}

    RerankedDoc(int doc, float score, int shardIndex, Facts facts) {
        super(doc, score, shardIndex);
        this.facts = facts;
    }

    RerankedDoc(StreamInput in) throws IOException {
        super(in);
        int format = in.readVInt();
        if (format != FORMAT) {
            throw new IOException("a node sent format [" + format + "] of [" + NAME + "], this node reads [" + FORMAT
                + "]; install the same version of the plugin es-rerank on all nodes");
        }
        facts = new Facts(
            in.readFloat(),
            in.readVInt(),
            in.readFloat(),
            in.readFloat(),
            in.readOptionalString(),
            in.readInt(),
            in.readInt()
        );
    }

    @Override
    protected void doWriteTo(StreamOutput out) throws IOException {
        out.writeVInt(FORMAT);
        out.writeFloat(facts.firstStageScore);
        out.writeVInt(facts.firstStageRank);
        out.writeFloat(facts.logit);
        out.writeFloat(facts.probability);
        out.writeOptionalString(facts.passage);
        out.writeInt(facts.start);
        out.writeInt(facts.end);
    }

    /** Returns a copy of a document with another score. A reranked document keeps what the reranker said. */
    static RankDoc copyOf(ScoreDoc doc, float score) {
        return doc instanceof RerankedDoc reranked
            ? new RerankedDoc(doc.doc, score, doc.shardIndex, reranked.facts)
            : new RankDoc(doc.doc, score, doc.shardIndex);
    }

    @Override
    public String getWriteableName() {
        return NAME;
    }

    @Override
    protected void doToXContent(XContentBuilder builder, Params params) throws IOException {
        builder.field("logit", facts.logit);
        builder.field("probability", facts.probability);
    }

    @Override
    public boolean doEquals(RankDoc other) {
        return other instanceof RerankedDoc reranked && facts.equals(reranked.facts);
    }

    @Override
    public int doHashCode() {
        return Objects.hashCode(facts);
    }
}
