import { createHash, randomUUID } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { chmod, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { isoTime } from '../base/clock.ts'
import { FairwayError, invalid, notFound } from '../base/errors.ts'
import { keys } from '../model/keys.ts'
import type { App, Release } from '../model/resources.ts'
import type { Op } from '../store/store.ts'
import { appFor, appWithin } from './access.ts'
import type { Actor, Control } from './context.ts'
import { machinesOfApp } from './machines/query.ts'
import { RELEASES_KEPT } from './releases.ts'
import { del, inLane, put, readAll, readOne, readPage, transact } from './transact.ts'

/**
 * Artifacts: the packed folder of an app, kept under its SHA-256 in `<stateDir>/artifacts`. A file
 * is there whole or not at all, and stays as long as an app refers to it.
 */

export const ARTIFACT_BYTES_MAX = 512 * 1024 * 1024
/** More would only be old deployments: the oldest that nothing names any more make room. */
export const ARTIFACTS_PER_APP_MAX = 900
/** How many artifacts one transaction forgets; each takes two operations. */
export const FORGET_BATCH = 50

export interface Artifact {
  /** Hexadecimal SHA-256. */
  readonly digest: string
  readonly size: number
  readonly createdAt: string
}

/**
 * Stores what the stream yields. `expected` (hexadecimal SHA-256, optionally after `sha256:`) must
 * match when given. 413 beyond ARTIFACT_BYTES_MAX; nothing stays behind when it fails.
 */
export async function putArtifact(
  control: Control,
  actor: Actor,
  input: { readonly app: string; readonly stream: Readable; readonly expected?: string | null },
): Promise<Artifact> {
  const expected = input.expected ? checkDigest(input.expected) : undefined
  await appFor(control, actor, input.app)
  const folder = await artifactFolder(control)
  const draft = join(folder, `.incoming-${randomUUID()}`)
  try {
    const { digest, size } = await receive(input.stream, draft)
    if (expected !== undefined && digest !== expected) {
      throw invalid(`the artifact's SHA-256 is ${digest}, not ${expected}; send it again`)
    }
    const artifact: Artifact = { digest, size, createdAt: isoTime(control.clock.now()) }
    await chmod(draft, 0o400)
    const forgotten = await inLane(control.store, fileLane(digest), async () => {
      const oldest = await refer(control, actor, input.app, artifact)
      await rename(draft, join(folder, digest))
      await syncFolder(folder)
      return oldest
    })
    for (const old of forgotten) await removeUnused(control, old)
    return artifact
  } finally {
    input.stream.destroy()
    await rm(draft, { force: true })
  }
}

/** The bytes of an artifact, for a host; 404 when it is not kept here. */
export async function openArtifact(
  control: Control,
  digest: string,
): Promise<{ stream: Readable; size: number }> {
  const path = join(await artifactFolder(control), checkDigest(digest))
  const info = await fileInfo(path)
  if (!info) throw notFound(`artifact sha256:${digest} is not kept here; deploy the app again`)
  return { stream: createReadStream(path), size: info.size }
}

/**
 * The app's record of an artifact; undefined when the app has never been given it, or its file is not
 * there, as after a crash in between: then it is to be sent again.
 */
export async function artifactOf(
  control: Control,
  app: string,
  digest: string,
): Promise<Artifact | undefined> {
  const hex = checkDigest(digest)
  const path = join(await artifactFolder(control), hex)
  const [artifact, info] = await Promise.all([
    readOne<Artifact>(control.store, keys.artifact(app, hex)),
    fileInfo(path),
  ])
  return info && artifact
}

/**
 * One step of forgetting what a deleted app referred to, and the files that no other app refers to.
 * True while there is more.
 */
export async function forgetSomeOfDeleted(control: Control, app: string): Promise<boolean> {
  const { result: digests } = await transact(control, async (read) => {
    // While this key is there, nobody can make an app of the same name and be robbed by this step.
    if ((await read.get(keys.appDeleting(app))) === undefined) return { ops: [], result: [] }
    const { entries } = await read.range<Artifact>(`artifact/${app}/`, { limit: FORGET_BATCH })
    const result = entries.map(({ value }) => value.digest)
    return { ops: forgetOps(app, result), result }
  })
  for (const digest of digests) await removeUnused(control, digest)
  return digests.length > 0
}

/** Removes drafts that a crash has left. At start. */
export async function sweepArtifacts(control: Control): Promise<void> {
  const folder = await artifactFolder(control)
  for (const name of await readdir(folder)) {
    if (name.startsWith('.incoming-')) await rm(join(folder, name), { force: true })
  }
}

function checkDigest(text: string): string {
  const digest = /^(?:sha256:)?([0-9a-f]{64})$/.exec(text)?.[1]
  if (digest !== undefined) return digest
  throw invalid(`"${text.slice(0, 100)}" is not a SHA-256 in 64 hexadecimal digits`)
}

async function artifactFolder({ config }: Control): Promise<string> {
  const folder = join(config.stateDir, 'artifacts')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  return folder
}

async function receive(stream: Readable, path: string): Promise<{ digest: string; size: number }> {
  const hash = createHash('sha256')
  let size = 0
  const measure = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length
      hash.update(chunk)
      done(size > ARTIFACT_BYTES_MAX ? tooLarge() : null, chunk)
    },
  })
  await pipeline(
    stream,
    measure,
    createWriteStream(path, { flags: 'wx', mode: 0o600, flush: true }),
  )
  return { digest: hash.digest('hex'), size }
}

