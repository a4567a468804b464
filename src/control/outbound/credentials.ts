import { hash, randomBytes } from 'node:crypto'
import { isoTime } from '../../base/clock.ts'
import { FairwayError, invalid } from '../../base/errors.ts'
import { keys } from '../../model/keys.ts'
import type { OutboundProxy } from '../../model/resources.ts'
import { PORTS } from '../../model/wire.ts'
import type { Actor, Control } from '../context.ts'
import { setSecrets } from '../secrets.ts'
import { put, transact } from '../transact.ts'
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
 * is written before the old ones can end, so that a deploy in between finds one that works.
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
  const asked = input.secret && {
    app: input.secret.app,
    name: input.secret.name ?? DEFAULT_SECRET_NAME,
  }
  const issued = newCredential(found.id, isoTime(control.clock.now()))
  const secret = asked ?? found.secret
  const added = await change(control, found, (proxy) => withNew(control, proxy, issued, secret))
  const { waiting } = await control.edges.waitFor(added.revision, control.config.attachWaitMs)
  if (secret)
    await setSecrets(control, actor, {
      app: secret.app,
      values: { [secret.name]: outboundUrl(control, issued) },
    })
  const done = await change(control, found, (proxy) => endOthers(control, proxy, issued, keepMs))
  return { proxy: done.result, pairs: await pairsOf(control, done.result), issued, waiting }
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

function withNew(
  control: Control,
  proxy: OutboundProxy,
  { credential }: Issued,
  secret: OutboundProxy['secret'],
): OutboundProxy {
  const valid = stillValid(proxy, control.clock.now())
  if (valid.length >= CREDENTIALS_MAX)
    throw new FairwayError(
      'too_many',
      `outbound proxy "${proxy.name}" has ${valid.length} credentials, the most that it may have; rotate once with keep 0 to end them`,
    )
  const updatedAt = isoTime(control.clock.now())
  return { ...proxy, credentials: [...valid, credential], secret, updatedAt }
}

function endOthers(
  control: Control,
  proxy: OutboundProxy,
  { credential }: Issued,
  keepMs: number,
): OutboundProxy {
  const nowMs = control.clock.now()
  const credentials = stillValid(proxy, nowMs).flatMap((one) => {
    if (one.name === credential.name) return [one]
    const endsAtMs = Math.min(nowMs + keepMs, endOf(one))
    return endsAtMs <= nowMs ? [] : [{ ...one, expiresAt: isoTime(endsAtMs) }]
  })
  return { ...proxy, credentials, updatedAt: isoTime(nowMs) }
}

const endOf = ({ expiresAt }: { readonly expiresAt: string | null }): number =>
  expiresAt === null ? Infinity : Date.parse(expiresAt)

export const stillValid = (proxy: OutboundProxy, nowMs: number): OutboundProxy['credentials'] =>
  proxy.credentials.filter((credential) => endOf(credential) > nowMs)
