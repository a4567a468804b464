import { randomBytes } from 'node:crypto'
import { isoTime } from '../base/clock.ts'
import { FairwayError, invalid } from '../base/errors.ts'
import { keys } from '../model/keys.ts'
import type { AppSecrets } from '../model/resources.ts'
import { appFor, appWithin } from './access.ts'
import type { Actor, Control } from './context.ts'
import { del, put, readOne, readPage, transact } from './transact.ts'

/**
 * Secrets of an app. Each change makes a new version of all of them; a machine is launched with the
 * version that its record names, so some older ones are kept.
 */

export const SECRETS_PER_APP_MAX = 500
export const SECRET_BYTES_MAX = 64 * 1024
/** All of an app's secrets, sealed, stay well under the store's limit for one value. */
export const SECRETS_BYTES_MAX = 512 * 1024
export const SECRETS_VERSIONS_KEPT = 20

const NAME = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/

/** What may be shown of a secret. `digest` changes when, and only when, the value does. */
export interface SecretInfo {
  readonly name: string
  readonly digest: string
  readonly createdAt: string
  readonly updatedAt: string
}

export async function listSecrets(
  control: Control,
  actor: Actor,
  app: string,
): Promise<{ secrets: SecretInfo[]; version: number }> {
  await appFor(control, actor, app)
  const current = await readOne<AppSecrets>(control.store, keys.secrets(app))
  return { secrets: infosOf(current), version: current?.version ?? 0 }
}

/**
 * Sets and, with null, unsets secrets, all in one new version. Values that are what they were leave
 * the version alone.
 */
export async function setSecrets(
  control: Control,
  actor: Actor,
  input: {
    readonly app: string
    readonly values: Readonly<Record<string, string | null>>
    /** Unsets what is not among the values. */
    readonly replaceAll?: boolean
  },
): Promise<{ secrets: SecretInfo[]; version: number }> {
  for (const [name, value] of Object.entries(input.values)) checkSecret(name, value)
  const { result } = await transact(control, async (read) => {
    await appWithin(read, actor, input.app)
    const current = await read.get<AppSecrets>(keys.secrets(input.app))
    const before = current?.values ?? {}
    const others = input.replaceAll ? Object.keys(before).map((name) => [name, null]) : []
    const changes = { ...Object.fromEntries(others), ...input.values }
    const values = changedValues(control, before, changes)
    if (values === undefined) return { ops: [], result: current }
    const next: AppSecrets = { version: (current?.version ?? 0) + 1, values }
    checkTotal(next)
    const old = next.version - SECRETS_VERSIONS_KEPT
    return {
      ops: [
        put(keys.secrets(input.app), next),
        put(keys.secretsVersion(input.app, next.version), next),
        ...(old > 0 ? [del(keys.secretsVersion(input.app, old))] : []),
      ],
      result: next,
    }
  })
  return { secrets: infosOf(result), version: result?.version ?? 0 }
}

/**
 * The plain values of a version, for a launch; never for a person. Version 0 has none. A version that
 * is not kept any more is answered with the oldest one that is.
 */
export async function openSecrets(
  control: Control,
  app: string,
  version: number,
): Promise<Record<string, string>> {
  if (version === 0) return {}
  const exact = await readOne<AppSecrets>(control.store, keys.secretsVersion(app, version))
  const kept = exact ?? (await oldestKept(control, app))
  const opened = Object.entries(kept?.values ?? {}).map(([name, { sealed }]) => [
    name,
    control.sealer.open(sealed),
  ])
  return Object.fromEntries(opened)
}

async function oldestKept(control: Control, app: string): Promise<AppSecrets | undefined> {
  const page = await readPage<AppSecrets>(control.store, `secrets-version/${app}/`, { limit: 1 })
  return page.entries[0]?.value
}

type Values = AppSecrets['values']

/** Undefined when nothing changes. */
function changedValues(
  control: Control,
  current: Values,
  changes: Readonly<Record<string, string | null>>,
): Values | undefined {
  const now = isoTime(control.clock.now())
  const next: Values = { ...current }
  let changed = false
  for (const [name, value] of Object.entries(changes)) {
    const old = Object.hasOwn(current, name) ? current[name] : undefined
    if (value === null) {
      if (old) delete next[name]
      changed ||= old !== undefined
      continue
    }
    if (old && control.sealer.open(old.sealed) === value) continue
    // Random, not a hash: the digest of a short secret would give it away.
    const digest = randomBytes(8).toString('hex')
    const createdAt = old?.createdAt ?? now
    next[name] = { sealed: control.sealer.seal(value), digest, createdAt, updatedAt: now }
    changed = true
  }
  return changed ? next : undefined
}

const infosOf = (secrets: AppSecrets | undefined): SecretInfo[] =>
  Object.entries(secrets?.values ?? {})
    .map(([name, { digest, createdAt, updatedAt }]) => ({ name, digest, createdAt, updatedAt }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))

/** Throws when the name, or the value if there is one, cannot be a secret's. */
export function checkSecret(name: string, value: string | null): void {
  if (!NAME.test(name) || name === '__proto__') {
    throw invalid(
      `secret "${name.slice(0, 140)}" is not a name for an environment variable: letters, digits and _, at most 128, no digit first`,
    )
  }
  if (/^FLY_/.test(name)) {
    throw invalid(`secret "${name}": names that begin with FLY_ are the platform's; rename it`)
  }
  if (value === null) return
  if (value.includes('\0')) throw invalid(`secret "${name}" has a NUL byte in its value`)
  const bytes = Buffer.byteLength(value)
  if (bytes > SECRET_BYTES_MAX) {
    throw invalid(`secret "${name}" has ${bytes} bytes; ${SECRET_BYTES_MAX} is the limit`)
  }
}

function checkTotal(secrets: AppSecrets): void {
  const count = Object.keys(secrets.values).length
  if (count > SECRETS_PER_APP_MAX) {
    throw invalid(`the app would have ${count} secrets; ${SECRETS_PER_APP_MAX} is the limit`)
  }
  const bytes = Buffer.byteLength(JSON.stringify(secrets))
  if (bytes <= SECRETS_BYTES_MAX) return
  throw new FairwayError(
    'too_large',
    `the app's secrets would take ${bytes} bytes; ${SECRETS_BYTES_MAX} is the limit for all of them`,
  )
}
