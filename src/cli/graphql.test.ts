import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildSchema, parse, validate } from 'graphql'
import { SDL } from '../api/graphql/schema.ts'
import { runAgainst } from './testing.ts'
import { fakeWorld } from './testing-world.ts'

/** The fake answers anything; this holds what is asked against the schema that really answers. */
const COMMANDS = [
  'apps list -o personal',
  'status --json',
  'ips list',
  'ips allocate-v4 --yes',
  'ips allocate-v4 --shared',
  'ips release 203.0.113.1',
  'ips detach-v4 203.0.113.20',
  'ips attach-v4 203.0.113.20',
  'releases',
  'secrets set A=1',
  'config show',
  'orgs show personal',
  'auth whoami',
]

test('every GraphQL operation fits the schema of the API', async () => {
  const schema = buildSchema(SDL)
  const { api } = await fakeWorld()
  try {
    for (const line of COMMANDS) {
      const { code, stderr } = await runAgainst(api, [...line.split(' '), '-a', 'hello'])
      assert.equal(code, 0, `${line}: ${stderr}`)
    }
    await runAgainst(api, ['machine', 'kill', 'm1'])
  } finally {
    await api.close()
  }
  const queries = new Set(api.queries)
  assert.ok(queries.size >= COMMANDS.length, `only ${queries.size} operations`)
  for (const query of queries) {
    const errors = validate(schema, parse(query)).map((error) => error.message)
    assert.deepEqual(errors, [], query)
  }
})
