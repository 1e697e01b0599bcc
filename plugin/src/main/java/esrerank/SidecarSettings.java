package esrerank;

import org.elasticsearch.common.settings.ClusterSettings;
import org.elasticsearch.common.settings.SecureSetting;
import org.elasticsearch.common.settings.SecureString;
import org.elasticsearch.common.settings.Setting.Property;
import org.elasticsearch.common.settings.Setting;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.unit.ByteSizeValue;
import org.elasticsearch.core.TimeValue;

import java.net.InetAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.util.List;

/**
 * The settings of the plugin.
 *
 * <p>Where texts are sent is static (elasticsearch.yml): who may change cluster settings must not be able to send
 * texts and the key elsewhere. Times and sizes are dynamic.
 */
final class SidecarSettings {
    static final Setting<String> URL = Setting.simpleString("es_rerank.url", "http://127.0.0.1:8080", Property.NodeScope);

    static final Setting<Boolean> ALLOW_PLAIN_HTTP = Setting.boolSetting(
        "es_rerank.allow_plain_http",
        false,
        Property.NodeScope
    );

    static final Setting<String> CERTIFICATE_AUTHORITY = Setting.simpleString(
        "es_rerank.certificate_authority",
        Property.NodeScope
    );

    static final Setting<List<String>> MODELS = Setting.stringListSetting("es_rerank.models", Property.NodeScope);

    static final Setting<TimeValue> TIMEOUT = Setting.timeSetting(
        "es_rerank.timeout",
        TimeValue.timeValueSeconds(9),
        TimeValue.timeValueMillis(1),
        Property.NodeScope,
        Property.Dynamic
    );

    static final Setting<Integer> MAX_CALLS = Setting.intSetting(
        "es_rerank.max_concurrent_calls",
        64,
        1,
        1024,
        Property.NodeScope,
        Property.Dynamic
    );

    static final Setting<ByteSizeValue> MAX_TEXT = Setting.byteSizeSetting(
        "es_rerank.max_text_size",
        ByteSizeValue.ofMb(8),
        ByteSizeValue.ofKb(1),
        ByteSizeValue.ofMb(256),
        Property.NodeScope,
        Property.Dynamic
    );

    static final Setting<SecureString> API_KEY = SecureSetting.secureString("es_rerank.api_key", null);

    static final List<Setting<?>> ALL = List.of(
        URL,
        ALLOW_PLAIN_HTTP,
        CERTIFICATE_AUTHORITY,
        MODELS,
        TIMEOUT,
        MAX_CALLS,
        MAX_TEXT,
        API_KEY
    );

    final URI url;
    final String certificateAuthority;
    final List<String> models;
    volatile TimeValue timeout;
    volatile int maxCalls;
    volatile ByteSizeValue maxText;
    private volatile String apiKey;

    /**
     * Reads the settings of a node, and follows the dynamic ones.
     *
     * @throws IllegalArgumentException if the address is no http(s) address, or plain http leaves this machine
     *     without {@code es_rerank.allow_plain_http}
     */
    SidecarSettings(Settings settings, ClusterSettings cluster) {
        url = checked(URL.get(settings), ALLOW_PLAIN_HTTP.get(settings));
        certificateAuthority = CERTIFICATE_AUTHORITY.get(settings);
        models = MODELS.get(settings);
        timeout = TIMEOUT.get(settings);
        maxCalls = MAX_CALLS.get(settings);
        maxText = MAX_TEXT.get(settings);
        reload(settings);
        cluster.addSettingsUpdateConsumer(TIMEOUT, value -> timeout = value);
        cluster.addSettingsUpdateConsumer(MAX_CALLS, value -> maxCalls = value);
        cluster.addSettingsUpdateConsumer(MAX_TEXT, value -> maxText = value);
    }

    /** Reads the key again: {@code POST _nodes/reload_secure_settings} calls this. */
    void reload(Settings settings) {
        try (SecureString key = API_KEY.get(settings)) {
            apiKey = key.isEmpty() ? null : key.toString();
        }
    }

    /** Returns the sidecar's key, null if the keystore holds none. */
    String apiKey() {
        return apiKey;
    }

    private static URI checked(String address, boolean allowPlainHttp) {
        URI url;
        try {
            url = URI.create(address.endsWith("/") ? address.substring(0, address.length() - 1) : address);
        } catch (IllegalArgumentException error) {
            throw new IllegalArgumentException("[es_rerank.url] is not an address; write it like http://127.0.0.1:8080");
        }
        boolean plain = "http".equals(url.getScheme());
        if ((plain || "https".equals(url.getScheme())) == false || url.getHost() == null) {
            throw new IllegalArgumentException(
                "[es_rerank.url] must be a http or https address with a host, like http://127.0.0.1:8080"
            );
        }
        if (url.getUserInfo() != null) {
            throw new IllegalArgumentException(
                "[es_rerank.url] holds a user or password; put the sidecar's key into the keystore as [es_rerank.api_key]"
            );
        }
        if (plain && allowPlainHttp == false && isLoopback(url.getHost()) == false) {
            throw new IllegalArgumentException(
                "[es_rerank.url] sends texts over plain http to [" + url.getHost()
                    + "]; use https, or set [es_rerank.allow_plain_http] to true"
            );
        }
        return url;
    }

    private static boolean isLoopback(String host) {
        if (host.equals("localhost")) {
            return true;
        }
        // Only literal addresses are looked at: a name could point elsewhere tomorrow.
        if (host.matches("[0-9.]+") || host.startsWith("[")) {
            try {
                return InetAddress.getByName(host).isLoopbackAddress();
            } catch (UnknownHostException error) {
                return false;
            }
        }
        return false;
    }
}
