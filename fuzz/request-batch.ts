import { ORIGINS, type OriginName, type Origins } from './origins.ts'
import { RawClients } from './raw-client.ts'
import { type ReferenceConnection, readConnection } from './reference.ts'
import { inParallel, type Report } from './report.ts'
import { judge, type RequestResult, refusedBy, runRequestCase } from './request-run.ts'
import type { RequestCase } from './requests.ts'

/** Sends cases to all origins at once, and accounts for everything that the origins then say they saw. */

interface Task {
  readonly k: number
  readonly origin: OriginName
  /** The edge's, for this origin. */
  readonly port: number
  readonly segments: RequestCase
  readonly reference: ReferenceConnection
}

const AT_ONCE = 64
const SETTLE_MS = 5_000
/** Origins write down what they refuse after they have answered. */
const LATE_MS = 500

export class RequestBatches {
  readonly #origins: Origins
  readonly #ports: ReadonlyMap<OriginName, number>
  readonly #report: Report

  constructor(origins: Origins, ports: ReadonlyMap<OriginName, number>, report: Report) {
    this.#origins = origins
    this.#ports = ports
    this.#report = report
  }

  async run(cases: ReadonlyMap<number, RequestCase>): Promise<void> {
    const tasks = [...cases].flatMap(([k, segments]) => {
      const reference = readConnection(segments.join(''))
      const task = (origin: OriginName): Task => {
        const port = this.#ports.get(origin)!
        return { k, origin, port, segments, reference }
      }
      return ORIGINS.map(task)
    })
    const suspects = await this.#round(tasks)
    // Who was it? One by one they cannot be mistaken for each other.
    for (const task of tasks.filter(({ origin }) => suspects.has(origin))) {
      const [said] = await this.#round([task])
      if (said) this.#report.differs({ k: task.k, by: said[0], problems: [said[1]] })
    }
    for (const [origin, problem] of suspects)
      this.#report.differs({ k: null, by: origin, problems: [problem] })
  }

  /** Returns the origins that have seen more than they were sent. */
  async #round(tasks: readonly Task[]): Promise<ReadonlyMap<OriginName, string>> {
    const results = new Map<Task, RequestResult>()
    const clients = new RawClients()
    await inParallel(tasks, AT_ONCE, async (task) => {
      const { origin, port, segments, reference } = task
      results.set(task, await runRequestCase(clients, origin, port, segments, reference))
    })
    clients.clear()
    await this.#settled([...results.values()])
    for (const [task, result] of results) {
      const problems = judge(result, this.#origins)
      this.#report.count(`connections: ${result.reference.end}`)
      this.#report.count('requests answered', result.exchanges.length)
      if (problems.length > 0) this.#report.differs({ k: task.k, by: task.origin, problems })
    }
    return this.#leftovers([...results.values()])
  }

  /** Until the origins have told of all that was answered. */
  async #settled(results: readonly RequestResult[]): Promise<void> {
    const wanted = results.flatMap(({ exchanges }) =>
      exchanges.flatMap(({ response }) =>
        response.fields.filter(([name]) => name === 'x-saw').map(([, id]) => id),
      ),
    )
    const until = Date.now() + SETTLE_MS
    while (Date.now() < until && wanted.some((id) => !this.#origins.records.has(id)))
      await new Promise((resolve) => setTimeout(resolve, 10))
    await new Promise((resolve) => setTimeout(resolve, LATE_MS))
    this.#origins.readAccessLog()
  }

  /** What nobody has sent, and refusals that nobody was told of: requests where there were none. */
  #leftovers(results: readonly RequestResult[]): Map<OriginName, string> {
    const found = new Map<OriginName, string>()
    for (const origin of ORIGINS) {
      const refusals = this.#origins.refusals.filter((refusal) => refusal.origin === origin)
      const expected = results
        .filter((result) => result.origin === origin)
        .reduce((n, result) => n + refusedBy(result), 0)
      if (refusals.length > expected)
        found.set(
          origin,
          `refused ${refusals.length} times where ${expected} were to be: ${JSON.stringify(refusals)}`,
        )
    }
    for (const records of this.#origins.records.values()) {
      const origin = records[0]!.origin as OriginName
      found.set(origin, `saw a request that was not sent: ${JSON.stringify(records)}`)
    }
    this.#origins.records.clear()
    this.#origins.refusals.length = 0
    return found
  }
}
