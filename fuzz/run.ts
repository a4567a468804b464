import type { Cases } from './cases.ts'
import { Edge } from './edge.ts'
import { ORIGINS, type OriginName, Origins } from './origins.ts'
import { Report } from './report.ts'
import { RequestBatches } from './request-batch.ts'
import { ResponseBatches } from './response-batch.ts'
import { ResponseOrigin } from './response-origin.ts'

export interface FuzzOptions {
  readonly cases: Cases
  /** These alone. */
  readonly only?: readonly number[]
  readonly log: (line: string) => void
}

const BATCH = 300
/** With more than that something is wrong everywhere. */
const DIFFERENCES_MAX = 50
const PROGRESS_MS = 10_000

/** Runs the cases. Throws when the edge or an origin dies. */
export async function runFuzz({ cases, only, log }: FuzzOptions): Promise<Report> {
  const report = new Report(log)
  const rig = await Rig.start(cases, report)
  const ks = only ?? [...Array(cases.size).keys()]
  let done = 0
  const stop = () => rig.stop()
  process.once('exit', stop)
  const progress = setInterval(() => {
    log(`${done} of ${ks.length} cases, ${report.differences.length} differences`)
  }, PROGRESS_MS)
  const inBatches = async (list: readonly number[], run: (batch: number[]) => Promise<void>) => {
    for (let at = 0; at < list.length && report.differences.length < DIFFERENCES_MAX; ) {
      const batch = list.slice(at, at + BATCH)
      await run(batch)
      rig.assertAlive()
      at += batch.length
      done += batch.length
    }
  }
  try {
    await Promise.all([
      inBatches(
        ks.filter((k) => !cases.isResponse(k)),
        (batch) => rig.requests.run(new Map(batch.map((k) => [k, cases.request(k)]))),
      ),
      inBatches(
        ks.filter((k) => cases.isResponse(k)),
        (batch) => rig.responses.run(new Map(batch.map((k) => [k, cases.response(k)]))),
      ),
    ])
    await rig.count(report)
    report.count('cases', done)
    return report
  } finally {
    clearInterval(progress)
    process.off('exit', stop)
    stop()
  }
}

/** Everything that runs beside the runner. */
class Rig {
  readonly requests: RequestBatches
  readonly responses: ResponseBatches
  readonly #origins: Origins
  readonly #app: ResponseOrigin
  readonly #edge: Edge

  private constructor(report: Report, origins: Origins, app: ResponseOrigin, edge: Edge) {
    this.#origins = origins
    this.#app = app
    this.#edge = edge
    const [pooled, once, farPooled, farOnce, ...ports] = edge.ports as [
      ...[number, number, number, number],
      ...number[],
    ]
    const portOf = new Map<OriginName, number>(ORIGINS.map((name, n) => [name, ports[n]!]))
    this.requests = new RequestBatches(origins, portOf, report)
    this.responses = new ResponseBatches({ pooled, once, farPooled, farOnce }, report)
  }

  static async start(cases: Cases, report: Report): Promise<Rig> {
    const origins = await Origins.start()
    const app = await ResponseOrigin.start((k) => cases.response(k))
    const { port } = app
    const edge = await Edge.start([
      { name: 'pooled', port, far: false, pooled: true },
      { name: 'once', port, far: false, pooled: false },
      { name: 'far-pooled', port, far: true, pooled: true },
      { name: 'far-once', port, far: true, pooled: false },
      ...ORIGINS.map((name) => {
        const far = name === 'far'
        return { name, port: origins.ports.get(name)!, far, pooled: true }
      }),
    ])
    return new Rig(report, origins, app, edge)
  }

  assertAlive(): void {
    const died = this.#edge.died ?? this.#origins.died
    if (died) throw new Error(died)
  }

  async count(report: Report): Promise<void> {
    const { open, residentMb } = await this.#edge.counts()
    report.count('connections of the edge open at the end', open)
    report.count('resident memory of the edge at the end, MB', residentMb)
  }

  stop(): void {
    this.#edge.stop()
    this.#app.stop()
    this.#origins.stop()
  }
}
