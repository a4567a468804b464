import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Validator } from '@seriousme/openapi-schema-validator'
import { z } from 'zod'
import { routesOf, type TestProcess, testProcess } from '../testing.ts'
import { openApiDocument } from './document.ts'
import { shownAs } from './schemas.ts'
import { AnswerChecks } from './testing.ts'

interface Operation {
  readonly operationId: string
  readonly summary?: string
  readonly tags: readonly string[]
  readonly security?: readonly unknown[]
  readonly parameters: readonly { readonly name: string; readonly in: string }[]
  readonly responses: Readonly<Record<string, unknown>>
}
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
}

let t: TestProcess
let document: Document
before(async () => {
  t = await testProcess()
  const none = { authorization: '' }
  const answer = await t.api('GET', '/openapi.json', undefined, none)
  assert.equal(answer.status, 200)
  document = answer.json
})
after(() => t.close())

const operations = () =>
  Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  )

test('it is an OpenAPI 3.1 document to somebody else’s validator', async () => {
  const result = await new Validator().validate(
    structuredClone(document) as unknown as Record<string, unknown>,
  )
  assert.deepEqual(result.errors, undefined)
  assert.equal(result.valid, true)
})

test('every route of the router is in it, and nothing else', async () => {
  const routes = (await routesOf(t.control.context)).map(
    ({ method, path }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')}`,
  )
  // Fastify answers HEAD wherever it answers GET.
  const get = new Set(routes.filter((route) => route.startsWith('GET ')))
  const told = routes.filter((r) => !(r.startsWith('HEAD ') && get.has(r.replace('HEAD', 'GET'))))
  const written = operations().map(({ method, path }) => `${method.toUpperCase()} ${path}`)
  const head = 'HEAD /v1/apps/{app}/artifacts/{digest}'
  assert.deepEqual(written.filter((one) => one !== head).sort(), told.sort())
  assert.ok(written.includes(head))
})

test('every call says what it does, what it takes and what it answers', () => {
  const ids = new Set<string>()
  for (const { path, method, operation } of operations()) {
    const shown = `${method} ${path}`
    assert.ok(operation.summary, shown)
    assert.ok(operation.tags[0], shown)
    assert.ok(!ids.has(operation.operationId), operation.operationId)
    ids.add(operation.operationId)
    const inPath = operation.parameters.filter((one) => one.in === 'path').map((one) => one.name)
    assert.deepEqual(inPath.sort(), [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort())
    assert.ok('default' in operation.responses, shown)
    const succeeds = Object.keys(operation.responses).some((status) => status.startsWith('2'))
    assert.ok(succeeds || /always (404|501)/.test(operation.summary!), `${shown} has no success`)
  }
  assert.deepEqual(document.paths['/v1/health']!.get!.security, [])
  assert.equal(document.paths['/graphql']!.post!.security, undefined)
})

test('defaults may be left out of requests and are there in answers', () => {
  const Thing = z.object({ size: z.int().default(1) }).meta({ id: 'Thing' })
  const schema = {
    summary: 'Makes one',
    tag: 'Apps',
    body: z.object({ thing: shownAs(z.unknown(), Thing) }),
    response: { 201: Thing },
  } as const
  const route = { method: 'POST', url: '/v1/things/:name', schema, public: false }
  // biome-ignore lint/suspicious/noExplicitAny: looked into
  const made = openApiDocument([route], '1') as any
  const post = made.paths['/v1/things/{name}'].post
  assert.deepEqual(post.requestBody.content['application/json'].schema.properties.thing, {
    $ref: '#/components/schemas/ThingInput',
  })
  assert.deepEqual(post.responses[201].content['application/json'].schema, {
    $ref: '#/components/schemas/Thing',
  })
  const { Thing: output, ThingInput: input } = made.components.schemas
  assert.deepEqual([output.required, input.required], [['size'], undefined])
})

test('an answer that the document does not describe fails the check', () => {
  const checks = new AnswerChecks(document)
  const health = { method: 'GET', path: '/v1/health', status: 200 }
  const json = { contentType: 'application/json; charset=utf-8' }
  checks.check({ ...health, ...json, text: '{"ok":true}' })
  assert.deepEqual([...checks.seen], ['GET /v1/health 200'])
  const wrong: readonly [text: string, status: number, error: RegExp][] = [
    ['{}', 200, /required property 'ok'/],
    ['{"ok":1}', 200, /must be boolean/],
    ['{"ok":true,"more":1}', 200, /additional properties/],
    ['{"ok":true}', 201, /does not have GET/],
    ['{"error":"x"}', 500, /required property 'status'/],
  ]
  for (const [text, status, error] of wrong)
    assert.throws(() => checks.check({ ...health, ...json, status, text }), error)
  assert.throws(() => checks.check({ ...health, ...json, path: '/v1/nothing', text: '{}' }), /have/)
})
