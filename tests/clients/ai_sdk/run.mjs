// Clients in JavaScript ask the sidecar: node run.mjs URL KEY REQUEST. Prints what each understood.
import { readFileSync } from "node:fs";
import { createCohere } from "@ai-sdk/cohere";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { CohereRerank } from "@langchain/cohere";
import { Document } from "@langchain/core/documents";
import { CohereRerank as LlamaIndexRerank } from "@llamaindex/cohere";
import { TextNode } from "@llamaindex/core/schema";
import { embedMany, rerank } from "ai";
import { CohereClient, CohereClientV2 } from "cohere-ai";
import OpenAI from "openai";
import { createVoyage } from "voyage-ai-provider";
import { VoyageAIClient } from "voyageai";

globalThis.AI_SDK_LOG_WARNINGS = false; // they would stand in the output

const [url, apiKey, path] = process.argv.slice(2);
const { query, documents } = JSON.parse(readFileSync(path, "utf8"));
const model = "any-name";
const once = { maxRetries: 0 };

const vercel = async (reranking, more = {}) => {
  const found = await rerank({ model: reranking, query, documents, ...once, ...more });
  return {
    rows: found.ranking.map((row) => [row.originalIndex, row.score]),
    documents: found.rerankedDocuments,
  };
};
const rows = (results) => ({ rows: results.map((row) => [row.index, row.relevanceScore]) });

const embedded = async (embedding) => {
  const found = await embedMany({ model: embedding, values: documents, ...once });
  return { vectors: found.embeddings, tokens: found.usage.tokens };
};

const cohere = createCohere({ baseURL: `${url}/v2`, apiKey });
const voyage = createVoyage({ baseURL: `${url}/v1`, apiKey });
const compatible = createOpenAICompatible({ name: "sidecar", baseURL: `${url}/v1`, apiKey });
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey, ...once });
const voyageai = new VoyageAIClient({ environment: `${url}/v1`, apiKey });
const v1 = new CohereClient({ environment: url, token: apiKey });
const v2 = new CohereClientV2({ environment: url, token: apiKey });

const cases = {
  "AI SDK": () => vercel(cohere.reranking(model)),
  "AI SDK, best two": () => vercel(cohere.reranking(model), { topN: 2 }),
  "AI SDK, objects": () =>
    vercel(cohere.reranking(model), { documents: documents.map((text, number) => ({ number, text })) }),
  "AI SDK, all options": () =>
    vercel(cohere.reranking(model), {
      topN: documents.length,
      providerOptions: { cohere: { maxTokensPerDoc: 512, priority: 1 } },
    }),
  "AI SDK, Voyage": () => vercel(voyage.reranking(model)),
  "AI SDK, Voyage, best two": () =>
    vercel(voyage.reranking(model), {
      topN: 2,
      providerOptions: { voyage: { returnDocuments: true, truncation: false } },
    }),
  "AI SDK, embeddings": () => embedded(compatible.embeddingModel(model)),
  "AI SDK, embeddings of Cohere": () => embedded(cohere.embedding(model)),
  "AI SDK, embeddings of Voyage": () => embedded(voyage.textEmbeddingModel(model)),
  "LangChain": async () => {
    const compressor = new CohereRerank({ client: v1, model, topN: documents.length });
    const found = await compressor.compressDocuments(
      documents.map((pageContent, number) => new Document({ pageContent, metadata: { number } })),
      query,
    );
    return { rows: found.map(({ metadata }) => [metadata.number, metadata.relevanceScore]) };
  },
  "LlamaIndex": async () => {
    const reranker = new LlamaIndexRerank({ topN: documents.length, model, apiKey, baseUrl: url });
    const nodes = documents.map((text, number) => ({ node: new TextNode({ id_: String(number), text }) }));
    const found = await reranker.postprocessNodes(nodes, query);
    return { rows: found.map(({ node, score }) => [Number(node.id_), score]) };
  },
  "cohere-ai, v1": async () => {
    const found = await v1.rerank({ model, query, documents, returnDocuments: true }, once);
    return { ...rows(found.results), documents: found.results.map((row) => row.document.text) };
  },
  "cohere-ai, v2": async () => rows((await v2.rerank({ model, query, documents }, once)).results),
  "cohere-ai, embeddings": async () => {
    const wanted = { model, texts: documents, inputType: "search_document", embeddingTypes: ["float"] };
    const found = await v2.embed(wanted, once);
    return { vectors: found.embeddings.float, tokens: found.meta.billedUnits.inputTokens };
  },
  "voyageai": async () => {
    const found = await voyageai.rerank({ model, query, documents, returnDocuments: true }, once);
    return {
      ...rows(found.data),
      documents: found.data.map((row) => row.document),
      tokens: found.usage.totalTokens,
    };
  },
  "voyageai, embeddings": async () => {
    const found = await voyageai.embed({ model, input: documents, inputType: "document" }, once);
    return { vectors: found.data.map((row) => row.embedding), tokens: found.usage.totalTokens };
  },
  "openai, embeddings": async () => {
    const found = await openai.embeddings.create({ model, input: documents });
    return { vectors: found.data.map((row) => row.embedding), tokens: found.usage.total_tokens };
  },
};

const answers = {};
for (const [name, ask] of Object.entries(cases)) {
  try {
    answers[name] = await ask();
  } catch (error) {
    answers[name] = { error: error.message, status: error.statusCode ?? error.status };
  }
}
console.log(JSON.stringify(answers));
