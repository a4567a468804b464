import { readFileSync } from 'node:fs'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, systemClock } from '../base/clock.ts'
import { messageOf, notFound } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Exec } from '../kernel/exec.ts'
import type { Host, Machine } from '../model/resources.ts'
import type { ExecLine, LaunchSpec, LogLine, MachineReport } from '../model/wire.ts'
import { artifactFolders } from './artifacts.ts'
import { prepareCgroups, removeCgroups } from './cgroups.ts'
import { probe } from './checks/probe.ts'
import { CheckRunner, type Probe } from './checks/runner.ts'
import { createConmonRuntime, findCommand, runcCommand } from './conmon.ts'
import { type ExecCall, execInMachine, failed } from './exec/run.ts'
import { rotateAppLog } from './logs/rotate.ts'
import { LogStore, type LogsCall } from './logs/store.ts'
import type { MachineNetwork } from './network.ts'
import { attachedMachine, type PrepareOptions, prepareMachine } from './prepare.ts'
import { processesOf } from './processes.ts'
import { type BundleStamp, newRecord, readRecord, writeRecord } from './record.ts'
import type { ExitListener, Runtime } from './runtime.ts'
import { Standbys } from './standbys.ts'
import { createSlots } from './start-slots.ts'
import { prepareSystem, pruneSystem } from './system.ts'
import { inUserNamespace, parseIdMap } from './user.ts'
import { MachineWorker } from './worker.ts'
import type { WorkerHost } from './worker-host.ts'

export interface MachineManagerDeps {
  readonly host: Host
  /** Prefix of machines' default IPv6 sources; null: the host's own address. */
  readonly machinesV6: string | null
  /** Persistent: machines' folders, unpacked artifacts, logs. */
  readonly stateDir: string
  /** Gone with the world: the runtime's state, exit records. */
  readonly runDir: string
  readonly exec: Exec
  readonly network: MachineNetwork
  /** What a start needs from the control plane. A FairwayError with a 4xx status is final. */
  readonly launch: (machine: Machine) => Promise<LaunchSpec>
  /** Path of the verified .tar.gz, which is removed when it cannot be unpacked. */
  readonly artifact: (digest: string) => Promise<string>
  readonly appsDomain: string
  readonly region: string
  readonly clock?: Clock
  readonly log: Logger
  readonly random?: () => number
  /** The Node binary that machines find at /.fairway/bin/node. */
  readonly nodePath: string
  /** Name servers of the machines: fdaa::3. */
  readonly resolvers: readonly string[]
  /** Absolute path in the cgroup hierarchies; null: no limits. Removed by `removeCgroups`. */
  readonly cgroupRoot: string | null
  /** Stopped machines that are kept ready to start; STANDBYS_MAX if not given. */
  readonly standbysMax?: number
  /** For tests. */
  readonly runtime?: (onExit: ExitListener, signal: AbortSignal) => Promise<Runtime>
  readonly probe?: Probe
}

export interface MachineManager {
  /** Adopts what runs. Before the first `apply`. */
  start(): Promise<void>
  /**
   * The whole desired state of this host; called again for each change. Machines that are not in it
   * are taken away, except those in `unreadable`: their record says nothing that can be acted upon.
   */
  apply(machines: ReadonlyMap<string, Machine>, unreadable?: ReadonlySet<string>): void
  onReport(callback: (report: MachineReport) => void): void
  /** The last lines of an app's log, then new ones while `follow` and until `signal` fires. */
  logs(call: LogsCall, signal: AbortSignal): AsyncIterable<LogLine>
  /** Processes of a machine. Throws `not_found` when it does not run here. */
  ps(machineId: string): Promise<unknown>
  /** Runs a command inside a machine: its output, then one `exit`, which says what went wrong. */
  exec(call: ExecCall, signal: AbortSignal): AsyncIterable<ExecLine>
  /** A line of the edge, for its app's log. */
  edgeLog(line: LogLine): void
  /** A service's bucket of load, counted by the edge. */
  setLoad(machine: string, service: number, load: 0 | 1 | 2): void
  /** Stops managing. Machines live on. */
  close(): Promise<void>
}

/** Starts at one time: more would only take turns on the processors. */
const STARTS_MAX = 4
/** Commands that run inside machines at one time. */
export const EXECS_MAX = 32
/** Between looks at the sizes of logs and at unused artifacts. */
const UPKEEP_MS = 2_000
const PRUNE_EVERY = 300
const NONE: ReadonlySet<string> = new Set()

export function createMachineManager(deps: MachineManagerDeps): MachineManager {
  return new Manager(deps)
}

class Manager implements MachineManager {
  readonly #deps: MachineManagerDeps
  readonly #clock: Clock
  readonly #workers = new Map<string, MachineWorker>()
  readonly #loads = new Map<string, (0 | 1 | 2)[]>()
  readonly #listeners: ((report: MachineReport) => void)[] = []
  readonly #checks: CheckRunner
  readonly #logs: LogStore
  readonly #closing = new AbortController()
  #desired: ReadonlyMap<string, Machine> = new Map()
  #host: WorkerHost | undefined
  #runtime: Runtime | undefined
  #prune: (() => Promise<void>) | undefined
  #userNamespace = false
  #execs = 0

