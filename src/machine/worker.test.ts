import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { pino } from 'pino'
import { FairwayError } from '../base/errors.ts'
import type { Machine, MachineEvent } from '../model/resources.ts'
import type { MachineReport } from '../model/wire.ts'
import { type MachineRecord, newRecord } from './record.ts'
import { Standbys } from './standbys.ts'
import { FakeClock, FakeNetwork, FakeRuntime, fakeMachine, quiet } from './testing.ts'
import { MachineWorker } from './worker.ts'
import type { WorkerHost } from './worker-host.ts'

/** A host whose runtime, network and records outlive its agent. */
class World {
  readonly clock = new FakeClock()
  readonly runtime = new FakeRuntime(this.clock)
  readonly network = new FakeNetwork()
  readonly records = new Map<string, MachineRecord>()
  readonly reports: MachineReport[] = []
  readonly lines: string[] = []
  /** Machines whose checks run. */
  readonly checked = new Set<string>()
  prepareError: Error | undefined
  /** Until then starts wait for a slot. */
  slot: Promise<void> | undefined
  /** Until then the artifact is fetched. */
  fetched: Promise<void> | undefined
  readonly #standbysMax: number
  #standbys = new Standbys(0)
  #workers = new Map<string, MachineWorker>()
  #wanted = new Map<string, Machine>()

  /** The agent dies at the so-manieth next thing that it does to the world; -1: it lives. */
  fuse = -1
  /** The same for the agent that follows. */
  nextFuse = -1
  /** The so-manieth next thing that the agent does fails; -1: none. */
  fault = -1
  /** How often it did. */
  faults = 0
  #dead = false

  constructor(standbysMax: number) {
    this.#standbysMax = standbysMax
  }

