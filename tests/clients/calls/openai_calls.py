"""OpenAI's own package: embeddings and the list of models."""

from typing import Any

import openai
from outcome import TOLD, TOO_MANY, WRONG_KEY, answer

MODEL = "text-embedding-3-small"
AT = f"{TOLD.keyed}/v1"

free = openai.OpenAI(api_key="any", base_url=f"{TOLD.open}/v1")
keyed = openai.OpenAI(api_key=TOLD.key, base_url=AT)
wrong = openai.OpenAI(api_key=WRONG_KEY, base_url=AT)


def told(found: Any) -> Any:
    """Return what a user reads of an answer."""
    return {
        "object": found.object,
        "model": found.model,
        "embeddings": [row.embedding for row in found.data],
        "indices": [row.index for row in found.data],
        "usage": [found.usage.prompt_tokens, found.usage.total_tokens],
    }


def as_base64() -> Any:
    """The package asks for base64 by itself and gives floats to its user."""
    return told(free.embeddings.create(model=MODEL, input=TOLD.documents))


def as_floats() -> Any:
    return told(free.embeddings.create(model=MODEL, input=TOLD.documents, encoding_format="float"))


def one_text() -> Any:
    return told(free.embeddings.create(model=MODEL, input=TOLD.documents[0], user="a user"))


def with_key() -> Any:
    return told(keyed.embeddings.create(model=MODEL, input=TOLD.documents))


async def asynchronous() -> Any:
    async with openai.AsyncOpenAI(api_key=TOLD.key, base_url=AT) as client:
        return told(await client.embeddings.create(model=MODEL, input=TOLD.documents))


def models() -> Any:
    return [{"id": model.id, "object": model.object} for model in free.models.list()]


def models_with_key() -> Any:
    return [model.id for model in keyed.models.list()]


def wrong_key() -> Any:
    return told(wrong.embeddings.create(model=MODEL, input=TOLD.documents))


def models_wrong_key() -> Any:
    return [model.id for model in wrong.models.list()]


def no_texts() -> Any:
    return told(free.embeddings.create(model=MODEL, input=[]))


def too_many() -> Any:
    return told(keyed.embeddings.create(model=MODEL, input=TOO_MANY))


def tokens() -> Any:
    """Token numbers of OpenAI's vocabulary, which some tools send in place of texts."""
    return told(free.embeddings.create(model=MODEL, input=[[3923, 374, 279]]))


answer(
    as_base64,
    as_floats,
    one_text,
    with_key,
    asynchronous,
    models,
    models_with_key,
    wrong_key,
    models_wrong_key,
    no_texts,
    too_many,
    tokens,
)
