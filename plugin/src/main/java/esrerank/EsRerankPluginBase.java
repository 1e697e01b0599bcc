package esrerank;

import org.elasticsearch.common.io.stream.NamedWriteableRegistry;
import org.elasticsearch.common.settings.Setting;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.plugins.ReloadablePlugin;
import org.elasticsearch.plugins.SearchPlugin;
import org.elasticsearch.search.fetch.FetchSubPhase;
import org.elasticsearch.search.rank.RankDoc;

import java.net.http.HttpClient;
import java.time.Duration;
import java.util.Collection;
import java.util.List;

/**
 * Puts the retrievers {@code es_rrf}, {@code es_linear} and {@code es_rerank} and the query vector builder
 * {@code es_rerank} into Elasticsearch. What differs between versions of Elasticsearch is in the subclass.
 */
class EsRerankPluginBase extends Plugin implements SearchPlugin, ReloadablePlugin {
    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(2);

    private volatile Sidecar sidecar;

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
        sidecar = new Sidecar(settings, http.build(), services.threadPool());
        return List.of(sidecar);
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
            new RetrieverSpec<>(RerankRetriever.NAME, RerankRetriever.parser(() -> sidecar))
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
    public List<FetchSubPhase> getFetchSubPhases(FetchPhaseConstructionContext context) {
        return List.of(new HitFieldsPhase());
    }

    @Override
    public List<NamedWriteableRegistry.Entry> getNamedWriteables() {
        return List.of(new NamedWriteableRegistry.Entry(RankDoc.class, RerankedDoc.NAME, RerankedDoc::new));
    }
}
