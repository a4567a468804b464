import { hash, randomBytes } from 'node:crypto'
import { FairwayError, invalid } from '../base/errors.ts'
import { canonicalIp } from '../base/ip.ts'
import { appName } from '../model/app-name.ts'
import { keys } from '../model/keys.ts'
import {
  type Address,
  type App,
  EXPLAIN_GRANTS_PER_APP_MAX,
  type ExplainGrant,
} from '../model/resources.ts'
import { appFor, appNamedBy } from './access.ts'
import { listAddresses } from './addresses.ts'
import type { Actor, Control } from './context.ts'
import { readOne, readPage } from './transact.ts'

/** What the control plane does for explanations of requests: tokens, and what a URL leads to. */

/** How long a token unlocks explanations; its lease takes it away afterwards. */
export const EXPLAIN_TOKEN_MS = 300_000
const URL_CHARS_MAX = 2_048
const PORTS: Readonly<Record<string, number>> = { 'http:': 80, 'https:': 443 }

export interface ExplainToken {
  /** Told once; the store has its hash. */
  readonly token: string
  readonly expiresAtMs: number
  /** The store's revision with it. */
  readonly revision: number
}

/** A token that unlocks explanations of requests to this app, at every edge. */
export async function grantExplain(
  control: Control,
  actor: Actor,
  name: string,
): Promise<ExplainToken> {
  const app = await appFor(control, actor, name)
  const { entries } = await readPage(control.store, `explain/${app.name}/`, {
    limit: EXPLAIN_GRANTS_PER_APP_MAX,
  })
  if (entries.length >= EXPLAIN_GRANTS_PER_APP_MAX) {
    const message = `${entries.length} tokens for explanations of "${app.name}" are out already; each ends after ${EXPLAIN_TOKEN_MS / 1000} s`
    throw new FairwayError('too_many', message, { status: 429 })
  }
  const token = `fe1_${randomBytes(32).toString('base64url')}`
  const grant: ExplainGrant = {
    id: randomBytes(8).toString('hex'),
    ...{ app: app.name, org: app.org, hash: hash('sha256', token) },
    expiresAtMs: control.clock.now() + EXPLAIN_TOKEN_MS,
  }
  const lease = await control.store.leases.grant(EXPLAIN_TOKEN_MS)
  const key = keys.explainGrant(app.name, grant.id)
  const { revision } = await control.store.txn({
    then: [{ put: key, value: JSON.stringify(grant), lease }],
  })
  return { token, expiresAtMs: grant.expiresAtMs, revision }
}

/** Where a request to a URL would go in, as the listener of an edge sees it. */
export interface ExplainTarget {
  readonly app: App
  readonly address: string
  readonly port: number
  /** The Host header. */
  readonly host: string
}

/** `address`: the one to go in by; else the one that clients prefer: IPv6 (RFC 6724), then dedicated. */
export async function explainTarget(
  control: Control,
  actor: Actor,
  text: string,
  address?: string,
): Promise<ExplainTarget> {
  const url = text.length <= URL_CHARS_MAX ? URL.parse(text) : null
  const usual = url ? PORTS[url.protocol] : undefined
  if (!url || usual === undefined || url.hostname === '')
    throw invalid(`url: "${text.slice(0, 200)}" is not http://<app>.<domain>/... or https://...`)
  const port = url.port === '' ? usual : Number(url.port)
  const literal = canonicalIp(url.hostname.replace(/^\[|\]$/g, ''))
  if (literal !== undefined) {
    const app = await appOfAddress(control, actor, literal)
    return { app, address: literal, port, host: url.host }
  }
  const { appsDomains } = control.config
  const name = appName(url.hostname, appsDomains)
  if (name === undefined) {
    const names = appsDomains.map((domain) => `<app>.${domain}`).join(', ')
    throw invalid(`url: "${url.hostname}" names no app; names of apps are ${names}`)
  }
  const app = await appNamedBy(control, actor, 'url', name)
  const public_ = (await listAddresses(control, actor, name)).filter(({ kind }) => kind in RANK)
  if (address !== undefined) {
    const wanted = canonicalIp(address) ?? address
    if (!public_.some((one) => one.address === wanted))
      throw invalid(
        `address: "${address.slice(0, 64)}" is no public address of "${name}"; it has ${list(public_)}`,
      )
    return { app, address: wanted, port, host: url.host }
  }
  const [best] = public_.sort((a, b) => RANK[a.kind]! - RANK[b.kind]!)
  if (!best)
    throw invalid(`url: "${name}" has no public address; allocate one with fairway ips allocate-v6`)
  return { app, address: best.address, port, host: url.host }
}

const RANK: Readonly<Record<string, number>> = { v6: 0, v4: 1, shared_v4: 2 }
const list = (addresses: readonly Address[]): string =>
  addresses.map(({ address }) => address).join(', ') || 'none'

async function appOfAddress(control: Control, actor: Actor, address: string): Promise<App> {
  const record = await readOne<Address>(control.store, keys.address(address))
  if (record?.state === 'shared')
    throw invalid(`url: ${address} is shared by many apps; name the app by its host name`)
  if (!record || record.app === null)
    throw invalid(`url: ${address} is not an address of one of your apps`)
  try {
    return await appFor(control, actor, record.app)
  } catch {
    // Whose it is, is nobody else's business.
    throw invalid(`url: ${address} is not an address of one of your apps`)
  }
}
