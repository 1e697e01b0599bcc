"""LlamaIndex's node postprocessors of Cohere and of Hugging Face's text-embeddings-inference."""

from typing import Any

from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference
from outcome import TOLD, TOO_MANY, WRONG_KEY, answer

QUERY = QueryBundle(TOLD.query)


def nodes() -> list[NodeWithScore]:
    """Return the documents as a retriever gives them. A postprocessor writes its scores into them."""
    return [
        NodeWithScore(
            node=TextNode(
                text=text, id_=str(number), metadata={"page": number}, excluded_embed_metadata_keys=["page"]
            ),
            score=0.5,
        )
        for number, text in enumerate(TOLD.documents)
    ]


def many() -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text), score=0.5) for text in TOO_MANY]


def told(found: Any) -> Any:
    """Return what a user reads of nodes."""
    return {
        "results": [[int(row.node.node_id), row.score] for row in found],
        "pages": [row.node.metadata["page"] for row in found],
    }


def cohere_rerank(key: str = TOLD.key, base: str = TOLD.keyed, top_n: int = 5) -> CohereRerank:
    return CohereRerank(api_key=key, base_url=base, top_n=top_n, max_retries=1)


def tei_rerank(
    token: str | None = f"Bearer {TOLD.key}", base: str = TOLD.keyed, top_n: int = 5
) -> TextEmbeddingInference:
    return TextEmbeddingInference(base_url=base, auth_token=token, top_n=top_n)


def cohere() -> Any:
    return told(cohere_rerank().postprocess_nodes(nodes(), QUERY))


def cohere_top() -> Any:
    return told(cohere_rerank("any", TOLD.open, 2).postprocess_nodes(nodes(), query_str=TOLD.query))


async def cohere_async() -> Any:
    return told(await cohere_rerank().apostprocess_nodes(nodes(), QUERY))


def cohere_wrong_key() -> Any:
    return told(cohere_rerank(WRONG_KEY).postprocess_nodes(nodes(), QUERY))


def cohere_no_query() -> Any:
    return told(cohere_rerank().postprocess_nodes(nodes(), query_str=""))


def cohere_too_many() -> Any:
    return told(cohere_rerank().postprocess_nodes(many(), QUERY))


def tei() -> Any:
    return told(tei_rerank().postprocess_nodes(nodes(), QUERY))


def tei_top() -> Any:
    return told(tei_rerank(None, TOLD.open, 2).postprocess_nodes(nodes(), QUERY))


async def tei_async() -> Any:
    return told(await tei_rerank().apostprocess_nodes(nodes(), QUERY))


def tei_token_without_scheme() -> Any:
    """The token goes into the header as it is, so it has to say `Bearer` itself."""
    return told(tei_rerank(TOLD.key).postprocess_nodes(nodes(), QUERY))


def tei_wrong_key() -> Any:
    return told(tei_rerank(f"Bearer {WRONG_KEY}").postprocess_nodes(nodes(), QUERY))


answer(
    cohere,
    cohere_top,
    cohere_async,
    cohere_wrong_key,
    cohere_no_query,
    cohere_too_many,
    tei,
    tei_top,
    tei_async,
    tei_token_without_scheme,
    tei_wrong_key,
)
