"""LlamaIndex's node postprocessors of Cohere, Jina, Xinference and Hugging Face's text-embeddings-inference
(TEI), and its embeddings of TEI and of services like OpenAI's.
"""

from typing import Any

from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference
from llama_index.postprocessor.xinference_rerank import XinferenceRerank
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


def tei_at_an_address_with_a_slash() -> Any:
    return told(tei_rerank(None, f"{TOLD.open}/").postprocess_nodes(nodes(), QUERY))


async def tei_async() -> Any:
    return told(await tei_rerank().apostprocess_nodes(nodes(), QUERY))


def tei_token_without_scheme() -> Any:
    """The token goes into the header as it is, so it has to say `Bearer` itself."""
    return told(tei_rerank(TOLD.key).postprocess_nodes(nodes(), QUERY))


def tei_wrong_key() -> Any:
    return told(tei_rerank(f"Bearer {WRONG_KEY}").postprocess_nodes(nodes(), QUERY))


def jina_rerank(key: str = TOLD.key, top_n: int = 5) -> JinaRerank:
    return JinaRerank(api_key=key, base_url=f"{TOLD.keyed}/v1", top_n=top_n)


def jina() -> Any:
    return told(jina_rerank().postprocess_nodes(nodes(), QUERY))


def jina_top() -> Any:
    return told(jina_rerank(top_n=2).postprocess_nodes(nodes(), QUERY))


def jina_wrong_key() -> Any:
    return told(jina_rerank(WRONG_KEY).postprocess_nodes(nodes(), QUERY))


def jina_no_query() -> Any:
    return told(jina_rerank().postprocess_nodes(nodes(), query_str=""))


def jina_too_many() -> Any:
    return told(jina_rerank().postprocess_nodes(many(), QUERY))


def xinference() -> Any:
    return told(XinferenceRerank(base_url=TOLD.open).postprocess_nodes(nodes(), QUERY))


def xinference_top() -> Any:
    return told(XinferenceRerank(base_url=TOLD.open, top_n=2).postprocess_nodes(nodes(), QUERY))


def xinference_no_query() -> Any:
    return told(XinferenceRerank(base_url=TOLD.open).postprocess_nodes(nodes(), query_str=""))


def tei_embeddings() -> TextEmbeddingsInference:
    return TextEmbeddingsInference(model_name="any", base_url=TOLD.keyed, auth_token=TOLD.key)


def tei_embeds() -> Any:
    return tei_embeddings().get_text_embedding_batch(TOLD.documents)


async def tei_embeds_async() -> Any:
    return await tei_embeddings().aget_text_embedding_batch(TOLD.documents)


def tei_embeds_a_query() -> Any:
    return [tei_embeddings().get_query_embedding(TOLD.query)]


def openai_like() -> Any:
    embeddings = OpenAILikeEmbedding(model_name="any", api_base=f"{TOLD.keyed}/v1", api_key=TOLD.key)
    return embeddings.get_text_embedding_batch(TOLD.documents)


answer(
    cohere,
    cohere_top,
    cohere_async,
    cohere_wrong_key,
    cohere_no_query,
    cohere_too_many,
    tei,
    tei_top,
    tei_at_an_address_with_a_slash,
    tei_async,
    tei_token_without_scheme,
    tei_wrong_key,
    jina,
    jina_top,
    jina_wrong_key,
    jina_no_query,
    jina_too_many,
    xinference,
    xinference_top,
    xinference_no_query,
    tei_embeds,
    tei_embeds_async,
    tei_embeds_a_query,
    openai_like,
)
