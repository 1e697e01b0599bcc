package esrerank;

import org.elasticsearch.TransportVersion;
import org.elasticsearch.TransportVersions;

/** What differs between the versions of Elasticsearch that the plugin is built for: 9.1. */
final class Generation {
    private Generation() {}

    /** Returns the oldest version that a node of the cluster may have. */
    static TransportVersion minimumCompatible() {
        return TransportVersions.MINIMUM_COMPATIBLE;
    }
}
