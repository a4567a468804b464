import { hash, randomBytes } from 'node:crypto'
import { isoTime } from '../../base/clock.ts'
import { conflict, FairwayError, invalid } from '../../base/errors.ts'
import { keys } from '../../model/keys.ts'
import type { App, OutboundProxy } from '../../model/resources.ts'
import { PORTS } from '../../model/wire.ts'
import { appNamedBy } from '../access.ts'
import type { Actor, Control } from '../context.ts'
import { checkSecret, setSecrets } from '../secrets.ts'
import { inLane, put, readOne, transact } from '../transact.ts'
import type { OutboundIssued } from './outbound.ts'
import { outboundFor, outboundWithin, pairsOf } from './records.ts'

/** Credentials of outbound proxies: told once, kept as hashes, replaced without a gap. */

export const CREDENTIALS_MAX = 8
/** What an app reads its proxy's URL from, as those who move over already do (E12). */
export const DEFAULT_SECRET_NAME = 'QUOTAGUARDSTATIC_URL'
/** How long the former credentials stay valid unless somebody says so. */
export const KEEP_DEFAULT_MS = 24 * 3_600_000
export const KEEP_MS_MAX = 90 * 24 * 3_600_000
const SECRET_BYTES = 32
const URL_PORTS = {
  http: PORTS.outboundHttp,
  socks5h: PORTS.outboundSocks,
  https: PORTS.outboundTls,
} as const

export interface Issued {
  readonly credential: OutboundProxy['credentials'][number]
  readonly secret: string
}

export function newCredential(proxy: string, now: string): Issued {
  const secret = randomBytes(SECRET_BYTES).toString('base64url')
  const name = `${proxy}-${randomBytes(3).toString('hex')}`
  const credential = { name, hash: hash('sha256', secret), createdAt: now, expiresAt: null }
  return { credential, secret }
}

export interface RotateOutbound {
  readonly org: string
  readonly id: string
  /** How long the others stay valid; 0 ends them now. */
  readonly keepMs?: number | undefined
  /** Sets this app's secret to the new URL; from then on each rotation does. */
  readonly secret?: { readonly app: string; readonly name?: string | undefined } | undefined
}

/**
 * A new credential. The others end after `keepMs`, and not later than they did before. The app's secret
 * is written before the old ones can end, so that a deploy in between finds one that works. Rotations
 * of a proxy follow each other, so that the secret is what the last one made.
 */
export async function rotateOutbound(
  control: Control,
  actor: Actor,
  input: RotateOutbound,
): Promise<OutboundIssued> {
  const keepMs = input.keepMs ?? KEEP_DEFAULT_MS
  if (!Number.isInteger(keepMs) || keepMs < 0 || keepMs > KEEP_MS_MAX)
    throw invalid(`keep: ${keepMs} ms is not a time from 0 to ${KEEP_MS_MAX} ms (90 days)`)
  const found = await outboundFor(control, actor, input.org, input.id)
  const asked = input.secret && (await secretOf(control, actor, found, input.secret))
  return inLane(control.store, `outbound/${found.id}`, () =>
    rotate(control, actor, found, keepMs, asked),
  )
}

async function rotate(
  control: Control,
  actor: Actor,
  found: OutboundProxy,
  keepMs: number,
  asked: OutboundProxy['secret'] | undefined,
): Promise<OutboundIssued> {
  const issued = newCredential(found.id, isoTime(control.clock.now()))
  const added = await change(control, found, (proxy) => withNew(control, proxy, issued, keepMs))
  const { waiting } = await control.edges.waitFor(added.revision, control.config.attachWaitMs)
  const secret = asked ?? (await writableSecret(control, added.result))
  if (secret) {
    const values = { [secret.name]: outboundUrl(control, issued) }
    try {
      await setSecrets(control, actor, { app: secret.app, values })
    } catch (error) {
      await change(control, found, (proxy) => without(proxy, issued))
      throw error
    }
  }
  const done = await change(control, found, (proxy) => {
    const ended = endOthers(control, proxy, added.result, issued, keepMs)
    return asked ? { ...ended, secret: asked } : ended
  })
  return { proxy: done.result, pairs: await pairsOf(control, done.result), issued, waiting }
}

