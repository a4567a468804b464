import type { MachineConfig } from '../model/machine-config.ts'
import type { ExitEvent, MachineEvent } from '../model/resources.ts'
import type { LogLine } from '../model/wire.ts'
import { type FakeApi, type fakeMachine, Reply } from './testing.ts'
import type { FakeState } from './testing-world.ts'

/** Machines of a fake world that end, log and are counted. */

export const exitedWith = (code: number, more: Partial<ExitEvent> = {}): MachineEvent => ({
  ...{ id: `exit-${code}`, type: 'exit', status: 'stopped', source: 'flyd', timestamp: 1 },
  request: {
    exit_event: {
      ...{ exit_code: code, guest_exit_code: code, guest_signal: -1, oom_killed: false },
      ...{ requested_stop: false, restarting: false, signal: -1, exited_at: 'now' },
      ...more,
    },
  },
})

export const logLine = (machine: string, message: string, source: LogLine['source'] = 'app') =>
  `${JSON.stringify({
    ...{ timestamp: '2026-06-01T12:00:00Z', app: 'hello', machine, region: 'iad', host: 'iad1' },
    ...{ level: 'info', source, message },
  })}\n`

interface JobBehaviour {
  readonly code: number
  readonly lines: readonly string[]
  /** Never ends by itself. */
  readonly hangs?: boolean
}

/** Machines with `auto_destroy` run once when they are started: log, exit, and are gone. */
export function withJobs(api: FakeApi, state: FakeState, behaviour: JobBehaviour): void {
  const base = '/v1/apps/[^/]+/machines/([^/]+)'
  const gone = new Map<string, ReturnType<typeof fakeMachine>>()
  const isJob = (id: string | undefined) => id !== undefined && !gone.has(id)
  const end = (id: string) => {
    const machine = state.machines.find((m) => m.id === id)!
    const destroyed = { state: 'destroyed' as const, events: [exitedWith(behaviour.code)] }
    gone.set(id, { ...machine, ...destroyed })
    state.machines = state.machines.filter((m) => m.id !== id)
  }
  api.on('GET /api/v1/apps/[^/]+/logs', ({ query }) =>
    ['\n', ...behaviour.lines.map((line) => logLine(query.machine ?? '', line))].join(''),
  )
  api.on(`POST ${base}/start`, (_, id) => {
    if (isJob(id) && !behaviour.hangs) end(id!)
    return { ok: true, status: 'success' }
  })
  api.on(`GET ${base}/wait`, ({ query }, id) => {
    if (!query.state?.includes('destroyed')) return { ok: true }
    return gone.has(id!) ? { ok: true } : new Reply(408, { error: 'deadline_exceeded' })
  })
  api.on(`GET ${base}`, (_, id) => {
    const found = state.machines.find((m) => m.id === id) ?? gone.get(id!)
    return found ?? new Reply(404, { error: 'machine not found' })
  })
  api.on(`POST ${base}/stop`, (_, id) => {
    if (state.machines.some((m) => m.id === id)) end(id!)
    return { ok: true }
  })
}

/** The configs of all machines that were asked for, in order. */
export const created = (api: FakeApi): { config: MachineConfig; region?: string }[] =>
  api.requests
    .filter((r) => r.method === 'POST' && /\/machines$/.test(r.path))
    .map((r) => r.body as { config: MachineConfig; region?: string })
