"""The contracts of the families of decoders: the prompts and answers that they were trained with."""

from __future__ import annotations

from .contracts import DecoderContract

QWEN3_RERANKER = DecoderContract.model_validate(
    {
        "prompt": (
            (
                "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query "
                'and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
                "<|im_start|>user\n"
            ),
            "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}",
            "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ),
        "instruction": "Given a web search query, retrieve relevant passages that answer the query",
        "false_token": "no",
        "true_token": "yes",
    }
)
"""Qwen3-Reranker (model card of Qwen/Qwen3-Reranker-0.6B)."""

MXBAI_RERANK_V2 = DecoderContract.model_validate(
    {
        "prompt": (
            (
                "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
                "assistant.<|im_end|>\n<|im_start|>user\n"
            ),
            "{instruction}query: {query}",
            "\n",
            "document: {document}",
            "\n",
            (
                "You are a search relevance expert who evaluates how well documents match search queries. "
                "For each query-document pair, carefully analyze the semantic relationship between them, "
                "then provide your binary relevance judgment (0 for not relevant, 1 for relevant).\n"
                "Relevance:"
            ),
            "<|im_end|>\n<|im_start|>assistant\n",
        ),
        "instruction": "",
        "instructed": "instruction: {instruction}\n",
        "false_token": "0",
        "true_token": "1",
    }
)
"""mxbai-rerank-v2 (mixedbread-ai/mxbai-rerank, mxbai_rerank/mxbai_rerank_v2.py)."""
