import type { Command } from 'commander'
import { durationMs } from '../../model/duration.ts'
import { groupOf } from '../api-types.ts'
import { usage } from '../errors.ts'
import type { Io } from '../io.ts'
import { underLease } from '../leases.ts'
import {
  deployedMachines,
  getMachine,
  machinePath,
  sessionOfMachine,
  waitForState,
} from '../machines.ts'
import { belowMinimum, minimumOf, runningIn } from '../minimum.ts'
import { action, type Session } from '../session.ts'
import { registerMachineChanges } from './machine-changes.ts'
import { registerMachineEgress } from './machine-egress.ts'
import { registerMachineExec } from './machine-exec.ts'
import { registerMachineViews } from './machine-views.ts'

export function registerMachine(program: Command, io: Io): void {
  const machine = program
    .command('machine')
    .alias('machines')
    .alias('m')
    .description('Machines of an app, one by one')
  // Commander takes one alias per call and suggests from all of them.
  registerMachineViews(machine, io)
  registerMachineChanges(machine, io)
  registerLifecycle(machine, io)
  registerEnds(machine, io)
  registerMachineEgress(machine, io)
  registerMachineExec(machine, io)
}

const WAIT_DEFAULT_MS = 60_000

/** Runs `work` for each id, each in the session of its app. */
async function eachMachine(
  session: Session,
  ids: readonly string[],
  work: (session: Session, id: string) => Promise<void>,
): Promise<void> {
  for (const id of ids) await work(await sessionOfMachine(session, id), id)
}

function registerLifecycle(machine: Command, io: Io): void {
  machine
    .command('start <ids...>')
    .description('Start stopped machines')
    .action(action(io, (session, ids: string[]) => eachMachine(session, ids, start)))
  machine
    .command('stop <ids...>')
    .description('Stop machines; they keep their configuration and addresses')
    .option('-s, --signal <name>', 'signal instead of the kill_signal')
    .option('--timeout <seconds>', 'time before they are killed')
    .option('-w, --wait-timeout <time>', 'wait so long until they are stopped')
    .action(
      action(io, (session, ids: string[], flags: StopFlags) =>
        eachMachine(session, ids, (s, id) => stop(s, id, flags)),
      ),
    )
  machine
    .command('suspend <ids...>')
    .description('Stop machines; their memory is not kept')
    .option('-w, --wait-timeout <time>', 'wait so long until they are stopped')
    .action(
      action(io, (session, ids: string[], flags: WaitFlags) =>
        eachMachine(session, ids, (s, id) => suspend(s, id, flags)),
      ),
    )
  machine
    .command('restart <ids...>')
    .description('Restart machines')
    .option('-s, --signal <name>', 'signal instead of the kill_signal')
    .option('--time <seconds>', 'time before they are killed')
    .option('--force', 'kill at once')
    .action(
      action(io, (session, ids: string[], flags: RestartFlags) =>
        eachMachine(session, ids, (s, id) => restart(s, id, flags)),
      ),
    )
  for (const verb of ['cordon', 'uncordon'] as const) {
    const what = verb === 'cordon' ? 'Take machines out of' : 'Put machines back into'
    machine
      .command(`${verb} <ids...>`)
      .description(`${what} the rotation; they go on running`)
      .action(
        action(io, (session, ids: string[]) =>
          eachMachine(session, ids, (s, id) => cordon(s, id, verb)),
        ),
      )
  }
}

function registerEnds(machine: Command, io: Io): void {
  machine
    .command('kill <id>')
    .description('Send SIGKILL to a machine')
    .action(action(io, (session, id: string) => eachMachine(session, [id], kill)))
  machine
    .command('destroy <ids...>')
    .alias('rm')
    .alias('remove')
    .description('Destroy stopped machines')
    .option('-f, --force', 'also those that run')
    .action(
      action(io, (session, ids: string[], flags: { force?: boolean }) =>
        eachMachine(session, ids, (s, id) => destroy(s, id, flags.force ?? false)),
      ),
    )
}

interface WaitFlags {
  readonly waitTimeout?: string
}

interface StopFlags extends WaitFlags {
  readonly signal?: string
  readonly timeout?: string
}

