import { messageOf } from '../base/errors.ts'
import { durationMs } from '../model/duration.ts'
import { type ApiMachine, type ApiRelease, METADATA } from './api-types.ts'
import { ApiError, isNotFound } from './errors.ts'
import { describe } from './healthy.ts'
import type { HeldMachine, Lease } from './leases.ts'
import { listMachines, machinePath } from './machines.ts'
import { inParallel } from './parallel.ts'
import type { Session } from './session.ts'

const POLL_MS = 250
/** Beside the machine's own kill_timeout. */
const STOP_MS = 5_000
const DOWN = new Set(['stopped', 'created', 'failed', 'suspended'])
const GOING = new Set(['destroying', 'destroyed'])
/** Time for what a machine is still answering, and for every edge to hear that nothing new goes to it. */
const DRAIN_MS = 2_000
type Headers = Lease['headers']

/**
 * Stops a machine, lets it end in its own time, and destroys it; also when the person has
 * interrupted. Never throws: a machine that stays is named, with what to do about it.
 */
export async function retire(
  session: Session,
  id: string,
  headers: Headers = {},
): Promise<boolean> {
  const path = machinePath(session, id)
  const options = { headers, cleanUp: true }
  try {
    await session.client.post(`${path}/stop`, {}, options).catch(() => {}) // It may not run.
    await down(session, id)
    await session.client.request('DELETE', path, { ...options, query: { kill: true } })
    return true
  } catch (error) {
    if (isNotFound(error)) return true
    const fix = `\`fairway machine destroy --force ${id}\``
    session.note(`Warning: machine ${id} is still there: ${messageOf(error)}. Try ${fix}.`)
    return false
  }
}

/** Until the machine's process has ended, or should have. */
async function down(session: Session, id: string): Promise<void> {
  const { clock } = session.io
  const get = () =>
    session.client.request<ApiMachine>('GET', machinePath(session, id), { cleanUp: true })
  const first = await get()
  const allowedMs = durationMs(first.config.stop_config?.timeout, STOP_MS) + STOP_MS
  const endMs = clock.now() + allowedMs
  for (let { state } = first; clock.now() < endMs; { state } = await get()) {
    if (DOWN.has(state) || GOING.has(state)) return
    await clock.sleep(POLL_MS)
  }
}

/**
 * Takes machines out of the rotation, lets them finish what they have, and destroys them; also when
 * the person has interrupted. What goes wrong with one does not keep the others; in the end it throws
 * `machines_left`, which says `state`, `what` they are, and how to be rid of those that stay.
 */
export async function retireAll(
  session: Session,
  machines: readonly ApiMachine[],
  said: { readonly state: string; readonly what: string },
  held: ReadonlyMap<string, HeldMachine> = new Map(),
): Promise<void> {
  if (machines.length === 0) return
  const headersOf = (id: string) => held.get(id)?.lease.headers ?? {}
  await inParallel(machines, (machine) => cordon(session, machine, headersOf(machine.id)))
  await session.io.clock.sleep(DRAIN_MS)
  const left: string[] = []
  await inParallel(machines, async (machine) => {
    if (await retire(session, machine.id, headersOf(machine.id)))
      session.note(`Destroyed ${describe(machine)}`)
    else left.push(machine.id)
  })
  if (left.length === 0) return
  left.sort()
  const fix = `\`fairway machine destroy --force ${left.join(' ')} -a ${session.app}\``
  throw new ApiError(
    `${said.state}, but ${said.what} are still there and may serve as well: ${left.join(', ')}. ` +
      `Finish it with ${fix}.`,
    { status: 409, code: 'machines_left' },
  )
}

/**
 * Destroys what a release made beside the machines of `before`. The machines themselves say so: the
 * answer to a creation may have been lost on the way.
 */
export async function dropNew(
  session: Session,
  release: ApiRelease,
  before: ReadonlySet<string>,
): Promise<void> {
  try {
    const now = await listMachines(session, { cleanUp: true })
    const mine = now.filter(
      ({ id, config, state }) =>
        !before.has(id) &&
        !GOING.has(state) &&
        config.metadata?.[METADATA.releaseId] === release.id,
    )
    if (mine.length === 0) return
    const kept = before.size > 0 ? '; the old ones serve on' : ''
    session.note(`Destroying the new machines (${mine.length})${kept}`)
    // Some may be in the rotation already.
    await inParallel(mine, (machine) => cordon(session, machine, {}))
    await inParallel(mine, async ({ id }) => void (await retire(session, id)))
  } catch (error) {
    session.note(`Warning: new machines may still be there: ${messageOf(error)}`)
  }
}

async function cordon(session: Session, machine: ApiMachine, headers: Headers): Promise<void> {
  const path = machinePath(session, machine.id, 'cordon')
  await session.client.post(path, undefined, { headers, cleanUp: true }).catch((error) => {
    session.note(`Warning: ${describe(machine)} may still be sent requests: ${messageOf(error)}`)
  })
}
