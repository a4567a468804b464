import { messageOf } from '../base/errors.ts'
import { ApiError, isNotFound } from './errors.ts'
import { machinePath } from './machines.ts'
import type { Session } from './session.ts'

/** Leases of machines: while a command has one, nobody else may change the machine. */

const TTL_SECONDS = 30
const REFRESH_MS = 10_000
const NONCE = 'fly-machine-lease-nonce'

/** `cleanUp`: also when the person has interrupted. */
interface Tidying {
  readonly cleanUp?: boolean
}

export interface Lease {
  /** For each change of the machine. They follow the nonce, which changes when the lease ran out. */
  readonly headers: Readonly<Record<string, string>>
  /** Prolongs the lease, or takes it anew when it ran out; throws when somebody else has it by now. */
  renew(): Promise<void>
}

interface HeldLease extends Lease {
  giveBack(): Promise<void>
}

/** Runs `work` while nobody else may change the machine; the lease is kept fresh and given back. */
export async function underLease<T>(
  session: Session,
  id: string,
  work: (lease: Lease) => Promise<T>,
  options: Tidying = {},
): Promise<T> {
  const lease = await take(session, id, options)
  try {
    return await work(lease)
  } finally {
    await lease.giveBack()
  }
}

/** The same for several machines at once; `work` gets each one's lease by its id. */
export async function underLeases<T>(
  session: Session,
  ids: readonly string[],
  work: (leases: ReadonlyMap<string, Lease>) => Promise<T>,
): Promise<T> {
  const leases = new Map<string, HeldLease>()
  try {
    // One order for all, so that two who want the same machines do not wait for each other.
    for (const id of [...ids].sort()) leases.set(id, await take(session, id))
    return await work(leases)
  } finally {
    for (const lease of leases.values()) await lease.giveBack()
  }
}

async function take(session: Session, id: string, options: Tidying = {}): Promise<HeldLease> {
  const path = machinePath(session, id, 'lease')
  const ask = async (headers: Lease['headers'], { cleanUp = false }: Tidying) => {
    const sent = { query: { ttl: TTL_SECONDS }, headers, cleanUp }
    const { data } = await session.client.request<{ data: { nonce: string } }>('POST', path, sent)
    return data.nonce
  }
  const headers = { [NONCE]: await ask({}, options) }
  const prolong = async () => {
    try {
      headers[NONCE] = await ask(headers, { cleanUp: true })
    } catch (error) {
      if (!isRefusal(error)) throw error
      // It ran out: this command stood still, or the API was away for too long.
      headers[NONCE] = await ask({}, { cleanUp: true }).catch((why) => {
        throw isRefusal(why) ? lost(id, why) : why
      })
    }
  }
  let last = Promise.resolve()
  // One after the other, since each needs the nonce that the one before has got.
  const renew = () => {
    last = last.catch(() => {}).then(prolong)
    return last
  }
  const refresh = setInterval(() => {
    // One that fails shows when the lease is needed: that call is then refused.
    renew().catch(() => {})
  }, REFRESH_MS).unref()
  const giveBack = async () => {
    clearInterval(refresh)
    await last.catch(() => {})
    await session.client.request('DELETE', path, { headers, cleanUp: true }).catch((error) => {
      if (!isNotFound(error))
        session.note(`Warning: the lease was not given back: ${messageOf(error)}`)
    })
  }
  return { headers, renew, giveBack }
}

const isRefusal = (error: unknown): error is ApiError =>
  error instanceof ApiError && error.status < 500

const lost = (id: string, { message, status, code }: ApiError): ApiError =>
  new ApiError(`Machine ${id} is not held any more: ${message}`, { status, code })
