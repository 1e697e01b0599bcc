"""Ready-made graphs, as optimum writes them, are imported and score as sentence-transformers does."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_torch
from references import sentence_transformers_logits
from table import IMPORTED, TOLERANCE, Case, compared, exported, our_logits, write_ready_made

from es_rerank.export.parity import largest_difference
from es_rerank.models.manifest import read_manifest
from es_rerank.models.parity_pairs import PARITY_QUERIES
from es_rerank.models.ready_made.importing import import_model


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every case is made once for all tests."""
    return tmp_path_factory.getbasetemp() / "cases"


@pytest.mark.parametrize("case", IMPORTED, ids=str)
def test_an_imported_graph_scores_as_its_reference_does(case: Case, root: Path) -> None:
    both = compared(case, root)
    assert both.difference <= TOLERANCE
    assert both.same_order == len(PARITY_QUERIES)
    manifest = read_manifest(exported(case, root).folder)
    assert "attention" in manifest.passes
    assert manifest.imported is not None


def test_two_labels_are_imported_as_optimum_writes_them(tmp_path: Path) -> None:
    source = tiny_torch.bert(tmp_path / "source", labels=2)
    write_ready_made(source)
    import_model(str(source), tmp_path / "out")
    expected, actual = sentence_transformers_logits(source), our_logits(tmp_path / "out")
    largest_difference("two labels", expected, actual, TOLERANCE)
