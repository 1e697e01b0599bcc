package esrerank;

/** The plugin, for Elasticsearch 9.2 and later. */
public final class EsRerankPlugin extends EsRerankPluginBase {}
