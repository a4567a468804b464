import { Edge } from './edge.ts'
import { ORIGINS, type OriginName, Origins } from './origins.ts'
import { Report } from './report.ts'
import { RequestBatches } from './request-batch.ts'
import { requestCase } from './requests.ts'
import { ResponseBatches } from './response-batch.ts'
import { ResponseOrigin } from './response-origin.ts'
import { responseCase } from './responses.ts'

export interface FuzzOptions {
  readonly seed: number
  /** How many cases; one in four is a response. */
  readonly cases: number
  /** These alone. */
  readonly only?: readonly number[]
  readonly log: (line: string) => void
}

const BATCH = 400
/** With more than that something is wrong everywhere. */
const DIFFERENCES_MAX = 50
const PROGRESS_MS = 10_000

/** The whole proof, or a part of it. Throws when the edge, an origin or a client of the rig dies. */
export async function runFuzz({ seed, cases, only, log }: FuzzOptions): Promise<Report> {
  const report = new Report(log)
  const rig = await Rig.start(seed, report)
  try {
    const ks = only ?? [...Array(cases).keys()]
    let saidAt = Date.now()
    for (let at = 0; at < ks.length && report.differences.length < DIFFERENCES_MAX; at += BATCH) {
      await rig.run(ks.slice(at, at + BATCH))
      if (Date.now() - saidAt < PROGRESS_MS) continue
      saidAt = Date.now()
      log(`${at + BATCH} of ${ks.length} cases, ${report.differences.length} differences`)
    }
    await rig.finish()
    return report
  } finally {
    rig.stop()
  }
}

export const isResponse = (k: number): boolean => k % 4 === 3

class Rig {
  readonly #seed: number
  readonly #report: Report
  readonly #origins: Origins
  readonly #app: ResponseOrigin
  readonly #edge: Edge
  readonly #requests: RequestBatches
  readonly #responses: ResponseBatches

  private constructor(
    seed: number,
    report: Report,
    origins: Origins,
    app: ResponseOrigin,
    edge: Edge,
  ) {
    this.#seed = seed
    this.#report = report
    this.#origins = origins
    this.#app = app
    this.#edge = edge
    const ports = new Map<OriginName, number>(ORIGINS.map((name, n) => [name, edge.ports[n]!]))
    const [pooled, once, farPooled, farOnce] = edge.ports.slice(ORIGINS.length) as [
      ...[number, number, number, number],
    ]
    this.#requests = new RequestBatches(origins, ports, report)
    this.#responses = new ResponseBatches({ pooled, once, farPooled, farOnce }, report)
  }

  static async start(seed: number, report: Report): Promise<Rig> {
    const origins = await Origins.start()
    const app = await ResponseOrigin.start(seed)
    const { port } = app
    const edge = await Edge.start([
      ...ORIGINS.map((name) => {
        const far = name === 'far'
        return { name, port: origins.ports.get(name)!, far, pooled: true }
      }),
      { name: 'pooled', port, far: false, pooled: true },
      { name: 'once', port, far: false, pooled: false },
      { name: 'far-pooled', port, far: true, pooled: true },
      { name: 'far-once', port, far: true, pooled: false },
    ])
    return new Rig(seed, report, origins, app, edge)
  }

  async run(ks: readonly number[]): Promise<void> {
    const requests = ks.filter((k) => !isResponse(k))
    const responses = ks.filter(isResponse)
    await Promise.all([
      this.#requests.run(new Map(requests.map((k) => [k, requestCase(this.#seed, k)]))),
      this.#responses.run(new Map(responses.map((k) => [k, responseCase(this.#seed, k)]))),
    ])
    const died = this.#edge.died ?? this.#origins.died
    if (died) throw new Error(died)
  }

  /** Nothing stays behind in the edge. */
  async finish(): Promise<void> {
    const { open, residentMb } = await this.#edge.counts()
    this.#report.count('connections open at the end', open)
    this.#report.count('resident MB at the end', residentMb)
  }

  stop(): void {
    this.#edge.stop()
    this.#app.stop()
    this.#origins.stop()
  }
}
