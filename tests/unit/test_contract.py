"""The contract of rerankers, kept by what runs here;
services over the network keep it in test modules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from tiny_models import broken_cross_encoder, tiny_cross_encoder

from es_rerank import Reranker, load_reranker
from es_rerank.errors import ScoreError
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.wrappers.whole_texts import WholeTexts
from es_rerank.testing import WordOverlapReranker
from es_rerank.testing.contract import RerankerContract
from es_rerank.types import FloatArray, Scale, Scores


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reranker]:
    with CrossEncoder(broken_cross_encoder(tmp_path_factory.mktemp("broken"))) as model:
        yield model


class TestBundled(RerankerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def reranker(cls) -> Iterator[Reranker]:
        with load_reranker() as model:
            yield model


class TestOneLabel(RerankerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def reranker(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reranker]:
        with CrossEncoder(tiny_cross_encoder(tmp_path_factory.mktemp("one"), max_length=512)) as model:
            yield model


class TestTwoLabelsOnlySecond(RerankerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def reranker(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reranker]:
        with CrossEncoder(
            tiny_cross_encoder(
                tmp_path_factory.mktemp("two"), labels=2, strategy="only_second", max_length=512
            )
        ) as model:
            yield model


class TestWholeTexts(RerankerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def reranker(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reranker]:
        with CrossEncoder(tiny_cross_encoder(tmp_path_factory.mktemp("whole"), max_length=128)) as model:
            yield WholeTexts(model)


class TestWordOverlap(RerankerContract):
    """The public fake keeps the contract too, so that tests with it see what they would see with a model."""

    @pytest.fixture
    def reranker(self) -> Reranker:
        return WordOverlapReranker()


class Fake(WordOverlapReranker):
    """Breaks promises on purpose: ``values`` are its scores of n passages."""

    def __init__(self, values: Callable[[int], FloatArray], scale: Scale = "logit") -> None:
        super().__init__("fake")
        self.values, self.scale = values, scale

    def score(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        return Scores.of(self.values(len(passages)), self.scale)

    async def ascore(self, query: str, passages: Sequence[str], *, deadline: float | None = None) -> Scores:
        return self.score(query, passages)


KIT = RerankerContract()
POSITION = Fake(lambda count: np.arange(count, dtype=np.float32))
CONSTANT = Fake(lambda count: np.zeros(count, dtype=np.float32))
WILD = Fake(lambda count: np.full(count, 7.0, dtype=np.float32), "probability")
NO_NUMBER = Fake(lambda count: np.full(count, np.nan, dtype=np.float32))
SHORT = Fake(lambda count: np.zeros(max(0, count - 1), dtype=np.float32))


@pytest.mark.parametrize(
    ("reranker", "check"),
    [
        (CONSTANT, KIT.test_one_finite_score_per_passage_in_the_order_given),
        (WILD, KIT.test_a_probability_lies_between_0_and_1),
        (POSITION, KIT.test_the_order_of_passages_changes_no_score),
        (POSITION, KIT.test_equal_passages_have_equal_scores),
        (POSITION, KIT.test_batch_mates_change_no_score),
        (SHORT, KIT.test_one_passage_has_one_score),
        (NO_NUMBER, KIT.test_an_empty_text_is_scored),
        (NO_NUMBER, KIT.test_ten_thousand_words_are_scored),
        (NO_NUMBER, KIT.test_text_that_is_no_valid_unicode_is_scored),
        (CONSTANT, KIT.test_a_deadline_that_has_passed_scores_nothing),
        (CONSTANT, KIT.test_a_cancelled_call_ends_and_leaves_the_reranker_usable),
        (CONSTANT, KIT.test_a_score_that_is_no_finite_number_is_an_error),
    ],
)
def test_the_kit_fails_where_a_promise_is_broken(
    reranker: Reranker, check: Callable[[Reranker], None]
) -> None:
    # Arithmetic on NaN raises ScoreError before an assertion sees it: as good a failure.
    with pytest.raises((AssertionError, ScoreError)):
        check(reranker)