interface RestartFlags {
  readonly signal?: string
  readonly time?: string
  readonly force?: boolean
}

const seconds = (text: string | undefined): string | undefined =>
  text !== undefined && /^\d+$/.test(text) ? `${text}s` : text

async function start(session: Session, id: string): Promise<void> {
  const path = machinePath(session, id, 'start')
  await underLease(session, id, async ({ headers }) => {
    const done = await session.client.post<{ status?: string; message?: string }>(path, undefined, {
      headers,
    })
    if (done.status === 'error') throw usage(`Machine ${id} did not start: ${done.message}`)
  })
  await waitAndSay(session, id, 'started')
}

async function stop(session: Session, id: string, flags: StopFlags): Promise<void> {
  const body = { id, signal: flags.signal, timeout: seconds(flags.timeout) }
  const path = machinePath(session, id, 'stop')
  await underLease(session, id, ({ headers }) => session.client.post(path, body, { headers }))
  await stopped(session, id, 'stop', flags)
}

async function suspend(session: Session, id: string, flags: WaitFlags): Promise<void> {
  const path = machinePath(session, id, 'suspend')
  await underLease(session, id, ({ headers }) => session.client.post(path, undefined, { headers }))
  await stopped(session, id, 'suspend', flags)
}

async function stopped(session: Session, id: string, verb: string, flags: WaitFlags) {
  await noteMinimum(session, id)
  if (flags.waitTimeout === undefined) return session.print(`Sent ${verb} to machine ${id}`)
  const ms = durationMs(seconds(flags.waitTimeout), WAIT_DEFAULT_MS)
  await waitAndSay(session, id, 'stopped', ms)
}

/** Stopping is what was asked for; that it goes below `min_machines_running` is worth a word. */
async function noteMinimum(session: Session, id: string): Promise<void> {
  const machines = await deployedMachines(session).catch(() => [])
  const stopped = machines.find((machine) => machine.id === id)
  const minimum = stopped && minimumOf(stopped.config)
  if (!minimum || stopped.region !== minimum.region) return
  const group = machines.filter((one) => one.id !== id && groupOf(one) === groupOf(stopped))
  const running = runningIn(minimum.region, group)
  const warning = belowMinimum(minimum, groupOf(stopped)!, running)
  if (warning) session.note(warning)
}

async function restart(session: Session, id: string, flags: RestartFlags): Promise<void> {
  const query = {
    force_stop: flags.force ?? false,
    timeout: seconds(flags.time),
    signal: flags.signal,
  }
  const path = machinePath(session, id, 'restart')
  await underLease(session, id, ({ headers }) =>
    session.client.request('POST', path, { query, headers }),
  )
  await waitAndSay(session, id, 'started')
}

async function waitAndSay(
  session: Session,
  id: string,
  state: 'started' | 'stopped',
  timeoutMs = WAIT_DEFAULT_MS,
): Promise<void> {
  const waiting = waitForState(session, id, state, { timeoutMs })
  await session.during(`Waiting for machine ${id} to be ${state}`, waiting)
  session.print(`Machine ${id} is ${state}`)
}

async function cordon(session: Session, id: string, verb: 'cordon' | 'uncordon'): Promise<void> {
  const path = machinePath(session, id, verb)
  await underLease(session, id, ({ headers }) => session.client.post(path, undefined, { headers }))
  session.print(`Machine ${id} is ${verb}ed`)
}

async function kill(session: Session, id: string): Promise<void> {
  await session.client.post(machinePath(session, id, 'signal'), { signal: 9 })
  session.print(`Sent SIGKILL to machine ${id}`)
}

const RESTING = new Set(['stopped', 'suspended', 'created', 'failed'])

async function destroy(session: Session, id: string, force: boolean): Promise<void> {
  const machine = await getMachine(session, id)
  if (!force && !RESTING.has(machine.state)) {
    throw usage(
      `Machine ${id} is ${machine.state}. Stop it first (fairway machine stop ${id}), or give --force.`,
    )
  }
  await underLease(session, id, ({ headers }) =>
    session.client.request('DELETE', machinePath(session, id), { query: { kill: force }, headers }),
  )
  session.print(`Destroyed machine ${id}`)
}
