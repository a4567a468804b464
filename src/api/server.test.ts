import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify from 'fastify'
import { pino } from 'pino'
import { FairwayError } from '../base/errors.ts'
import { answerError } from './server.ts'

async function answerTo(error: Error) {
  const app = Fastify()
  const log = pino({ level: 'silent' })
  app.setErrorHandler((thrown, request, reply) => answerError({ log }, thrown, request, reply))
  app.get('/', () => Promise.reject(error))
  const answer = await app.inject('/')
  return { code: answer.statusCode, ...answer.json<{ error: string; status: string }>() }
}

test('a busy store is 503 and said to be so; its other failures are for the log', async () => {
  const busy = new FairwayError('store_busy', '9 calls wait; try again later', { status: 503 })
  assert.deepEqual(await answerTo(busy), {
    ...{ code: 503, error: '9 calls wait; try again later', status: 'store_busy' },
  })
  const failed = await answerTo(new FairwayError('store_failed', '/a/path', { status: 503 }))
  assert.deepEqual([failed.code, failed.status], [500, 'internal'])
  assert.doesNotMatch(failed.error, /path/)
})
