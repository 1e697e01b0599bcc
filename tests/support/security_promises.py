"""What SECURITY.md says, in its order, and the tests that hold each statement.

``tests/unit/test_security_page.py`` holds this list against the page. The form is that of ``promises``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from promises import read

PROMISES: Sequence[tuple[str, ...]] = tuple(
    read(r"""
# Who may send what

Elasticsearch, by their own credentials. The sidecar sends these on and has none of its own |
    tests/node/test_gateway.py::test_elasticsearchs_security_decides_who_sees_what
    tests/node/test_sidecar.py::test_callers_credentials_go_to_elasticsearch_and_no_others
use the models, within the limits of their key
    tests/node/test_gateway.py::test_keys_of_the_sidecar_guard_models_and_never_searches
    tests/unit/test_keyed_requests.py::test_a_key_bounds_documents_and_deadline_of_its_requests_alone
a key of the sidecar, from Elasticsearch's keystore |
    tests/node/test_plugin_secured.py::test_the_key_is_sent_reloaded_and_shown_nowhere
read the indices of its `--index` with its own credentials, and nothing else
    tests/unit/test_mcp_tools.py::test_an_index_that_is_not_served_is_refused
    tests/node/test_mcp_processes.py::test_a_host_that_has_a_key_searches_over_http
    tests/node/test_mcp_processes.py::test_over_tls_a_key_is_asked_for_at_each_call_and_a_proxy_is_known
figures without texts, queries or names of indices
    tests/unit/test_observed.py::test_metrics_and_status_ask_for_their_own_keys
whether the sidecar works, and its API | nobody |
    tests/node/test_sidecar.py::test_health_and_readiness_differ
    tests/node/test_sidecar.py::test_the_documentation_page_needs_no_network
a caller may send any bytes
    tests/node/test_fuzzing.py::test_three_hundred_bad_requests_find_no_fault
Answers of rerank services and of language models are read up to a bound
    tests/unit/test_hostile_services.py::test_an_answer_without_end_is_not_read_to_its_end
    tests/unit/test_openai_chat.py::test_a_stream_without_end_is_not_held
Each request of a search to Elasticsearch carries the credentials of its caller and no others.
    tests/node/test_sidecar.py::test_callers_credentials_go_to_elasticsearch_and_no_others
    tests/node/test_faults_headers.py::test_every_request_of_a_search_carries_all_headers_that_may_decide
An address of Elasticsearch with a password is refused by `serve`
    tests/unit/test_cli_faults.py::test_credentials_in_the_address_are_not_lent_to_callers
The sidecar stores the SHA-256 of each key. A key of `es-rerank key` is 256 random bits
    tests/unit/test_role_and_key.py::test_a_key_is_printed_once_and_its_table_holds_its_hash
A request's key is compared with all keys in constant time.
    tests/unit/test_keys.py::test_all_keys_are_compared_in_constant_time
The body of a request without a right key is not read.
    tests/node/test_admission.py::test_without_the_key_nothing_is_read_or_parsed
The cache of scores does not tell a caller what others had scored.
    tests/node/test_faults_side_doors.py::test_scores_are_kept_for_each_caller_apart
    tests/node/test_faults_side_doors.py::test_a_search_tells_nobody_what_others_asked
A manifest names each file with its size and SHA-256, and no file outside of its folder.
    tests/unit/test_manifest.py::test_a_file_with_one_byte_changed_is_refused_at_load
    tests/unit/test_manifest.py::test_a_file_name_that_leaves_the_folder_is_refused
A Hub id is downloaded when the sidecar starts
    tests/unit/test_manifest.py::test_an_exported_repository_in_the_hub_cache_is_loaded

# What leaves the machine

at each search |
    tests/node/test_faults_headers.py::test_every_request_of_a_search_carries_all_headers_that_may_decide
Cohere, or the address of `ES_RERANK_COHERE_URL`
    tests/unit/test_loading.py::test_a_sidecar_says_which_models_are_services
the address of a reranker `remote:`
    tests/unit/test_loading.py::test_a_sidecar_says_which_models_are_services
the Hugging Face Hub | at the start, for a Hub id |
    tests/unit/test_manifest.py::test_a_name_that_is_neither_folder_nor_hub_id_is_not_looked_up
names of indices with `ES_RERANK_TRACE_TEXTS` only. No addresses of callers |
    tests/unit/test_tracing.py::test_an_exporter_leaves_out_what_libraries_quote
    tests/unit/test_tracing.py::test_a_provider_that_another_program_has_set_leaves_it_out_too
    tests/unit/test_tracing.py::test_no_span_has_the_address_of_a_caller
    tests/unit/test_tracing.py::test_texts_are_in_spans_only_if_they_are_asked_for
    tests/unit/test_tracing.py::test_nothing_is_traced_unless_a_variable_asks_for_it
ONNX Runtime's own is switched off
    tests/unit/test_startup.py::test_onnx_runtimes_telemetry_is_off_before_it_is_imported
Redirects of Elasticsearch and of rerank services are not followed.
    tests/unit/test_cohere.py::test_text_follows_no_redirect
    tests/node/test_wire_attacks.py::
        test_health_answers_head_and_no_redirect_names_a_foreign_host

