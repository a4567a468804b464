import { join } from 'node:path'
import { backoffMs, type Clock } from '../base/clock.ts'
import { FairwayError, messageOf } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Host } from '../model/resources.ts'
import type { AgentCall, AgentCallFailed, FeedLine } from '../model/wire.ts'
import type { ControlClient } from './control-client.ts'
import { followControl } from './control-link.ts'
import { EdgeFacts } from './edge-facts.ts'
import type { EdgeProbe } from './edge-probe.ts'
import { type FeedSocketServer, serveFeedSocket } from './feed-socket.ts'
import { FeedState } from './feed-state.ts'
import { HostRecords, type RecordsChanged } from './host-records.ts'
import type { InstanceMetrics } from './instance-metrics.ts'
import type { Announcer, EgressWatch, HostEgress, HostNetwork, MachineManager } from './parts.ts'
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
  readonly egress: HostEgress
  readonly machines: MachineManager
  readonly announcer: Announcer
  readonly egressWatch: EgressWatch
  readonly edge: EdgeProbe
  readonly instances: Pick<InstanceMetrics, 'report'>
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
  /** Renewed when a host changes, so that others may keep it. */
  #hosts: ReadonlyMap<string, Host> = new Map()
  /** Undefined until egress is in force: what a predecessor announced stays until then. */
  #announcedEgress: readonly string[] | undefined
  #isNetworkUp = false
  #areMachinesUp = false

  constructor(deps: AgentDeps) {
    const { hostId, region, client, machines, egress, clock, random, log } = deps
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
    machines.onReport((report) => {
      this.#reporter.machine(report)
      deps.instances.report(report)
    })
    egress.follow({
      inForce: ({ revision, announced }) => {
        this.#reporter.setEgressRevision(revision)
        this.#announcedEgress = announced
        this.#announce()
      },
      drained: (blocks) => this.#reporter.setEgressDrained(blocks),
    })
  }

  /**
   * Resolves when the host's network is in force, and answers to static sources are steered by a
   * state: the replica's or a newer.
   */
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
    await Promise.race([this.#deps.egress.ready(), aborted(signal)])
  }

  /** Ends the agent's work; machines and the kernel's state live on. */
  async close(): Promise<void> {
    this.#stop.abort()
    await this.#socket?.close()
    await Promise.allSettled([
      this.#replica?.close(),
      this.#deps.machines.close(),
      this.#deps.egress.close(),
      this.#deps.network.close(),
      this.#deps.egressWatch.close(),
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

  #applyRecords({ machines, hosts, regional, egress }: RecordsChanged): void {
    const { network, machines: manager } = this.#deps
    // Not before a state is known: an empty one would take every machine away.
    if (!this.#state.isLoaded) return
    if (hosts) this.#hosts = new Map(this.#records.hosts)
    if (regional) this.#announce()
    if (hosts && this.#isNetworkUp) network.applyHosts([...this.#hosts.values()])
    if ((hosts || egress || machines) && this.#isNetworkUp) this.#applyEgress()
    if (machines && this.#areMachinesUp) {
      manager.apply(new Map(this.#records.machines), new Set(this.#records.unreadable))
      this.#deps.egressWatch.apply(new Map(this.#records.machines))
    }
  }

  #applyEgress(): void {
    const { pairs, outbound } = this.#records
    this.#deps.egress.apply({
      ...{ revision: this.#state.revision, hosts: this.#hosts },
      ...{ pairs: new Map(pairs), outbound: [...outbound.values()] },
    })
  }

  #announce(): void {
    if (!this.#announcedEgress) return
    const { regional } = this.#records
    this.#deps.announcer.apply({ anycast: regional, egress: this.#announcedEgress })
  }

  /** Network first, then machines, then the host counts as alive. */
  async #raise(): Promise<void> {
    const { network, machines, egress } = this.#deps
    const { signal } = this.#stop
    const answer = await this.#persist('the network', () => network.start())
    if (!answer) return
    await this.#persist('egress', () => egress.start())
    if (signal.aborted) return
    this.#isNetworkUp = true
    this.#applyRecords({ machines: false, hosts: true, regional: true, egress: true })
    await this.#persist('the machines', () => machines.start())
    await this.#persist('the watch on egress', () => this.#deps.egressWatch.start())
    if (signal.aborted) return
    this.#areMachinesUp = true
    this.#applyRecords({ machines: true, hosts: false, regional: false, egress: false })
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
    if (call.method === 'route-explain') {
      yield await this.#deps.edge.explain(call).catch(asFailure('explain_failed'))
      return
    }
    if (!this.#areMachinesUp) return
    const { machines } = this.#deps
    if (call.method === 'logs') yield* machines.logs(call, signal)
    else if (call.method === 'ps') yield await machines.ps(call.machine)
    else if (call.method === 'exec') yield* machines.exec(call, signal)
    else if (call.method === 'egress-usage' || call.method === 'egress-check')
      yield* this.#answerEgress(call, signal)
  }

  /** What cannot be answered is said in a line: whoever asked has nothing else to show. */
  async *#answerEgress(
    call: Extract<AgentCall, { method: 'egress-usage' | 'egress-check' }>,
    signal: AbortSignal,
  ): AsyncGenerator<unknown> {
    const { egressWatch } = this.#deps
    try {
      if (call.method === 'egress-check') yield await egressWatch.check(call)
      else yield* await egressWatch.usage(call.app, signal)
    } catch (error) {
      yield asFailure('egress_failed')(error)
    }
  }
}

/** `code`: of what has none of its own. */
const asFailure =
  (code: string) =>
  (error: unknown): AgentCallFailed => ({
    error: {
      code: error instanceof FairwayError ? error.code : code,
      message: messageOf(error),
    },
  })

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