  #host(workers: Map<string, MachineWorker>): WorkerHost {
    /** What a dead agent does does not happen, and it never learns of it. */
    const alive = async <T>(act: () => Promise<T>): Promise<T> => {
      if (workers === this.#workers && !this.#dead && this.fuse-- === 0) this.#dead = true
      if (workers !== this.#workers || this.#dead) return new Promise<T>(() => {})
      if (this.fault-- === 0) {
        this.faults++
        throw new Error('ENOSPC: no space left on device')
      }
      return act()
    }
    const { runtime, network } = this
    return {
      runtime: {
        list: () => runtime.list(),
        create: (spec) => alive(() => runtime.create(spec)),
        start: (id) =>
          alive(() => {
            assert.ok(network.attached.has(id) && !network.silent.has(id), 'network in force')
            const { egress } = this.#wanted.get(id) ?? {}
            if (egress !== undefined)
              assert.deepEqual(network.egress.get(id), egress, 'from its first instruction')
            return runtime.start(id)
          }),
        kill: (id, signal) => alive(() => runtime.kill(id, signal)),
        delete: (id) => alive(() => runtime.delete(id)),
      },
      ...{ clock: this.clock, random: () => 0.5, log: pino({ enabled: false }) },
      folder: (id) => `/machines/${id}`,
      save: (record) =>
        alive(async () => void this.records.set(record.machine.id, structuredClone(record))),
      forget: (id) =>
        alive(async () => {
          this.records.delete(id)
          workers.delete(id)
        }),
      prepare: (machine, record) =>
        alive(async () => {
          if (this.prepareError) throw this.prepareError
          await network.attach(machine as never)
          await this.fetched
          return { record, inForce: Promise.resolve() }
        }),
      attach: (machine) => alive(() => network.attach(machine as never)),
      detach: (id) => alive(() => network.detach(id)),
      silence: (id) => alive(async () => network.silence(id)),
      standbys: this.#standbys,
      startSlot: async (task) => {
        await this.slot
        return task()
      },
      started: ({ id }) => void this.checked.add(id),
      stopped: (id) => void this.checked.delete(id),
      checks: () => ({ statuses: [], services: [] }),
      report: (report) => void this.reports.push(report),
      line: ({ message }) => void this.lines.push(message),
    }
  }

  async boot(): Promise<void> {
    this.#dead = false
    this.fuse = this.nextFuse
    this.nextFuse = -1
    const workers = new Map<string, MachineWorker>()
    this.#workers = workers
    this.#standbys = new Standbys(this.#standbysMax)
    this.checked.clear()
    this.runtime.onExit = (id, exit) => workers.get(id)?.exited(exit) ?? false
    const sandboxes = await this.runtime.list()
    for (const [id, record] of this.records) {
      const worker = new MachineWorker(this.#host(workers), record)
      workers.set(id, worker)
      const attached = this.network.attached.has(id)
      // A dead agent waits for ever.
      await Promise.race([worker.runFrom({ sandbox: sandboxes.get(id), attached }), quiet()])
    }
    await quiet()
  }

  #apply(): void {
    for (const [id, machine] of this.#wanted) {
      let worker = this.#workers.get(id)
      if (!worker) {
        worker = new MachineWorker(this.#host(this.#workers), newRecord(machine))
        this.#workers.set(id, worker)
        worker.report()
        worker.run()
      }
      worker.update(machine)
    }
    for (const [id, worker] of this.#workers) if (!this.#wanted.has(id)) worker.update(null)
  }

  async want(...machines: Machine[]): Promise<void> {
    this.#wanted = new Map(machines.map((machine) => [machine.id, machine]))
    this.#apply()
    await this.#settle()
  }

  async advance(ms: number): Promise<void> {
    await this.clock.advance(ms)
    await this.#settle()
  }

  /** A dead agent is followed by another. */
  async #settle(): Promise<void> {
    await quiet()
    while (this.#dead) {
      await this.boot()
      this.#apply()
      await quiet()
    }
  }

  /** The agent ends between two steps; another takes over. */
  async reboot(): Promise<void> {
    await this.close()
    await this.boot()
    this.#apply()
    await quiet()
  }

  async close(): Promise<void> {
    const closed = Promise.all([...this.#workers.values()].map((worker) => worker.close()))
    await Promise.race([closed, quiet()]) // The dead end nothing.
  }

  get last(): MachineReport {
    return this.reports.at(-1)!
  }

  get events(): MachineEvent[] {
    const byId = new Map(this.reports.flatMap(({ events }) => events.map((e) => [e.id, e])))
    return [...byId.values()]
  }

  states(): string[] {
    return this.reports.map((r) => r.state).filter((s, i, all) => s !== all[i - 1])
  }
}

async function world(standbysMax = 0): Promise<World> {
  const made = new World(standbysMax)
  await made.boot()
  return made
}

test('created, started, stopped, started again, destroyed, forgotten', async () => {
  const w = await world()
  const m = fakeMachine()
  await w.want(m)
  assert.deepEqual(w.states(), ['created', 'starting', 'started'])
  await w.want({ ...m, generation: 2, desired: 'stopped' })
  assert.deepEqual([w.last.state, w.last.generation], ['stopped', 2])
  await w.want({ ...m, generation: 3 })
  assert.deepEqual([w.last.state, w.last.generation], ['started', 3])
  await w.want({ ...m, generation: 4, desired: 'destroyed' })
  assert.deepEqual([w.last.state, w.last.gone], ['destroyed', true])
  assert.equal(w.network.attached.size, 0)
  await w.want()
  assert.equal(w.records.size, 0)
  const types = w.events.map(({ type }) => type)
  assert.deepEqual(types, ['launch', 'start', 'stop', 'exit', 'start', 'exit', 'destroy'])
  await w.close()
})

test('a restart is done once, also when the agent dies on the way', async () => {
  const w = await world()
  const m = fakeMachine()
  await w.want(m)
  w.runtime.deadly = new Set(['SIGKILL'])
  await w.want({ ...m, generation: 2, action: { restart: true, timeoutMs: 60_000 } })
  assert.equal(w.last.state, 'restarting')
  await w.reboot()
  w.runtime.exit(m.id, 0)
  await quiet()
  assert.deepEqual([w.last.state, w.last.generation], ['started', 2])
  await w.reboot()
  assert.equal(w.runtime.calls.filter((call) => call.startsWith('start')).length, 2)
  await w.close()
})

test('a machine that drains and is asked to start again does so once it has ended', async () => {
  for (const goesOn of [(w: World) => w.reboot(), (w: World) => w.advance(10_000)]) {
    const w = await world()
    const m = fakeMachine({}, { stop_config: { timeout: '60s' } })
    await w.want(m)
    w.runtime.deadly = new Set()
    // The first signal comes to nothing, so that the stop is planned anew without another agent.
    w.runtime.killError = new Error('runc hangs')
    await w.want({ ...m, generation: 2, desired: 'stopped' })
    assert.equal(w.last.state, 'stopping')
    await w.want({ ...m, generation: 3 })
    await goesOn(w)
    assert.deepEqual([w.last.state, w.last.generation], ['restarting', 1])
    w.runtime.exit(m.id, 0)
    await w.advance(1_000)
    assert.deepEqual([w.last.state, w.last.generation], ['started', 3])
    assert.equal(w.runtime.sandboxes.get(m.id)?.state, 'running')
    await w.close()
  }
})

test('SIGKILL follows the time-out; a kill cuts a stop short', async () => {
  const w = await world()
  const m = fakeMachine()
  w.runtime.deadly = new Set(['SIGKILL'])
  await w.want(m)
  await w.want({ ...m, generation: 2, desired: 'stopped' })
  await w.advance(4_900)
  assert.equal(w.last.state, 'stopping')
  await w.advance(200)
  assert.equal(w.last.state, 'stopped')
  await w.want({ ...m, generation: 3 })
  await w.want({ ...m, generation: 4, desired: 'stopped' })
  assert.equal(w.last.state, 'stopping')
  await w.want({ ...m, generation: 5, desired: 'destroyed', action: { kill: true } })
  assert.equal(w.last.state, 'destroyed')
  await w.close()
})

test('a crash restarts with growing waits until the retries are used up', async () => {
  const w = await world()
  const m = fakeMachine({}, { restart: { policy: 'on-failure', max_retries: 2 } })
  await w.want(m)
  for (const waitMs of [80, 160]) {
    w.runtime.exit(m.id, 1)
    await quiet()
    assert.equal(w.last.state, 'restarting')
    await w.advance(waitMs / 2)
    assert.equal(w.last.state, 'restarting')
    await w.advance(waitMs)
    assert.equal(w.last.state, 'started')
  }
  w.runtime.exit(m.id, 1)
  await quiet()
  assert.equal(w.last.state, 'stopped')
  const exits = w.events.filter(({ type }) => type === 'exit').map(({ request }) => request)
  assert.deepEqual(
    exits.map((request) => [request?.exit_event?.restarting, request?.restart_count]),
    [
      [true, 1],
      [true, 2],
      [false, 2],
    ],
  )
  await w.advance(60_000)
  assert.equal(w.last.state, 'stopped', 'nobody asked again')
  await w.close()
})

test('a signal to a machine that is down neither starts it nor forgives its crashes', async () => {
  const w = await world()
  const m = fakeMachine({}, { restart: { policy: 'on-failure', max_retries: 1 } })
  const signal = { signal: 'SIGHUP' }
  await w.want(m)
  w.runtime.exit(m.id, 1)
  await w.want({ ...m, generation: 2, action: signal })
  assert.deepEqual([w.last.state, w.last.generation], ['restarting', 2])
  assert.deepEqual(w.network.attached, new Set([m.id]), 'its network awaits the restart')
  await w.advance(1_000)
  assert.deepEqual([w.last.state, w.last.generation], ['started', 2])
  w.runtime.exit(m.id, 1)
  await w.want({ ...m, generation: 3, action: signal })
  await w.advance(60_000)
  assert.deepEqual([w.last.state, w.last.generation], ['stopped', 3], 'its retries are used up')
  assert.equal(w.network.attached.size, 0)
  await w.close()
})

test('an exit with 0 stays down, and auto_destroy takes the machine away', async () => {
  const w = await world()
  const m = fakeMachine({}, { auto_destroy: true })
  await w.want(m)
  w.runtime.exit(m.id, 0)
  await quiet()
  assert.deepEqual([w.last.state, w.last.gone], ['destroyed', true])
  await w.close()
})

test('exits while no agent was there, and machines lost with their host', async () => {
  const w = await world()
  const m = fakeMachine({}, { restart: { policy: 'no' } })
  const n = fakeMachine({ id: 'b2', v4: '172.16.0.4' })
  await w.want(m, n)
  await w.close()
  w.runtime.onExit = () => false
  w.runtime.exit(m.id, 9)
  w.runtime.sandboxes.delete(n.id)
  w.reports.length = 0
  await w.boot()
  await w.want(m, n)
  await w.advance(1)
  const last = (id: string) => w.reports.findLast(({ machine }) => machine === id)
  assert.equal(last(m.id)?.state, 'stopped')
  assert.equal(w.events.findLast(({ type }) => type === 'exit')?.request?.exit_event?.exit_code, 9)
  assert.equal(last(n.id)?.state, 'started', 'started again')
  await w.close()
})

test('agents that die in the middle of a start cost a one-off nothing', async () => {
  for (const standbys of [0, 1])
    for (let n = 0; n < 32; n++) {
      const fuse = n >> 2
      const w = await world(standbys)
      // So does the next one, at what it does first; not at all when n is a multiple of four.
      w.nextFuse = (n & 3) - 1
      const m = fakeMachine({}, { restart: { policy: 'no' } })
      if (standbys > 0) {
        await w.want(m)
        await w.want({ ...m, generation: 2, desired: 'stopped' })
      }
      w.fuse = fuse
      await w.want({ ...m, generation: 3 })
      await w.advance(60_000)
      const at = `${standbys} standby, fuses ${fuse} and ${(n & 3) - 1}`
      assert.deepEqual([w.last.state, w.last.generation], ['started', 3], at)
      const exits = w.events.filter(({ type }) => type === 'exit')
      assert.equal(exits.length, standbys, `${at}: nothing ran that could have ended`)
      await w.close()
    }
})

test('launch is tried until the control plane answers; a refusal is final', async () => {
  const w = await world()
  const m = fakeMachine()
  w.prepareError = new Error('connect ECONNREFUSED')
  await w.want(m)
  await w.advance(60_000)
  assert.equal(w.last.state, 'starting')
  w.prepareError = undefined
  await w.advance(10_000)
  assert.equal(w.last.state, 'started')
  w.prepareError = new FairwayError('not_found', 'no such artifact', { status: 404 })
  await w.want({ ...m, generation: 2, instanceId: 'other' })
  assert.deepEqual([w.last.state, w.last.generation], ['failed', 2])
  await w.close()
})

test('a sandbox that cannot be made fails after three attempts', async () => {
  const w = await world()
  for (const waitMs of [0, 200, 400]) {
    w.runtime.createError = new Error('no space')
    if (waitMs === 0) await w.want(fakeMachine())
    else await w.advance(waitMs)
  }
  assert.equal(w.last.state, 'failed')
  await w.close()
})

test('a machine that always restarts outlives a minute in which no sandbox can be made', async () => {
  const w = await world()
  const m = fakeMachine({}, { restart: { policy: 'always' } })
  await w.want(m)
  w.runtime.broken = new Error('fork: resource temporarily unavailable')
  w.runtime.exit(m.id, 1)
  await w.advance(60_000)
  assert.deepEqual([w.last.state, w.last.generation], ['restarting', 1])
  w.runtime.broken = undefined
  await w.advance(60_000)
  assert.equal(w.last.state, 'started')
  await w.close()
})

test('what is left of a failed start is taken away, if need be at the second attempt', async () => {
  const w = await world()
  w.runtime.startError = new FairwayError('no_command', 'exec: not found', { status: 422 })
  w.runtime.deleteError = new Error('runc hangs')
  await w.want(fakeMachine())
  await w.advance(10_000)
  assert.equal(w.last.state, 'failed')
  assert.equal(w.runtime.sandboxes.size + w.network.attached.size, 0)
  await w.close()
})

test('a stopped machine stands by, and its next start is nothing but that', async () => {
  const w = await world(1)
  const m = fakeMachine()
  await w.want(m)
  await w.want({ ...m, generation: 2, desired: 'stopped' })
  assert.deepEqual([w.last.state, w.runtime.sandboxes.get(m.id)?.state], ['stopped', 'created'])
  assert.deepEqual([...w.network.silent], [m.id])
  w.runtime.calls.length = 0
  await w.want({ ...m, generation: 3 })
  assert.deepEqual([w.last.state, w.last.generation], ['started', 3])
  assert.deepEqual(w.runtime.calls, ['start a1'])
  await w.close()
})

test('what stands by for another version, has died or is not to be is made anew', async () => {
  const w = await world(1)
  const m = fakeMachine()
  await w.want(m)
  let generation = 1
  const startsBy = async (change: Partial<Machine>, between = () => {}) => {
    await w.want({ ...m, generation: ++generation, desired: 'stopped' })
    between()
    await quiet()
    w.runtime.calls.length = 0
    await w.want({ ...m, ...change, generation: ++generation })
    assert.equal(w.last.state, 'started')
    return w.runtime.calls.join()
  }
  assert.match(await startsBy({ instanceId: 'other' }), /delete a1,create a1,start a1/)
  assert.match(await startsBy({ secretsVersion: 2 }), /delete a1,create a1,start a1/)
  // Its exit is heard of.
  assert.equal(await startsBy({}, () => w.runtime.wither(m.id)), 'create a1,start a1')
  // It is not, and the start finds out.
  const gone = await startsBy({}, () => w.runtime.sandboxes.delete(m.id))
  assert.equal(gone, 'start a1,delete a1,create a1,start a1')
  await w.close()
})

test('a host keeps so many machines ready: those that stopped last', async () => {
  const w = await world(2)
  const machines = ['a1', 'a2', 'a3'].map((id) => fakeMachine({ id }))
  await w.want(...machines)
  for (const last of [1, 2, 3]) {
    await w.want(
      ...machines.map((m, i) =>
        i < last ? { ...m, generation: 2, desired: 'stopped' as const } : m,
      ),
    )
  }
  assert.deepEqual([...w.runtime.sandboxes.keys()].sort(), ['a2', 'a3'])
  assert.deepEqual([...w.network.attached].sort(), ['a2', 'a3'])
  await w.reboot()
  assert.deepEqual(
    [...w.runtime.sandboxes.values()].map(({ state }) => state),
    ['created', 'created'],
  )
  await w.want()
  assert.equal(w.runtime.sandboxes.size + w.network.attached.size, 0)
  await w.close()
})

const egress = (slot: number) => ({
  ...{ pair: 'p', v4: '198.51.100.2', v6: '2001:db8:e001::2', slot, count: 1 },
})

test('another egress moves a machine that runs; a failure is said and tried again', async () => {
  const w = await world()
  const m = fakeMachine()
  await w.want(m)
  assert.deepEqual(w.network.egress.get('a1'), null)
  await w.want({ ...m, egress: egress(3) })
  assert.deepEqual(w.network.egress.get('a1'), egress(3))
  assert.deepEqual(w.records.get('a1')!.machine.egress, egress(3))
  assert.deepEqual([w.last.state, w.last.egressProblem], ['started', null])

  w.network.error = new Error('nft says no')
  await w.want({ ...m, egress: egress(4) })
  assert.match(w.last.egressProblem!, /not in force: nft says no/)
  assert.equal(w.runtime.sandboxes.get('a1')!.state, 'running')
  await w.advance(60_000)
  assert.match(w.last.egressProblem!, /nft says no/)
  w.network.error = undefined
  await w.advance(60_000)
  assert.deepEqual([w.last.egressProblem, w.network.egress.get('a1')], [null, egress(4)])
  assert.deepEqual(w.runtime.calls, ['create a1', 'start a1'], 'nothing else was done to it')
  await w.close()
})

test('a machine whose egress fails still stops; the next run starts with the newest', async () => {
  const w = await world()
  const m = fakeMachine()
  await w.want(m)
  w.network.error = new Error('nft says no')
  await w.want({ ...m, egress: egress(4) })
  await w.want({ ...m, egress: egress(4), desired: 'stopped', generation: 2 })
  await w.advance(1_000)
  assert.deepEqual([w.last.state, w.last.egressProblem], ['stopped', null])
  w.network.error = undefined
  await w.want({ ...m, egress: egress(5), desired: 'started', generation: 3 })
  assert.deepEqual([w.last.state, w.network.egress.get('a1')], ['started', egress(5)])
  await w.want({ ...m, egress: egress(6), desired: 'started', generation: 3 })
  w.runtime.exit('a1', 1)
  await w.advance(60_000)
  assert.deepEqual([w.last.state, w.network.egress.get('a1')], ['started', egress(6)])
  await w.close()
})

test('a start that had to wait begins with the newest source', async () => {
  for (const waits of ['slot', 'fetched'] as const) {
    const w = await world()
    const m = fakeMachine({ egress: egress(3) })
    const gate = Promise.withResolvers<void>()
    w[waits] = gate.promise
    await w.want(m)
    await w.want({ ...m, egress: egress(4) })
    assert.ok(!w.runtime.calls.includes('start a1'))
    gate.resolve()
    await quiet()
    assert.deepEqual([w.last.state, w.network.egress.get('a1')], ['started', egress(4)])
    assert.deepEqual(w.records.get('a1')!.machine.egress, egress(4))
    await w.close()
  }
})

test('a machine that drains gives up a source that it does not have any more', async () => {
  const w = await world()
  w.runtime.deadly = new Set(['SIGKILL'])
  const m = fakeMachine({ egress: egress(3) }, { stop_config: { timeout: 300 } })
  await w.want(m)
  const stopped = { ...m, desired: 'stopped' as const, generation: 2 }
  await w.want(stopped)
  assert.equal(w.last.state, 'stopping')
  await w.want({ ...stopped, egress: egress(4) })
  assert.deepEqual([w.last.state, w.network.egress.get('a1')], ['stopping', egress(4)])
  const signals = w.runtime.calls.filter((call) => call.startsWith('kill'))
  assert.deepEqual(signals, ['kill a1 SIGINT'], 'it drains on')
  await w.advance(300_000)
  assert.equal(w.last.state, 'stopped')
  await w.close()
})

test('what stands by gives up a source that it does not have any more', async () => {
  const w = await world(1)
  const m = fakeMachine({ egress: egress(3) })
  await w.want(m)
  const stopped = { ...m, desired: 'stopped' as const, generation: 2 }
  await w.want(stopped)
  await w.want({ ...stopped, egress: egress(4) })
  assert.deepEqual(w.network.egress.get('a1'), egress(4))
  assert.equal(w.runtime.sandboxes.get('a1')?.state, 'created')
  await w.want({ ...m, egress: egress(4), generation: 3 })
  assert.deepEqual(w.runtime.calls.slice(-1), ['start a1'])
  await w.close()
})

test('what fails once, be it a record that cannot be written, costs a machine nothing but time', async () => {
  for (const standbys of [0, 1])
    for (let fault = 0; fault < 24; fault++) {
      const at = `${standbys} standby, fault ${fault}`
      const w = await world(standbys)
      const m = fakeMachine()
      w.fault = fault
      await w.want(m)
      await w.advance(60_000)
      assert.deepEqual([w.last.state, w.last.generation], ['started', 1], at)
      await w.want({ ...m, generation: 2, desired: 'stopped' })
      await w.advance(60_000)
      assert.deepEqual([w.last.state, w.last.generation], ['stopped', 2], at)
      assert.ok(w.network.attached.size <= standbys, at)
      await w.want({ ...m, generation: 3 })
      await w.advance(60_000)
      assert.deepEqual([w.last.state, w.last.generation], ['started', 3], at)
      w.runtime.exit(m.id, 0)
      await w.advance(60_000)
      assert.equal(w.last.state, 'stopped', at)
      assert.deepEqual([w.runtime.sandboxes.size, w.network.attached.size], [0, 0], at)
      await w.want({ ...m, generation: 4, desired: 'destroyed' })
      await w.advance(60_000)
      assert.equal(w.last.gone, true, at)
      await w.close()
    }
})

/** One less than the attempts at a start that fail a machine. */
const FAULTS_MAX = 2

type Act =
  | { kind: 'egress'; slot: number }
  | { kind: 'want'; desired: Machine['desired']; how: number }
  | { kind: 'fuse' | 'fault'; after: number }
  | { kind: 'exit' | 'wither' | 'reboot' | 'time' | 'vanish' | 'hang' }

const act: fc.Arbitrary<Act> = fc.oneof(
  fc.record({
    kind: fc.constant('want' as const),
    desired: fc.constantFrom('created' as const, 'started' as const, 'stopped' as const),
    how: fc.nat(3),
  }),
  fc.record({ kind: fc.constantFrom('fuse' as const, 'fault' as const), after: fc.nat(7) }),
  fc.record({ kind: fc.constant('egress' as const), slot: fc.nat(3) }),
  fc.record({ kind: fc.constantFrom('exit', 'wither', 'reboot', 'time', 'vanish', 'hang') }),
)

async function perform(w: World, a: Act, m: Machine): Promise<Machine> {
  switch (a.kind) {
    case 'want': {
      const instanceId = a.how === 1 ? `i${m.generation}` : m.instanceId
      const action = a.how === 2 ? { restart: true } : a.how === 3 ? { kill: true } : null
      const next = { ...m, desired: a.desired, instanceId, action, generation: m.generation + 1 }
      await w.want(next)
      return next
    }
    case 'egress': {
      const next = { ...m, egress: a.slot === 0 ? null : egress(a.slot) }
      await w.want(next)
      return next
    }
    case 'fuse':
      w.fuse = a.after
      break
    case 'fault':
      if (w.faults < FAULTS_MAX) w.fault = a.after
      break
    case 'exit':
      w.runtime.exit(m.id, 1)
      break
    case 'wither':
      w.runtime.wither(m.id)
      break
    case 'reboot':
      await w.reboot()
      break
    case 'time':
      await w.advance(1_000)
      break
    case 'vanish':
      await w.close()
      w.runtime.sandboxes.clear()
      await w.reboot()
      break
    case 'hang':
      w.runtime.deadly = new Set(['SIGKILL'])
  }
  return m
}

test('whatever happens in whatever order, it ends as it was last asked to', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 14 }), fc.nat(1), async (acts, standbysMax) => {
      const w = await world(standbysMax)
      let m = fakeMachine({}, { restart: { policy: 'always' } })
      await w.want(m)
      for (const a of acts) m = await perform(w, a, m)
      await w.advance(60_000)
      await w.advance(60_000) // The agent may have died in the first minute.
      assert.equal(w.last.generation, m.generation)
      assert.equal(w.last.state, m.desired)
      const running = w.runtime.sandboxes.get(m.id)?.state === 'running'
      assert.equal(running, m.desired === 'started')
      assert.equal(w.checked.has(m.id), running)
      if (w.network.attached.has(m.id))
        assert.deepEqual(w.network.egress.get(m.id), m.egress, 'the newest source')
      assert.equal(w.last.egressProblem, null)
      const isDown = m.desired !== 'started'
      const standsBy = isDown && w.runtime.sandboxes.get(m.id)?.state === 'created'
      assert.ok(standbysMax > 0 || !standsBy)
      assert.equal(w.network.attached.size, isDown && !standsBy ? 0 : 1)
      assert.equal(w.network.silent.size, standsBy ? 1 : 0, 'nothing leaves a machine that is down')
      await w.want({ ...m, desired: 'destroyed', action: null, generation: m.generation + 1 })
      await w.advance(60_000)
      await w.advance(60_000)
      assert.equal(w.last.gone, true)
      assert.equal(w.runtime.sandboxes.size + w.network.attached.size, 0)
      await w.close()
    }),
    { numRuns: 150 },
  )
})
