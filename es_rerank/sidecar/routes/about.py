"""``GET /info``: the facts about a served model, in the format of text-embeddings-inference (TEI)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from ...retrievers.grammar.tree import DEFAULT_INFERENCE_ID
from ..access.authority import KeyedRoute
from ..messages.wire import answer
from .search import Running

router = APIRouter(route_class=KeyedRoute, tags=["TEI"])


@router.get("/info")
async def info(request: Request, service: Running, model: str = DEFAULT_INFERENCE_ID) -> Response:
    """Return the facts about the model that TEI returns, as far as they are known.

    Also returns the calibration of the logits and the scripts that the model was trained on, which another
    sidecar reads. Raises UnknownModelError.
    """
    served = service.served(model)
    calibration = {"calibration": served.calibration._asdict()} if served.calibration else {}
    read = getattr(served, "scripts", None)
    tei_facts = {
        "model_id": served.name,
        "model_type": {"reranker": {"id2label": {"0": "relevant"}, "label2id": {"relevant": 0}}},
    }
    return answer(
        request,
        {
            **tei_facts,
            "max_client_batch_size": service.most_documents,
            "auto_truncate": True,
            "served_by": "es-rerank",
            **calibration,
            **({"scripts": read} if read else {}),
        },
    )
