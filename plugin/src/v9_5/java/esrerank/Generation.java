package esrerank;

import org.elasticsearch.TransportVersion;

/** What differs between the versions of Elasticsearch that the plugin is built for: since 9.2. */
final class Generation {
    private Generation() {}

    /** Returns the oldest version that a node of the cluster may have. */
    static TransportVersion minimumCompatible() {
        return TransportVersion.minimumCompatible();
    }
}
