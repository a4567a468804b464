import { z } from 'zod'
import { notFound } from '../base/errors.ts'
import { listSecrets, type SecretInfo, setSecrets } from '../control/secrets.ts'
import type { ApiContext } from './context.ts'
import { appPath } from './input.ts'
import { type Api, Ok, Time } from './routes.ts'

/** Secrets (flyctl-api 4.5). Values go in and never come out again. */

const valuesBody = z.looseObject({ values: z.record(z.string(), z.string().nullable()) })
const secretPath = appPath.extend({ name: z.string().min(1).max(256) })

const Secret = z
  .object({ name: z.string(), digest: z.string(), created_at: Time, updated_at: Time })
  .meta({ id: 'Secret' })
const version = z.int()

const tag = 'Secrets'
const LIST = {
  tag,
  summary: "Names and digests of an app's secrets",
  params: appPath,
  response: { 200: z.object({ secrets: z.array(Secret), version }) },
} as const
const SET = {
  tag,
  summary: 'Sets secrets and, with null, unsets them; machines get them when they start next',
  params: appPath,
  body: valuesBody,
  response: { 200: z.object({ secrets: z.array(Secret), version }) },
} as const
const ONE = {
  tag,
  summary: 'Name and digest of one secret',
  params: secretPath,
  response: { 200: Secret.extend({ version }) },
} as const
const SET_ONE = {
  ...ONE,
  summary: 'Sets one secret',
  body: z.looseObject({ value: z.string() }),
} as const
const UNSET_ONE = {
  tag,
  summary: 'Unsets one secret',
  params: secretPath,
  response: { 200: Ok.extend({ version }) },
} as const

export function registerSecrets(api: Api, context: ApiContext): void {
  const path = '/v1/apps/:app/secrets'
  api.get(path, { schema: LIST }, async ({ actor, params }) => {
    const { secrets, version } = await listSecrets(context, actor, params.app)
    return { secrets: secrets.map(secretObject), version }
  })
  api.post(path, { schema: SET }, async ({ actor, params, body }) => {
    const set = await setSecrets(context, actor, { app: params.app, values: body.values })
    return { secrets: set.secrets.map(secretObject), version: set.version }
  })
  api.get(`${path}/:name`, { schema: ONE }, async ({ actor, params }) => {
    const { secrets, version } = await listSecrets(context, actor, params.app)
    return { ...secretObject(found(secrets, params.name)), version }
  })
  api.post(`${path}/:name`, { schema: SET_ONE }, async ({ actor, params, body }) => {
    const values = { [params.name]: body.value }
    const set = await setSecrets(context, actor, { app: params.app, values })
    return { ...secretObject(found(set.secrets, params.name)), version: set.version }
  })
  api.delete(`${path}/:name`, { schema: UNSET_ONE }, async ({ actor, params }) => {
    const values = { [params.name]: null }
    const set = await setSecrets(context, actor, { app: params.app, values })
    return { ok: true as const, version: set.version }
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