/** Gives the digests of older artifacts that the app forgets for it. */
async function refer(
  control: Control,
  actor: Actor,
  name: string,
  artifact: Artifact,
): Promise<string[]> {
  const { result } = await transact(control, async (read) => {
    const app = await appWithin(read, actor, name)
    const key = keys.artifact(name, artifact.digest)
    if (await read.get(key)) return { ops: [], result: [] }
    const forgotten = await surplus(control, app)
    const use = put(keys.artifactUse(artifact.digest, name), { app: name })
    return { ops: [put(key, artifact), use, ...forgetOps(name, forgotten)], result: forgotten }
  })
  return result
}

/**
 * None below the limit; then the oldest that nothing names, several at once, so that what they are
 * compared with is read seldom.
 */
async function surplus(control: Control, app: App): Promise<string[]> {
  const prefix = `artifact/${app.name}/`
  const kept = await readAll<Artifact>(control.store, prefix, ARTIFACTS_PER_APP_MAX)
  if (kept.length < ARTIFACTS_PER_APP_MAX) return []
  const named = await namedDigests(control, app)
  const free = kept.map(({ value }) => value).filter(({ digest }) => !named.has(digest))
  if (free.length === 0) throw tooMany(app.name)
  free.sort((a, b) => (a.createdAt < b.createdAt ? -1 : 1))
  return free.slice(0, FORGET_BATCH).map(({ digest }) => digest)
}

/** What the app's kept releases and its machines run, or may run again. */
async function namedDigests(control: Control, app: App): Promise<Set<string>> {
  const [releases, machines] = await Promise.all([
    readAll<Release>(control.store, `release/${app.name}/`, RELEASES_KEPT),
    machinesOfApp(control, app),
  ])
  const images = [
    ...releases.map(({ value }) => value.image),
    ...machines.map(({ machine }) => machine.config.image),
  ]
  return new Set(images.flatMap((image) => /sha256:([0-9a-f]{64})/.exec(image)?.[1] ?? []))
}

const forgetOps = (app: string, digests: readonly string[]): Op[] =>
  digests.flatMap((digest) => [del(keys.artifact(app, digest)), del(keys.artifactUse(digest, app))])

/** Not in the lane of a file already. */
async function removeUnused(control: Control, digest: string): Promise<void> {
  await inLane(control.store, fileLane(digest), async () => {
    const users = await readPage(control.store, `artifact-use/${digest}/`, { limit: 1 })
    if (users.entries.length > 0) return
    await rm(join(await artifactFolder(control), digest), { force: true })
  })
}

/** A file and the references to it change together: nobody comes between a look at these and that. */
const fileLane = (digest: string): string => `artifact-file/${digest}`

/** Undefined when there is no such file. */
const fileInfo = (path: string) => stat(path).catch(() => undefined)

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  await handle.sync().finally(() => handle.close())
}

const tooLarge = () =>
  new FairwayError(
    'too_large',
    `the artifact is larger than ${ARTIFACT_BYTES_MAX / 1024 / 1024} MiB; list what is not needed in .dockerignore`,
    { status: 413 },
  )

const tooMany = (app: string) =>
  new FairwayError(
    'too_many',
    `app "${app}" keeps ${ARTIFACTS_PER_APP_MAX} artifacts, which is the limit, and its releases and machines name them all; destroy machines that run old ones`,
  )
