import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Fastify, { type FastifyInstance } from 'fastify'
import { createApp } from '../../control/apps.ts'
import { createMachine } from '../../control/machines/create.ts'
import { type TestMachines, testMachines } from '../../control/machines/testing.ts'
import { createRelease, updateRelease } from '../../control/releases.ts'
import { createToken } from '../../control/tokens.ts'
import { put } from '../../control/transact.ts'
import { keys } from '../../model/keys.ts'
import { withZod } from '../routes.ts'
import { registerGraphql } from './graphql.ts'

/** GraphQL over a control plane with two apps and one machine, for tests. */

export const DIGEST = 'b'.repeat(64)
export const IMAGE = `registry.fairway.test/web@sha256:${DIGEST}`
export const DEFINITION = { app: 'web', http_service: { internal_port: 8080 } }

export interface GraphqlAnswer {
  // biome-ignore lint/suspicious/noExplicitAny: answers have as many shapes as there are queries
  readonly data: any
  readonly errors?: { message: string; path?: string[]; extensions: Record<string, string> }[]
}
type Variables = Record<string, unknown>

export interface TestGraphql {
  readonly machines: TestMachines
  readonly server: FastifyInstance
  readonly token: string
  readonly machineId: string
  send(body: unknown, authorization?: string): Promise<GraphqlAnswer>
  /** The data of a query that must succeed. */
  ask(query: string, variables?: Variables | null, more?: object): Promise<GraphqlAnswer['data']>
  /** The first error of one that must not. */
  refused(
    query: string,
    variables?: Variables,
  ): Promise<NonNullable<GraphqlAnswer['errors']>[number]>
  close(): Promise<void>
}

export async function testGraphql(): Promise<TestGraphql> {
  const machines = await testMachines()
  const { control, actor } = machines
  const machineId = await fill(machines)
  const { user } = actor.token
  const { token } = await createToken(control, { name: 't', user, orgs: ['personal'] })
  const server = Fastify()
  registerGraphql(withZod(server), control)
  const send: TestGraphql['send'] = async (body, authorization = `Bearer ${token}`) => {
    const reply = await server.inject({
      method: 'POST',
      url: '/graphql',
      headers: { authorization, 'content-type': 'application/json; charset=utf-8' },
      payload: JSON.stringify(body),
    })
    assert.equal(reply.statusCode, 200)
    return reply.json()
  }
  return {
    ...{ machines, server, token, machineId, send },
    ask: async (query, variables = null, more = {}) => {
      const { data, errors } = await send({ query, variables, ...more })
      assert.equal(errors, undefined, JSON.stringify(errors))
      return data
    },
    refused: async (query, variables = {}) => {
      const { errors } = await send({ query, variables })
      assert.ok(errors?.[0], 'there is an error')
      for (const value of Object.values(errors[0].extensions)) assert.equal(typeof value, 'string')
      return errors[0]
    },
    close: async () => {
      await server.close()
      await machines.close()
    },
  }
}

/** The id of the machine. */
async function fill({ control, actor }: TestMachines): Promise<string> {
  await createApp(control, actor, { name: 'web', org: 'personal' })
  await createApp(control, actor, { name: 'bare', org: 'personal', network: 'apart' })
  writeFileSync(join(control.config.stateDir, 'artifacts', DIGEST), '')
  const artifact = { digest: DIGEST, size: 1234, createdAt: '2026-01-01T00:00:00Z' }
  await control.store.txn({ then: [put(keys.artifact('web', DIGEST), artifact)] })
  const services = [
    {
      internal_port: 8080,
      ports: [
        { port: 80, handlers: ['http'] },
        { start_port: 9000, end_port: 9009 },
      ],
    },
  ]
  const config = { image: IMAGE, services }
  const { machine } = await createMachine(control, actor, { app: 'web', config, region: 'lhr' })
  const release = await createRelease(control, actor, {
    app: 'web',
    image: IMAGE,
    definition: DEFINITION,
  })
  await updateRelease(control, actor, { id: release.id, status: 'complete' })
  return machine.id
}
