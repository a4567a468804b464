import { join } from 'node:path'
import { backoffMs, type Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { AgentCall, FeedLine } from '../model/wire.ts'
import type { ControlClient } from './control-client.ts'
import { followControl } from './control-link.ts'
import { EdgeFacts } from './edge-facts.ts'
import { type FeedSocketServer, serveFeedSocket } from './feed-socket.ts'
import { FeedState } from './feed-state.ts'
import { HostRecords, type RecordsChanged } from './host-records.ts'
import type { Announcer, HostNetwork, MachineManager } from './parts.ts'
import { openReplica } from './replica.ts'
import { ReplicaWriter } from './replica-writer.ts'
import { Reporter } from './reporter.ts'

export interface AgentDeps {
  readonly hostId: string
  readonly region: string
  readonly stateDir: string
  readonly runDir: string
  readonly client: ControlClient
  readonly network: HostNetwork
  readonly machines: MachineManager
  readonly announcer: Announcer
  readonly clock: Clock
  readonly random: () => number
  readonly log: Logger
}

export const replicaPath = (stateDir: string): string => join(stateDir, 'replica.db')
export const feedSocketPath = (runDir: string): string => join(runDir, 'feed.sock')

const RETRY_MS = { firstMs: 200, maxMs: 5_000 }

/**
 * The agent of a host. State comes from the control plane, or from the last replica while that is
 * away, and goes to the host's edges at once, to its network and machines, and to the disk. What the
 * host sees goes back as reports.
 */
export class Agent {
  readonly #deps: AgentDeps
  readonly #state = new FeedState()
  readonly #records: HostRecords
  readonly #reporter: Reporter
  readonly #edges: EdgeFacts
  readonly #stop = new AbortController()
  readonly #loaded = Promise.withResolvers<void>()
  readonly #running: Promise<void>[] = []
  #replica: ReplicaWriter | undefined
  #socket: FeedSocketServer | undefined
  #isNetworkUp = false
  #areMachinesUp = false

  constructor(deps: AgentDeps) {
    const { hostId, region, client, machines, clock, random, log } = deps
    this.#deps = deps
    this.#records = new HostRecords(this.#state, { id: hostId, region }, (key, problem) =>
      log.error({ key, problem }, 'a record cannot be read; its version before stays in use'),
    )
    const send = client.report.bind(client)
    this.#reporter = new Reporter({ host: hostId, send, clock, random, log })
    this.#edges = new EdgeFacts({
      revision: (revision) => this.#reporter.setEdgeRevision(revision),
      load: (machine, service, load) => {
        if (this.#areMachinesUp) machines.setLoad(machine, service, load)
      },
      log: (line) => {
        if (this.#areMachinesUp) machines.edgeLog(line)
      },
    })
    machines.onReport((report) => this.#reporter.machine(report))
  }

  /** Resolves when the host's network is in force and there is a state: the replica's or a newer. */
  async start(): Promise<void> {
    const { clock, random, client, stateDir, runDir, log } = this.#deps
    const { signal } = this.#stop
    this.#loadReplica()
    this.#replica = new ReplicaWriter({
      ...{ path: replicaPath(stateDir), log },
      state: () => this.#state.lines(),
    })
    const path = feedSocketPath(runDir)
    this.#socket = await serveFeedSocket(path, this.#state, { events: this.#edges, log })
    this.#running.push(
      followControl(
        { client, clock, random, log },
        {
          after: this.#state.revision,
          onLine: (line) => this.#take(line),
          onCall: (call, until) => this.#answer(call, until),
          signal,
        },
      ),
    )
    await this.#raise()
    await Promise.race([this.#loaded.promise, aborted(signal)])
  }

  /** Ends the agent's work; machines and the kernel's state live on. */
  async close(): Promise<void> {
    this.#stop.abort()
    await this.#socket?.close()
    await Promise.allSettled([
      this.#replica?.close(),
      this.#deps.machines.close(),
      this.#deps.network.close(),
      ...this.#running,
    ])
    this.#deps.client.close()
  }

  #loadReplica(): void {
    const { log, stateDir } = this.#deps
    const replica = openReplica(replicaPath(stateDir))
    try {
      for (const line of replica.lines()) this.#fold(line)
      log.info({ revision: this.#state.revision }, 'replica loaded')
    } catch (error) {
      log.error({ error: messageOf(error) }, 'the replica cannot be read; it will be filled anew')
    } finally {
      replica.close()
    }
  }

  #take(line: FeedLine): void {
    const changed = this.#fold(line) // Edges are told within; nothing they need waits for the rest.
    this.#replica?.apply(line)
    if (changed) this.#applyRecords(changed)
  }

  #fold(line: FeedLine): RecordsChanged | undefined {
    const change = this.#state.apply(line)
    if (!this.#state.isLoaded) return undefined
    this.#loaded.resolve()
    if (!change.reset && change.keys.length === 0) return undefined
    return this.#records.update(change)
  }

  #applyRecords({ machines, hosts, regional }: RecordsChanged): void {
    const { network, machines: manager, announcer } = this.#deps
    // Not before a state is known: an empty one would take every machine away.
    if (!this.#state.isLoaded) return
    if (regional && this.#isNetworkUp) announcer.apply(this.#records.regional)
    if (hosts && this.#isNetworkUp) network.applyHosts([...this.#records.hosts.values()])
    if (machines && this.#areMachinesUp)
      manager.apply(new Map(this.#records.machines), new Set(this.#records.unreadable))
  }

  /** Network first, then machines, then the host counts as alive. */
  async #raise(): Promise<void> {
    const { network, machines } = this.#deps
    const { signal } = this.#stop
    const answer = await this.#persist('the network', () => network.start())
    if (!answer) return
    this.#isNetworkUp = true
    this.#applyRecords({ machines: false, hosts: true, regional: true })
    await this.#persist('the machines', () => machines.start())
    if (signal.aborted) return
    this.#areMachinesUp = true
    this.#applyRecords({ machines: true, hosts: false, regional: false })
    this.#edges.repeat()
    this.#running.push(this.#reporter.run(answer.meshPublicKey, signal))
  }

  /** Until it succeeds; undefined when the agent ends first. */
  async #persist<T>(what: string, start: () => Promise<T>): Promise<T | undefined> {
    const { clock, random, log } = this.#deps
    const { signal } = this.#stop
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        return await start()
      } catch (error) {
        log.error({ error: messageOf(error), failures }, `${what} cannot be started; trying again`)
        await clock.sleep(backoffMs(failures, random, RETRY_MS), signal).catch(() => {})
      }
    }
    return undefined
  }

  async *#answer(call: AgentCall, signal: AbortSignal): AsyncGenerator<unknown> {
    if (!this.#areMachinesUp) return
    const { machines } = this.#deps
    if (call.method === 'logs') yield* machines.logs(call, signal)
    else yield await machines.ps(call.machine)
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
