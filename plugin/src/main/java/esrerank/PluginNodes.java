package esrerank;

import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.admin.cluster.node.info.NodesInfoRequest;
import org.elasticsearch.action.admin.cluster.node.info.NodesInfoResponse;
import org.elasticsearch.action.admin.cluster.node.info.PluginsAndModules;
import org.elasticsearch.client.internal.Client;
import org.elasticsearch.cluster.ClusterChangedEvent;
import org.elasticsearch.cluster.ClusterStateListener;
import org.elasticsearch.common.util.concurrent.ThreadContext;

import java.util.ArrayList;
import java.util.List;

/**
 * Knows whether all nodes of the cluster have the plugin.
 *
 * <p>A node without it cannot read {@link RerankedDoc}. While one is in the cluster, reranked documents travel as plain
 * ranked documents: ids, order and scores are right, the hits lack the fields {@code rerank.*}.
 */
final class PluginNodes implements ClusterStateListener {
    static final String PLUGIN = "es-rerank";

    private final Client client;
    private volatile boolean everywhere;
    private volatile long asked;

    PluginNodes(Client client) {
        this.client = client;
    }

    /** Returns whether all nodes have the plugin. False while this is not known yet. */
    boolean everywhere() {
        return everywhere;
    }

    @Override
    public void clusterChanged(ClusterChangedEvent event) {
        if (event.nodesChanged() == false && asked > 0) {
            return;
        }
        long number = ++asked;
        everywhere = false;
        ThreadContext context = client.threadPool().getThreadContext();
        try (ThreadContext.StoredContext ignored = context.stashContext()) {
            context.markAsSystemContext();
            ask(client, ActionListener.wrap(without -> {
                if (number == asked) {
                    everywhere = without.isEmpty();
                }
            }, error -> {}));
        }
    }

    /** Gives the listener the names of the nodes that lack the plugin, sorted. */
    static void ask(Client client, ActionListener<List<String>> listener) {
        NodesInfoRequest request = new NodesInfoRequest().clear().addMetric("plugins");
        client.admin().cluster().nodesInfo(request, listener.delegateFailureAndWrap((next, nodes) -> next.onResponse(without(nodes))));
    }

    private static List<String> without(NodesInfoResponse nodes) {
        List<String> names = new ArrayList<>();
        nodes.getNodes()
            .stream()
            .filter(
                node -> node.getInfo(PluginsAndModules.class)
                    .getPluginInfos()
                    .stream()
                    .noneMatch(plugin -> plugin.descriptor().getName().equals(PLUGIN))
            )
            .forEach(node -> names.add(node.getNode().getName()));
        // A node that did not answer is one that may lack it.
        nodes.failures().forEach(failure -> names.add(failure.nodeId()));
        return names.stream().sorted().toList();
    }
}
