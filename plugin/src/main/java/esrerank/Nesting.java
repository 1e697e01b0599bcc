package esrerank;

import org.elasticsearch.action.ActionRequestValidationException;
import org.elasticsearch.action.ValidateActions;
import org.elasticsearch.search.retriever.CompoundRetrieverBuilder;

/** Bounds how many compound retrievers stand above one another. */
final class Nesting {
    /** Elasticsearch rewrites a search at most 16 times, and each compound takes two (observed on 9.1 and 9.5). */
    private static final int DEEPEST = 8;

    private Nesting() {}

    /** Adds an error if a retriever is the lowest one with too many compounds in the chain from it downwards. */
    static ActionRequestValidationException check(
        CompoundRetrieverBuilder<?> retriever,
        ActionRequestValidationException errors
    ) {
        return depth(retriever) == DEEPEST + 1
            ? ValidateActions.addValidationError(
                "at most [" + DEEPEST + "] compound retrievers can stand above one another; take one out",
                errors
            )
            : errors;
    }

    private static int depth(CompoundRetrieverBuilder<?> retriever) {
        int deepest = 0;
        for (CompoundRetrieverBuilder.RetrieverSource child : retriever.innerRetrievers()) {
            if (child.retriever() instanceof CompoundRetrieverBuilder<?> compound) {
                deepest = Math.max(deepest, depth(compound));
            }
        }
        return deepest + 1;
    }
}
