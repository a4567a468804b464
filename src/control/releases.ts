import { isoTime } from '../base/clock.ts'
import { FairwayError, invalid, notFound } from '../base/errors.ts'
import { ulid } from '../base/ids.ts'
import { keys } from '../model/keys.ts'
import type { App, Release } from '../model/resources.ts'
import { appFor, appWithin, mayAct } from './access.ts'
import type { Actor, Control } from './context.ts'
import { del, put, readOne, transact } from './transact.ts'

/** Releases: the history of an app's deployments, numbered from 1; the newest ones are kept. */

export const RELEASES_KEPT = 200
export const DEFINITION_BYTES_MAX = 256 * 1024
const TEXT_LENGTH_MAX = 2_000

export interface NewRelease {
  readonly app: string
  /** The app's configuration as JSON; a later deploy reads it back. */
  readonly definition?: Readonly<Record<string, unknown>> | null
  readonly image: string
  readonly strategy?: string | null
  readonly description?: string | null
}

export async function createRelease(
  control: Control,
  actor: Actor,
  input: NewRelease,
): Promise<Release> {
  checkRelease(input)
  const { result } = await transact(control, async (read) => {
    const app = await appWithin(read, actor, input.app)
    const version = ((await read.get<number>(keys.releaseHead(app.name))) ?? 0) + 1
    const nowMs = control.clock.now()
    const release: Release = {
      id: `rel_${ulid(nowMs).toLowerCase()}`,
      app: app.name,
      version,
      status: 'pending',
      strategy: (input.strategy || 'rolling').toLowerCase(),
      description: input.description || (version === 1 ? 'First release' : 'Release'),
      image: input.image,
      definition: input.definition ? { ...input.definition } : null,
      user: actor.token.user,
      createdAt: isoTime(nowMs),
      updatedAt: isoTime(nowMs),
    }
    const oldKey = keys.release(app.name, Math.max(0, version - RELEASES_KEPT))
    const old = version > RELEASES_KEPT ? await read.get<Release>(oldKey) : undefined
    return {
      ops: [
        put(keys.releaseHead(app.name), version),
        put(keys.release(app.name, version), release),
        put(keys.releaseId(release.id), { app: app.name, version }),
        ...(old ? [del(oldKey), del(keys.releaseId(old.id))] : []),
      ],
      result: release,
    }
  })
  return result
}

export const RELEASE_STATUSES = ['pending', 'running', 'complete', 'failed', 'interrupted'] as const

/** A release that completes makes its app `deployed`. */
export async function updateRelease(
  control: Control,
  actor: Actor,
  input: { readonly id: string; readonly status: string },
): Promise<Release> {
  const status = RELEASE_STATUSES.find((known) => known === input.status)
  if (!status) {
    throw invalid(`status "${input.status}" is none of ${RELEASE_STATUSES.join(', ')}`)
  }
  const missing = notFound(`Could not find Release "${input.id.slice(0, 100)}"`)
  if (!/^rel_[0-9a-z]{26}$/.test(input.id)) throw missing
  const { result } = await transact(control, async (read) => {
    const at = await read.peek<{ app: string; version: number }>(keys.releaseId(input.id))
    const app = at && (await read.get<App>(keys.app(at.app)))
    const key = at && keys.release(at.app, at.version)
    const release = key && (await read.get<Release>(key))
    if (!app || !release || !mayAct(actor, app.org)) throw missing
    const changed: Release = { ...release, status, updatedAt: isoTime(control.clock.now()) }
    const deployed = status === 'complete' && app.status === 'pending'
    return {
      ops: [
        put(key, changed),
        ...(deployed ? [put(keys.app(app.name), { ...app, status: 'deployed' })] : []),
      ],
      result: changed,
    }
  })
  return result
}

/** Newest first. */
export async function listReleases(
  control: Control,
  actor: Actor,
  input: { readonly app: string; readonly limit?: number },
): Promise<Release[]> {
  await appFor(control, actor, input.app)
  const head = (await readOne<number>(control.store, keys.releaseHead(input.app))) ?? 0
  const count = Math.min(head, RELEASES_KEPT, Math.max(0, input.limit ?? RELEASES_KEPT))
  const versions = Array.from({ length: count }, (_, i) => head - i)
  const releases = await Promise.all(
    versions.map((v) => readOne<Release>(control.store, keys.release(input.app, v))),
  )
  return releases.filter((release) => release !== undefined)
}

/** The newest release whatever its status; undefined when there is none yet. */
export async function currentRelease(
  control: Control,
  actor: Actor,
  app: string,
): Promise<Release | undefined> {
  const [newest] = await listReleases(control, actor, { app, limit: 1 })
  return newest
}

function checkRelease(input: NewRelease): void {
  const texts = { image: input.image, strategy: input.strategy, description: input.description }
  for (const [field, text] of Object.entries(texts)) {
    if ((text ?? '').length <= TEXT_LENGTH_MAX) continue
    throw invalid(`${field} is longer than ${TEXT_LENGTH_MAX} characters`)
  }
  const bytes = Buffer.byteLength(JSON.stringify(input.definition ?? null))
  if (bytes <= DEFINITION_BYTES_MAX) return
  throw new FairwayError(
    'too_large',
    `definition has ${bytes} bytes as JSON; ${DEFINITION_BYTES_MAX} is the limit`,
    { status: 413 },
  )
}
