import { messageOf } from '../base/errors.ts'
import type { ApiMachine } from './api-types.ts'
import { ApiError, isNotFound } from './errors.ts'
import { GONE, getMachine, machinePath } from './machines.ts'
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

export interface HeldMachine {
  readonly lease: Lease
  /** As it is since nobody else may change it. */
  readonly machine: ApiMachine
}

interface OwnLease extends Lease {
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

/**
 * The same for several machines at once; `work` gets them by their ids. One that somebody has
 * destroyed is said and left out.
 */
export async function underLeases<T>(
  session: Session,
  ids: readonly string[],
  work: (held: ReadonlyMap<string, HeldMachine>) => Promise<T>,
): Promise<T> {
  const leases: OwnLease[] = []
  const held = new Map<string, HeldMachine>()
  try {
    // One order for all, so that two who want the same machines do not wait for each other.
    for (const id of [...ids].sort()) {
      const lease = await ifThere(take(session, id))
      if (lease) leases.push(lease)
      const machine = lease && (await ifThere(getMachine(session, id)))
      if (lease && machine && !GONE.has(machine.state)) held.set(id, { lease, machine })
      else noteGone(session, id)
    }
    return await work(held)
  } finally {
    for (const lease of leases) await lease.giveBack()
  }
}

export const noteGone = (session: Session, id: string): void =>
  session.note(`Machine ${id} is gone: somebody has destroyed it`)

async function ifThere<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (isNotFound(error)) return undefined
    throw error
  }
}

async function take(session: Session, id: string, options: Tidying = {}): Promise<OwnLease> {
  const path = machinePath(session, id, 'lease')
  const ask = async (headers: Lease['headers'], { cleanUp = false }: Tidying) => {
    const sent = { query: { ttl: TTL_SECONDS }, headers, cleanUp }
    const { data } = await session.client.request<{ data: { nonce: string } }>('POST', path, sent)
    return data.nonce
  }
  const headers = { [NONCE]: await ask({}, options) }
  /** After it ran out: this command stood still, or the API was away for too long. */
  const anew = async () => {
    try {
      headers[NONCE] = await ask({}, { cleanUp: true })
    } catch (error) {
      // Nobody else can change what is gone.
      if (!isNotFound(error)) throw isRefusal(error) ? lost(id, error) : error
    }
  }
  const prolong = async () => {
    try {
      headers[NONCE] = await ask(headers, { cleanUp: true })
    } catch (error) {
      if (!isRefusal(error)) throw error
      await anew()
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
