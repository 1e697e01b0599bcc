"""The definitions for Elasticsearch that the plugin's ingest processor needs."""

from __future__ import annotations

import json
from pathlib import Path

import ingest_pipelines
from ingest_pipelines.mapping import IndexRecipe, index_body
from ingest_pipelines.metadata import MetadataFields

DEFINITIONS = Path(ingest_pipelines.__file__).parent / "definitions"


def test_the_template_maps_passages_as_our_own_ingest_does() -> None:
    template = json.loads((DEFINITIONS / "passages_template.json").read_text())["template"]
    ours = index_body(IndexRecipe("all-MiniLM-L6-v2", 384, 160, 32))

    properties, expected = template["mappings"]["properties"], ours["mappings"]["properties"]
    assert properties == {
        **{name: expected[name] for name in ("title", "text", "format", "passages")},
        "metadata": {"type": "object", "dynamic": True, "subobjects": False},
    }
    nested = ours["settings"]["mapping"]["nested_objects"]["limit"]
    assert template["settings"]["index.mapping.nested_objects.limit"] == nested


def test_the_template_types_other_fields_as_our_own_ingest_does() -> None:
    template = json.loads((DEFINITIONS / "passages_template.json").read_text())["template"]
    fields = MetadataFields({})
    fields.learn([{"whole": 1, "fraction": 1.5, "day": "2020-01-01", "flag": True}])
    ours = fields.learn([dict.fromkeys(("whole", "fraction", "day", "flag"), "a text")])
    templates = [*template["mappings"]["dynamic_templates"]]
    theirs = [entry["mapping"] for named in templates for entry in named.values()]
    assert theirs == [ours[name] for name in ("whole", "fraction", "day", "flag")]


def test_the_pipeline_writes_the_field_that_the_template_maps() -> None:
    pipeline = json.loads((DEFINITIONS / "passages_pipeline.json").read_text())
    template = json.loads((DEFINITIONS / "passages_template.json").read_text())["template"]

    (processor,) = pipeline["processors"]
    assert processor["es_rerank_passages"]["target_field"] in template["mappings"]["properties"]
    assert template["settings"]["index.default_pipeline"] == "passages"
