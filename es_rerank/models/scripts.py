"""Says which texts a model was not trained to read, so that no score of such a text is given in silence."""

from __future__ import annotations

from collections.abc import Sequence

from ..off_loop import is_large, off_loop_if
from ..text.scripts import other_scripts


def script_warning(model: object, query: str, passages: Sequence[str] = ()) -> str | None:
    """Return a sentence when the query or some passages are in a script that the model was not trained on.

    ``scripts`` of the model names the scripts that it reads, as ``text.scripts.main_script`` writes them. A
    model without this attribute, or whose value is None, may read every script: None is returned.
    """
    scripts: Sequence[str] | None = getattr(model, "scripts", None)
    if not scripts:
        return None
    asked, read = other_scripts([query], scripts), other_scripts(passages, scripts)
    parts = ["the query is"] if asked else []
    if read:
        parts.append(f"{read.total()} of {len(passages)} passages are")
    if not parts:
        return None
    return (
        f"the model [{getattr(model, 'name', '')}] was not trained on texts in "
        f"{' and '.join(sorted(asked | read))} script, and {' and '.join(parts)} in it: their scores mean "
        f"little; use a model that reads it (this one reads {' and '.join(scripts)})"
    )


async def ascript_warning(model: object, query: str, passages: Sequence[str] = ()) -> str | None:
    """Return the same as ``script_warning``. Many or long passages are read beside the event loop."""
    return await off_loop_if(is_large(passages), script_warning, model, query, passages)
