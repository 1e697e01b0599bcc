package esrerank;

import org.elasticsearch.action.support.MappedActionFilter;
import org.elasticsearch.common.io.stream.NamedWriteableRegistry;
import org.elasticsearch.common.settings.Setting;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.util.concurrent.ThreadContext;
import org.elasticsearch.ingest.Processor;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.IngestPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.plugins.ReloadablePlugin;
import org.elasticsearch.plugins.SearchPlugin;
import org.elasticsearch.rest.RestHeaderDefinition;
import org.elasticsearch.search.fetch.FetchSubPhase;
import org.elasticsearch.search.rank.RankDoc;

import java.net.http.HttpClient;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;

/**
 * Puts the retrievers {@code es_rrf}, {@code es_linear} and {@code es_rerank} and the query vector builder
 * {@code es_rerank}, and the ingest processor {@code es_rerank_passages}, into Elasticsearch. What differs between versions of Elasticsearch is in the subclass.
 */
class EsRerankPluginBase extends Plugin implements SearchPlugin, IngestPlugin, ActionPlugin, ReloadablePlugin {
    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(2);

    private volatile Sidecar sidecar;
    private volatile PassageBatches batches;
    private volatile PluginNodes nodes;
    private volatile ThreadContext threads;

    @Override
    public Collection<?> createComponents(PluginServices services) {
        SidecarSettings settings = new SidecarSettings(
            services.environment().settings(),
            services.clusterService().getClusterSettings()
        );
        HttpClient.Builder http = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(CONNECT_TIMEOUT)
            .followRedirects(HttpClient.Redirect.NEVER);
        if (settings.certificateAuthority.isEmpty() == false) {
            http.sslContext(Tls.trusting(services.environment().configDir().resolve(settings.certificateAuthority)));
        }
        threads = services.threadPool().getThreadContext();
        sidecar = new Sidecar(settings, http.build(), services.threadPool());
        nodes = new PluginNodes(services.client());
        services.clusterService().addListener(nodes);
        batches = new PassageBatches(sidecar, threads);
        return List.of(sidecar);
    }

    @Override
    public void close() {
        if (sidecar != null) {
            sidecar.close();
        }
    }

    @Override
    public List<Setting<?>> getSettings() {
        return SidecarSettings.ALL;
    }

    @Override
    public void reload(Settings settings) {
        sidecar.settings.reload(settings);
    }

    @Override
    public List<RetrieverSpec<?>> getRetrievers() {
        return List.of(
            new RetrieverSpec<>(RrfRetriever.NAME, RrfRetriever::parse),
            new RetrieverSpec<>(LinearRetriever.NAME, LinearRetriever::parse),
            new RetrieverSpec<>(RerankRetriever.NAME, RerankRetriever.parser(() -> sidecar, () -> nodes.everywhere()))
        );
    }

    @Override
    public List<QueryVectorBuilderSpec<?>> getQueryVectorBuilders() {
        return List.of(
            new QueryVectorBuilderSpec<>(
                QueryVector.NAME,
                in -> new QueryVector(in, sidecar),
                (parser, unused) -> QueryVector.parse(parser, sidecar)
            )
        );
    }

    @Override
    public Map<String, Processor.Factory> getProcessors(Processor.Parameters parameters) {
        return Map.of(PassagesProcessor.TYPE, new PassagesProcessor.Factory(() -> batches));
    }

    @Override
    public Collection<RestHeaderDefinition> getRestHeaders() {
        return List.of(new RestHeaderDefinition(Sidecar.TIMEOUT_HEADER, false));
    }

    @Override
    public Collection<ActionHandler> getActions() {
        return List.of(new ActionHandler(InfoAction.TYPE, InfoAction.Transport.class));
    }

    @Override
    public Collection<MappedActionFilter> getMappedActionFilters() {
        List<MappedActionFilter> filters = new ArrayList<>(SearchWarnings.filters(() -> threads));
        filters.add(new WholeResults(() -> threads));
        return filters;
    }

    @Override
    public List<FetchSubPhase> getFetchSubPhases(FetchPhaseConstructionContext context) {
        return List.of(new HitFieldsPhase());
    }

    @Override
    public List<NamedWriteableRegistry.Entry> getNamedWriteables() {
        return List.of(new NamedWriteableRegistry.Entry(RankDoc.class, RerankedDoc.NAME, RerankedDoc::new));
    }
}
