// The official JavaScript client runs the dozen requests: node run.mjs URL REQUESTS
import { readFileSync } from 'node:fs'
import { Client, errors } from '@elastic/elasticsearch'

const [address, file] = process.argv.slice(2)
const requests = JSON.parse(readFileSync(file, 'utf8'))
const client = new Client({ node: address, maxRetries: 0, requestTimeout: 60_000 })
const index = requests.index

async function dozen () {
  const found = {}
  for (const number of ['1', '2', '3', '4', '5', '6', '7']) {
    found[number] = searched(await client.search({ index, ...requests[number] }))
  }
  const several = await client.msearch({ searches: requests['8'] })
  found['8'] = several.responses.map(item => 'error' in item ? failed(item.status, item.error) : searched(item))
  found['9'] = await inAPointInTime(requests['9'])
  found['10'] = (await client.inference.rerank(requests['10'])).rerank
  found['11'] = await passedThrough(requests['11'])
  found['12'] = {}
  for (const [name, wanted] of Object.entries(requests['12'])) {
    found['12'][name] = await refused(wanted)
  }
  return found
}

async function inAPointInTime (wanted) {
  const keepAlive = wanted.keep_alive
  let { id } = await client.openPointInTime({ index, keep_alive: keepAlive })
  const pages = []
  for (const from of wanted.from) {
    const page = await client.search({ ...wanted.search, from, pit: { id, keep_alive: keepAlive } })
    id = page.pit_id
    pages.push(searched(page))
  }
  return { pages, closed: (await client.closePointInTime({ id })).succeeded }
}

async function passedThrough ({ index, one, more, query }) {
  const indexed = (await client.index({ index, id: one.id, document: one.document })).result
  const got = await client.get({ index, id: one.id })
  const operations = more.flatMap(each => [{ index: { _index: index, _id: each.id } }, each.document])
  const bulk = await client.bulk({ operations, refresh: true })
  const count = (await client.count({ index, query })).count
  const deleted = (await client.delete({ index, id: one.id })).result
  const exists = await client.exists({ index, id: one.id })
  const dropped = (await client.indices.delete({ index })).acknowledged
  const items = bulk.items.map(({ index: done }) => [done._id, done.result, done.status])
  return { indexed, got: { id: got._id, source: got._source }, bulk: { errors: bulk.errors, items }, count, deleted, exists, dropped }
}

async function refused (wanted) {
  try {
    await client.search({ index: wanted.index, ...wanted.search })
  } catch (error) {
    if (error instanceof errors.ResponseError) return failed(error.statusCode, error.body.error)
    throw error
  }
  throw new Error(`answered, though it should be refused: ${JSON.stringify(wanted)}`)
}

function failed (status, { type, reason }) {
  return { status, type, reason }
}

function searched (answer) {
  const found = { total: answer.hits.total, hits: answer.hits.hits.map(hitOf) }
  if (answer.aggregations) {
    found.aggregations = Object.fromEntries(Object.entries(answer.aggregations).map(([name, each]) => [name, aggregation(each)]))
  }
  return found
}

function hitOf (hit) {
  const found = { id: hit._id, score: hit._score }
  for (const [name, key] of [['source', '_source'], ['fields', 'fields'], ['highlight', 'highlight']]) {
    if (key in hit) found[name] = hit[key]
  }
  return found
}

function aggregation (value) {
  return 'buckets' in value ? value.buckets.map(bucket => [bucket.key, bucket.doc_count]) : value.value
}

console.log(JSON.stringify(await dozen()))
await client.close()
