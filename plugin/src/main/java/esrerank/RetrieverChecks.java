package esrerank;

import org.elasticsearch.action.ActionRequestValidationException;
import org.elasticsearch.action.ValidateActions;
import org.elasticsearch.search.retriever.CompoundRetrieverBuilder;

/** Checks that all retrievers of the plugin make. */
final class RetrieverChecks {
    /** Elasticsearch rewrites a search at most 16 times, and each compound takes two (observed on 9.1 and 9.5). */
    private static final int DEEPEST = 8;

    private RetrieverChecks() {}

    /** Throws IllegalArgumentException, with a hint at what to do, if a minimum is NaN or infinite; null is none. */
    static void checkMinimum(String name, Float value, String hint) {
        if (value != null && Float.isFinite(value) == false) {
            throw new IllegalArgumentException("[" + name + "] must be a number, found [" + value + "]; " + hint);
        }
    }

    /** Adds an error if a retriever is the lowest one with too many compounds in the chain from it downwards. */
    static ActionRequestValidationException checkDepth(
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
