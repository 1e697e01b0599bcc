"""Windows of tuning as their judgements see them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from es_rerank.research.tuning.verdict import Ratings
from es_rerank.research.tuning.windows import Window


def ratings_in(drawn: Sequence[Window], *, unjudged_count: bool) -> Ratings:
    """Return the judgements that the windows' own ratings are; a document is relevant from 1 on."""
    rated = {
        window.query: {
            name: float(rating)
            for name, rating in zip(window.documents, window.ratings, strict=True)
            if not np.isnan(rating)
        }
        for window in drawn
    }
    return Ratings(rated, 1.0, unjudged_count=unjudged_count)