/** The secret that was asked for, of an app of the proxy's own org. */
async function secretOf(
  control: Control,
  actor: Actor,
  proxy: OutboundProxy,
  asked: NonNullable<RotateOutbound['secret']>,
): Promise<NonNullable<OutboundProxy['secret']>> {
  const app = await appNamedBy(control, actor, 'app', asked.app)
  if (app.org !== proxy.org)
    throw invalid(
      `app: "${app.name}" is of org "${app.org}", and the outbound proxy of "${proxy.org}"; name an app of that org`,
    )
  const name = asked.name ?? DEFAULT_SECRET_NAME
  checkSecret(name, null)
  return { app: app.name, name }
}

/** The secret on record, unless its app is gone, or has become another org's since. */
async function writableSecret(
  control: Control,
  { secret, org }: OutboundProxy,
): Promise<OutboundProxy['secret']> {
  const app = secret && (await readOne<App>(control.store, keys.app(secret.app)))
  return app?.org === org ? secret : null
}

/** The URL that clients take, with the credential in it. */
export const outboundUrl = (
  control: Control,
  { credential, secret }: Issued,
  kind: keyof typeof URL_PORTS = 'http',
): string =>
  `${kind}://${credential.name}:${secret}@outbound.${control.config.appsDomains[0]}:${URL_PORTS[kind]}`

function change(
  control: Control,
  found: OutboundProxy,
  next: (proxy: OutboundProxy) => OutboundProxy,
) {
  return transact(control, async (read) => {
    const proxy = next(await outboundWithin(read, found))
    return { ops: [put(keys.outbound(proxy.id), proxy)], result: proxy }
  })
}

/** With `keepMs` 0 there may be one more for a moment: else nothing could end them. */
function withNew(
  control: Control,
  proxy: OutboundProxy,
  { credential }: Issued,
  keepMs: number,
): OutboundProxy {
  const valid = stillValid(proxy, control.clock.now())
  if (keepMs > 0 && valid.length >= CREDENTIALS_MAX)
    throw new FairwayError(
      'too_many',
      `outbound proxy "${proxy.name}" has ${valid.length} credentials, the most that it may have; rotate once with keep 0 to end them`,
    )
  const updatedAt = isoTime(control.clock.now())
  return { ...proxy, credentials: [...valid, credential], updatedAt }
}

const without = (proxy: OutboundProxy, { credential }: Issued): OutboundProxy => ({
  ...proxy,
  credentials: proxy.credentials.filter(({ name }) => name !== credential.name),
})

/** Ends those of `before`: what was issued since is not ours to end, and may have ended ours. */
function endOthers(
  control: Control,
  proxy: OutboundProxy,
  before: OutboundProxy,
  { credential }: Issued,
  keepMs: number,
): OutboundProxy {
  const nowMs = control.clock.now()
  const valid = stillValid(proxy, nowMs)
  if (!valid.some(({ name }) => name === credential.name))
    throw conflict(
      `outbound proxy "${proxy.name}": another rotation at the same time has ended the credential of this one; use the URL of that one, or rotate again`,
    )
  const others = new Set(before.credentials.map(({ name }) => name))
  others.delete(credential.name)
  const credentials = valid.flatMap((one) => {
    if (!others.has(one.name)) return [one]
    const endsAtMs = Math.min(nowMs + keepMs, endOf(one))
    return endsAtMs <= nowMs ? [] : [{ ...one, expiresAt: isoTime(endsAtMs) }]
  })
  return { ...proxy, credentials, updatedAt: isoTime(nowMs) }
}

const endOf = ({ expiresAt }: { readonly expiresAt: string | null }): number =>
  expiresAt === null ? Infinity : Date.parse(expiresAt)

export const stillValid = (proxy: OutboundProxy, nowMs: number): OutboundProxy['credentials'] =>
  proxy.credentials.filter((credential) => endOf(credential) > nowMs)