  constructor(deps: MachineManagerDeps) {
    this.#deps = deps
    this.#clock = deps.clock ?? systemClock
    this.#checks = new CheckRunner({
      clock: this.#clock,
      random: deps.random ?? Math.random,
      probe: deps.probe ?? probe,
      onChange: (id) => this.#workers.get(id)?.report(),
    })
    this.#logs = new LogStore({
      stateDir: deps.stateDir,
      host: deps.host.id,
      region: deps.region,
      clock: this.#clock,
      machinesOf: (app) =>
        [...this.#workers.values()].filter((worker) => worker.app === app).map(({ id }) => id),
      folder: this.#folder,
    })
  }

  #folder = (id: string): string => join(this.#deps.stateDir, 'machines', id)

  async start(): Promise<void> {
    const { stateDir, runDir, exec } = this.#deps
    const machinesDir = join(stateDir, 'machines')
    await mkdir(machinesDir, { recursive: true, mode: 0o700 })
    const uidMap = parseIdMap(readFileSync('/proc/self/uid_map', 'utf8'))
    const userNamespace = inUserNamespace(uidMap)
    const onExit: ExitListener = (id, exit) => this.#workers.get(id)?.exited(exit) ?? false
    const { signal } = this.#closing
    this.#userNamespace = userNamespace
    this.#runtime = this.#deps.runtime
      ? await this.#deps.runtime(onExit, signal)
      : await createConmonRuntime({ exec, runDir, machinesDir, userNamespace, onExit, signal })
    const systemDir = join(stateDir, 'system')
    const system = prepareSystem(systemDir, findCommand('tini-static', 'tini'))
    this.#host = this.#workerHost(this.#runtime, { uidMap, userNamespace, system })
    await this.#adopt(machinesDir, this.#runtime)
    pruneSystem(systemDir, new Set([system.name, ...this.#bundles().map((stamp) => stamp.system)]))
    await this.#logs.prune()
    void this.#upkeep()
  }

  #workerHost(
    runtime: Runtime,
    of: Pick<PrepareOptions, 'uidMap' | 'userNamespace' | 'system'>,
  ): WorkerHost {
    const { deps, clock } = { deps: this.#deps, clock: this.#clock }
    const artifacts = artifactFolders(join(deps.stateDir, 'artifacts'), deps.artifact)
    this.#prune = () => artifacts.prune(new Set(this.#bundles().map(({ artifact }) => artifact)))
    const prepare = {
      ...{ host: deps.host, machinesV6: deps.machinesV6, network: deps.network },
      ...{ artifacts, launch: deps.launch },
      ...{ resolvers: deps.resolvers, nodePath: deps.nodePath, folder: this.#folder, ...of },
      cgroupRoot: this.#cgroupRoot(of.userNamespace),
    }
    return {
      ...{ runtime, clock, log: deps.log, random: deps.random ?? Math.random },
      folder: this.#folder,
      startSlot: createSlots(STARTS_MAX),
      prepare: (machine, record) => prepareMachine(prepare, machine, record),
      attach: (machine, options) => deps.network.attach(attachedMachine(machine), options),
      detach: (id) => deps.network.detach(id),
      silence: async (id) => deps.network.silence?.(id),
      standbys: new Standbys(deps.standbysMax),
      started: (machine) => this.#checks.start(machine),
      stopped: (id) => {
        this.#checks.stop(id)
        this.#loads.delete(id)
      },
      checks: (id) => this.#checksOf(id),
      report: (report) => {
        for (const listener of this.#listeners) listener(report)
      },
      line: (line) => this.#logs.machine(line),
      save: (record) => writeRecord(this.#folder(record.machine.id), record),
      forget: (id) => this.#forget(id),
    }
  }

  #cgroupRoot(userNamespace: boolean): string | null {
    const { cgroupRoot, log } = this.#deps
    if (cgroupRoot === null) return null
    // An ordinary user would have to be given a cgroup of their own.
    const answer = userNamespace
      ? { usable: false as const, reason: 'the runtime is inside a user namespace' }
      : prepareCgroups(cgroupRoot)
    if (answer.usable) return cgroupRoot
    log.warn({ reason: answer.reason }, 'machines run without limits of memory and processes')
    return null
  }

  /** Makes a worker for each machine that was here, and takes away what nobody answers for. */
  async #adopt(machinesDir: string, runtime: Runtime): Promise<void> {
    const [sandboxes, networks, ids] = await Promise.all([
      runtime.list(),
      this.#deps.network.list(),
      readdir(machinesDir),
    ])
    const attached = new Set(networks)
    await Promise.all(
      ids.map(async (id) => {
        const record = await readRecord(this.#folder(id))
        if (record?.machine.id !== id) return rm(this.#folder(id), { recursive: true })
        const worker = new MachineWorker(this.#host!, record)
        this.#workers.set(id, worker)
        await worker.runFrom({ sandbox: sandboxes.get(id), attached: attached.has(id) })
      }),
    )
    const unknown = (id: string) => !this.#workers.has(id)
    for (const id of [...sandboxes.keys()].filter(unknown))
      await this.#quietly(() => runtime.delete(id))
    for (const id of networks.filter(unknown))
      await this.#quietly(() => this.#deps.network.detach(id))
  }

  async #quietly(task: () => Promise<void>): Promise<void> {
    await task().catch((error) => {
      this.#deps.log.warn({ error: messageOf(error) }, 'a left-over could not be taken away')
    })
  }

  apply(machines: ReadonlyMap<string, Machine>, unreadable: ReadonlySet<string> = NONE): void {
    const before = this.#desired
    this.#desired = machines
    for (const [id, machine] of machines) {
      if (before.get(id) === machine) continue
      const worker = this.#workers.get(id) ?? this.#add(machine)
      worker.update(machine)
    }
    for (const [id, worker] of this.#workers)
      if (!machines.has(id) && !unreadable.has(id)) worker.update(null)
  }

  #add(machine: Machine): MachineWorker {
    const worker = new MachineWorker(this.#host!, newRecord(machine))
    this.#workers.set(machine.id, worker)
    worker.report()
    worker.run()
    return worker
  }

  async #forget(id: string): Promise<void> {
    this.#checks.forget(id)
    this.#loads.delete(id)
    await this.#logs.forget(id)
    await rm(this.#folder(id), { recursive: true, force: true })
    this.#workers.delete(id)
    // Asked for again while the last of it went away.
    const machine = this.#desired.get(id)
    if (machine && !this.#closing.signal.aborted) this.#add(machine).update(machine)
  }

  onReport(callback: (report: MachineReport) => void): void {
    this.#listeners.push(callback)
  }

  #checksOf(id: string): ReturnType<WorkerHost['checks']> {
    const machine = this.#workers.get(id)?.record.machine ?? this.#desired.get(id)
    const loads = this.#loads.get(id) ?? []
    const services = (machine?.config.services ?? []).map((_, index) => ({
      healthy: this.#checks.healthy(machine!, index),
      load: loads[index] ?? (0 as const),
    }))
    return { statuses: this.#checks.statuses(id), services }
  }

  logs(call: LogsCall, signal: AbortSignal): AsyncIterable<LogLine> {
    return this.#logs.read(call, AbortSignal.any([signal, this.#closing.signal]))
  }

  async ps(machineId: string): Promise<unknown> {
    const sandbox = (await this.#runtime!.list()).get(machineId)
    // A machine that stands by has a sandbox, and no process of its own.
    if (!sandbox?.pid || !this.#workers.get(machineId)?.record.run)
      throw notFound(`machine ${machineId} does not run on ${this.#deps.host.id}`)
    return processesOf(sandbox.pid)
  }

  async *exec(call: ExecCall, signal: AbortSignal): AsyncGenerator<ExecLine> {
    const run = this.#workers.get(call.machine)?.record.run
    if (!run?.startedAtMs || run.stopRequested) {
      yield failed('machine_not_started', `machine ${call.machine} does not run`)
      return
    }
    if (this.#execs >= EXECS_MAX) {
      yield failed('busy', `${EXECS_MAX} commands run in machines of this host; try again later`)
      return
    }
    this.#execs += 1
    try {
      const runc = runcCommand(this.#deps.runDir, this.#userNamespace)
      const place = { runc, folder: this.#folder(call.machine), clock: this.#clock }
      yield* execInMachine(place, call, AbortSignal.any([signal, this.#closing.signal]))
    } finally {
      this.#execs -= 1
    }
  }

  edgeLog(line: LogLine): void {
    this.#logs.edge(line)
  }

  setLoad(machine: string, service: number, load: 0 | 1 | 2): void {
    const worker = this.#workers.get(machine)
    if (!worker || service >= (worker.record.machine.config.services?.length ?? 0)) return
    const loads = this.#loads.get(machine) ?? []
    if ((loads[service] ?? 0) === load) return
    loads[service] = load
    this.#loads.set(machine, loads)
    worker.report()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#checks.close()
    await Promise.all([...this.#workers.values()].map((worker) => worker.close()))
    await this.#logs.close()
  }

  /** The bundles of all machines here: what they are made from is in use. */
  #bundles(): BundleStamp[] {
    return [...this.#workers.values()]
      .map(({ record }) => record.bundle)
      .filter((stamp) => stamp !== null)
  }

  async #upkeep(): Promise<void> {
    const { signal } = this.#closing
    for (let turn = 1; !signal.aborted; turn++) {
      await this.#clock.sleep(UPKEEP_MS, signal).catch(() => {})
      if (signal.aborted) return
      for (const { id, record } of this.#workers.values())
        if (record.run) await rotateAppLog(this.#folder(id)).catch(() => false)
      if (turn % PRUNE_EVERY === 0) await this.#quietly(async () => this.#prune?.())
    }
  }
}

export { removeCgroups }
