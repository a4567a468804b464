import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { notFound } from '../base/errors.ts'
import { listSecrets, type SecretInfo, setSecrets } from '../control/secrets.ts'
import type { ApiContext } from './context.ts'
import { appPath, parseInput } from './input.ts'

/** Secrets (flyctl-api 4.5). Values go in and never come out again. */

const valuesBody = z.looseObject({ values: z.record(z.string(), z.string().nullable()) })
const secretPath = appPath.extend({ name: z.string().min(1).max(256) })

export function registerSecrets(app: FastifyInstance, context: ApiContext): void {
  const path = '/v1/apps/:app/secrets'
  app.get(path, async (request) => {
    const { app: name } = parseInput(appPath, request.params, 'path')
    const { secrets, version } = await listSecrets(context, request.actor, name)
    return { secrets: secrets.map(secretObject), version }
  })
  app.post(path, async (request) => {
    const { app: name } = parseInput(appPath, request.params, 'path')
    const { values } = parseInput(valuesBody, request.body, 'body')
    const set = await setSecrets(context, request.actor, { app: name, values })
    return { secrets: set.secrets.map(secretObject), version: set.version }
  })
  app.get(`${path}/:name`, async (request) => {
    const { app: appName, name } = parseInput(secretPath, request.params, 'path')
    const { secrets, version } = await listSecrets(context, request.actor, appName)
    return { ...secretObject(found(secrets, name)), version }
  })
  app.post(`${path}/:name`, async (request) => {
    const { app: appName, name } = parseInput(secretPath, request.params, 'path')
    const { value } = parseInput(z.looseObject({ value: z.string() }), request.body, 'body')
    const values = { [name]: value }
    const set = await setSecrets(context, request.actor, { app: appName, values })
    return { ...secretObject(found(set.secrets, name)), version: set.version }
  })
  app.delete(`${path}/:name`, async (request) => {
    const { app: appName, name } = parseInput(secretPath, request.params, 'path')
    const set = await setSecrets(context, request.actor, { app: appName, values: { [name]: null } })
    return { ok: true, version: set.version }
  })
}

function found(secrets: readonly SecretInfo[], name: string): SecretInfo {
  const secret = secrets.find((one) => one.name === name)
  if (secret) return secret
  throw notFound(`secret "${name}" is not set; "fairway secrets list" shows those that are`)
}

const secretObject = (secret: SecretInfo) => ({
  name: secret.name,
  digest: secret.digest,
  created_at: secret.createdAt,
  updated_at: secret.updatedAt,
})
