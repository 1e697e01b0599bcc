package esrerank;

import java.util.Locale;

/** How {@code es_linear} brings the scores of a child to a common scale, by the names of Elastic's documentation. */
enum Normalizer {
    NONE,
    MINMAX,
    L2_NORM;

    /** Returns the normalizer of a name. Throws IllegalArgumentException, which lists the names, for an unknown one. */
    static Normalizer of(String name) {
        for (Normalizer normalizer : values()) {
            if (normalizer.toString().equals(name.toLowerCase(Locale.ROOT))) {
                return normalizer;
            }
        }
        throw new IllegalArgumentException("unknown normalizer [" + name + "]; choose one of [none, minmax, l2_norm]");
    }

    @Override
    public String toString() {
        return name().toLowerCase(Locale.ROOT);
    }
}
