"""Admits what a reranker of a search reads as one: nothing is cut that would be scored too late."""

from __future__ import annotations

from ...caller import as_a_whole
from ...models.wrappers.wrapped import aadmitted, admitted
from .commands import AdmitTexts, Context


def admit(command: AdmitTexts, context: Context) -> None:
    """Admit the work of a reranker until its scores are there, or the search ends. Raises OverloadError."""
    context.admission.close()
    asked, served = [(command.query, command.texts)], context.served.reranker(command.model)
    with as_a_whole(wanted=command.whole):
        block = admitted(served, asked, context.deadline, most_parts=command.most_parts)
        context.admission.enter_context(block)


async def aadmit(command: AdmitTexts, context: Context) -> None:
    """Do the same without blocking the event loop."""
    context.admission.close()
    asked, served = [(command.query, command.texts)], context.served.reranker(command.model)
    with as_a_whole(wanted=command.whole):
        block = await aadmitted(served, asked, context.deadline, most_parts=command.most_parts)
        context.admission.enter_context(block)