# What is logged and kept

It has no query, text, name of an index, credential, key or whole hash of a key.
    tests/unit/test_request_log.py::test_the_log_holds_nothing_that_a_caller_wrote
    tests/node/test_log.py::test_the_log_of_a_real_sidecar
    tests/unit/test_secrets_in_logs.py::test_a_retry_logs_no_text_of_the_service
    tests/unit/test_keys.py::test_sighup_reads_the_file_again_and_logs_no_secret
so the log names it by the first 8 digits of its hash.
    tests/unit/test_request_log.py::
        test_the_name_of_a_key_is_in_the_log_and_hashes_tell_other_callers_apart
A message or a page that shows an address hides its password, and secrets in its query
    tests/unit/test_settings.py::test_no_password_survives_masking
    tests/unit/test_secrets_in_logs.py::
        test_a_secret_in_the_query_of_an_address_is_masked_as_a_password_is
`serve --check` prints each setting, secrets as `***`.
    tests/node/test_serve_check.py::test_no_secret_of_any_setting_is_printed
and no texts. It writes no file.
    tests/unit/test_security_page.py::test_a_serving_sidecar_opens_no_file_for_writing
So no option takes a key: keys are in variables and in files.
    tests/unit/test_security_page.py::test_no_option_takes_a_secret

# What is bounded

Each of these is refused in one sentence, or ended. The defaults:
    tests/unit/test_security_page.py::test_the_table_of_limits_is_that_of_the_code
A deadline holds for all that a request causes, in Elasticsearch too.
    tests/node/test_faults_elasticsearch.py::test_a_search_that_is_not_answered_ends_at_its_deadline
A request that would be late is refused at once. The work of a caller who leaves is dropped.
    tests/unit/test_overload.py::test_a_request_that_would_be_late_is_refused_at_once
    tests/unit/test_overload.py::test_the_work_of_a_caller_who_left_is_dropped

# What is not defended

unless `es_rerank.allow_plain_http` is set
    tests/node/test_plugin_secured.py::test_a_node_that_would_send_texts_in_clear_does_not_start
is answered by the sidecar.
    tests/node/test_existence.py::test_the_sidecars_own_names_may_be_those_of_indices
    tests/node/test_own_pages.py::test_an_index_with_the_name_of_a_path_of_ours_can_be_searched
    tests/node/test_existence.py::test_an_index_with_the_name_of_a_path_may_be_looked_for
Also without `--pass-through` it answers `HEAD /healthz` and `HEAD /readyz`
    tests/node/test_wire_attacks.py::
        test_health_answers_head_and_no_redirect_names_a_foreign_host
Searches in such an index work.
    tests/node/test_own_pages.py::test_an_index_with_the_name_of_a_path_of_ours_can_be_searched

# Hardening

with the same options and variables prints what is in force.
    tests/node/test_serve_check.py::test_each_part_is_tried_once_and_told
On another address it warns if it asks for no key.
    tests/node/test_listening.py::test_listening_beyond_loopback_without_keys_is_said
`es-rerank key NAME` prints a key and its table.
    tests/unit/test_role_and_key.py::test_a_key_is_printed_once_and_its_table_holds_its_hash
`--tls-certificate` and `--tls-key`, from TLS 1.2 on.
    tests/node/test_serve_check.py::test_each_part_is_tried_once_and_told
`es-rerank role INDEX` prints the least role for callers in Elasticsearch.
    tests/node/test_role.py::test_the_role_for_searching_is_enough_and_the_least
The image of `docker/Dockerfile` does (uid 10001).
    tests/unit/test_docker.py::test_the_image_is_slim_and_not_root
    tests/unit/test_docker.py::test_no_service_is_given_privileges
`ES_RERANK_METRICS_KEY_HASHES` asks readers of `/metrics` and `/_rerank/status` for a key.
    tests/unit/test_observed.py::test_metrics_and_status_ask_for_their_own_keys
The plugin reads its key from the keystore
    tests/node/test_plugin_secured.py::test_the_key_is_sent_reloaded_and_shown_nowhere
`scripts/check` runs bandit and ruff's rules of security.
    tests/unit/test_explained_exceptions.py::test_each_exception_in_the_code_has_a_reason
""")
)

NO_PROMISE: Mapping[str, str] = {
    "This page says who may send what": "it says what the page is",
    "Please report a vulnerability privately": "it asks the reader",
    "| operators |": "the operating system does it",
    "| a prompt with passages |": "it is what the command is for",
    "| passages, titles, and the fields of `--show` |": "it is what the command is for",
    "| nothing of yours |": "other programs download",
    "- **Volume.**": "it is not defended",
    "- **Many names.**": "it is not defended",
    "- **Browsers.**": "it is not defended",
    "- **Timing.**": "it is not defended",
    "- **Operators and their machine.**": "it is not defended",
    "- **What a document says.**": "it is not defended",
    "7. **Network.**": "the reader does it",
}
"""The beginnings of paragraphs that promise nothing, each with the reason."""
