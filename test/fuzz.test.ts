import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { corpusCases, generatedCases, REQUESTS, RESPONSES } from '../fuzz/cases.ts'
import { readConnection } from '../fuzz/reference.ts'
import { readResponse } from '../fuzz/response-reference.ts'
import { runFuzz } from '../fuzz/run.ts'

/** A short run of fuzz/: the corpus, and as many cases as fit in a minute. `npm run fuzz` is the long one. */
const CASES = 2_500
/** Cases made by a generator are worth something only while each kind of outcome comes up. */
const KINDS = [
  ...['connections: open', 'connections: close', 'connections: refused', 'connections: unfinished'],
  ...['responses: whole', 'responses: bad', 'responses: broken'],
]

const log = (line: string) => console.log(line)

describe('the reference agrees with what the corpus says of itself', () => {
  for (const { name, segments, requests, end } of REQUESTS)
    test(name, () => {
      const read = readConnection(segments.join(''))
      assert.deepEqual([read.requests.length, read.end], [requests, end])
    })
  for (const entry of RESPONSES)
    test(entry.name, () => assert.equal(readResponse(entry).response.kind, entry.kind))
})

test('the corpus: everybody sees the same', async () => {
  const { differences } = await runFuzz({ cases: corpusCases, log })
  assert.deepEqual(differences, [])
})

test('generated cases: everybody sees the same', async () => {
  const seed = Math.floor(Math.random() * 2 ** 31)
  const replay = `npm run fuzz -- --seed ${seed} --case K`
  const { differences, counts } = await runFuzz({ cases: generatedCases(seed, CASES), log })
  assert.deepEqual(differences, [], replay)
  for (const kind of KINDS) assert.ok(counts[kind]! > 0, `no case with "${kind}"; ${replay}`)
})
