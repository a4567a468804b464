import type { Server } from 'node:http'
import type { Clock } from '../base/clock.ts'
import { canonicalIp } from '../base/ip.ts'
import type { Logger } from '../base/log.ts'
import type { Exec } from '../kernel/exec.ts'
import type { Machine } from '../model/resources.ts'
import type { EgressCheck, EgressUsage, LogLine } from '../model/wire.ts'
import { type CheckCall, EgressChecks } from './check/check.ts'
import { FLOW_LOG_KEY, FlowLog } from './flows/flow-log.ts'
import { EgressSampler } from './flows/sampler.ts'
import type { StaticMachine } from './flows/usage.ts'
import { renderEgressMetrics } from './metrics.ts'
import { serveEgressSocket } from './socket.ts'

export interface EgressWatchDeps {
  readonly host: string
  readonly region: string
  /** Path of the unix socket that answers GET /metrics and /source/<address>. */
  readonly socket: string
  /** What machines without a static source leave by. */
  readonly defaultSource: (machine: Machine) => { readonly v4: string; readonly v6: string }
  readonly exec: Exec
  readonly clock: Clock
  readonly random: () => number
  readonly log: Logger
  /** Path of a machine's network namespace. */
  readonly netnsOf: (machine: string) => string
  readonly resolvers: readonly string[]
  readonly appsDomains: readonly string[]
  readonly protectedPrefixes: readonly string[]
  /** A line for the log of a machine's app. */
  readonly onLine: (line: LogLine) => void
  /** Times that the rules of egress were changed since the start. */
  readonly reconciles: () => number
  /** Metrics of the host's machines beside those of egress, in the text format of Prometheus. */
  readonly instances: () => Promise<string>
}

/** What a host sees of its machines' egress: ports in use, metrics, flow logs, checks. Changes nothing. */
export class EgressWatch {
  readonly #deps: EgressWatchDeps
  readonly #sampler: EgressSampler
  readonly #checks: EgressChecks
  readonly #flows: FlowLog
  readonly #stop = new AbortController()
  #machines: ReadonlyMap<string, Machine> = new Map()
  #statics: readonly StaticMachine[] = []
  #server: Server | undefined
  #running: Promise<void> | undefined

  constructor(deps: EgressWatchDeps) {
    this.#deps = deps
    this.#sampler = new EgressSampler({ ...deps, machines: () => this.#statics })
    this.#flows = new FlowLog(deps)
    this.#checks = new EgressChecks({
      ...deps,
      machine: (id) => {
        const machine = this.#machines.get(id)
        return machine && { netns: deps.netnsOf(id), egress: machine.egress }
      },
    })
  }

  async start(): Promise<void> {
    const { socket, log } = this.#deps
    const answers = {
      metrics: () => this.#metrics(),
      source: (address: string) => this.#sourceOf(address),
    }
    this.#server = await serveEgressSocket(socket, answers, log)
    this.#running = this.#sampler.run(this.#stop.signal)
  }

  /** The machines of the host, whole. */
  apply(machines: ReadonlyMap<string, Machine>): void {
    this.#machines = machines
    const all = [...machines.values()]
    this.#statics = all.flatMap(({ egress, id, app, v4, v6 }) =>
      egress ? [{ egress, id, app, v4, v6 }] : [],
    )
    this.#flows.apply(all.filter(({ config }) => config.metadata?.[FLOW_LOG_KEY] === 'true'))
  }

  /** One for each machine with a static source, of one app when it is named. */
  usage(app: string | undefined, signal: AbortSignal): Promise<EgressUsage[]> {
    return this.#sampler.usage(app, signal)
  }

  check(call: CheckCall): Promise<EgressCheck> {
    return this.#checks.check(call)
  }

  async close(): Promise<void> {
    this.#stop.abort()
    this.#flows.close()
    this.#server?.closeAllConnections()
    await Promise.all([
      this.#running,
      new Promise<void>((done) => (this.#server ? this.#server.close(() => done()) : done())),
    ])
  }

  /** By a private address, canonical or not. */
  #sourceOf(address: string): { v4: string | null; v6: string | null } | undefined {
    const asked = canonicalIp(address)
    if (asked === undefined) return undefined
    for (const machine of this.#machines.values()) {
      const { v4, v6, egress } = machine
      if (canonicalIp(v6) !== asked && v4 !== asked) continue
      return egress ? { v4: egress.v4, v6: egress.v6 } : this.#deps.defaultSource(machine)
    }
    return undefined
  }

  async #metrics(): Promise<string> {
    await this.#sampler.refreshCounters()
    const egress = renderEgressMetrics({
      ...this.#sampler.snapshot(),
      reconciles: this.#deps.reconciles(),
      flowLinesOmitted: this.#flows.omitted,
    })
    return egress + (await this.#deps.instances())
  }
}
