import { messageOf } from '../base/errors.ts'
import { durationMs } from '../model/duration.ts'
import type { ApiMachine } from './api-types.ts'
import { isNotFound } from './errors.ts'
import { machinePath } from './machines.ts'
import type { Session } from './session.ts'

const POLL_MS = 250
/** Beside the machine's own kill_timeout. */
const STOP_MS = 5_000
const DOWN = new Set(['stopped', 'created', 'failed', 'suspended'])
const GOING = new Set(['destroying', 'destroyed'])

/**
 * Stops a machine, lets it end in its own time, and destroys it; also when the person has
 * interrupted. Never throws: a machine that stays is named, with what to do about it.
 */
export async function retire(
  session: Session,
  id: string,
  headers: Readonly<Record<string, string>> = {},
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
