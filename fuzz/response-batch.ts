import { type Asked, curlClient, nodeClient, rawClient, type Told } from './clients.ts'
import { inParallel, type Report } from './report.ts'
import { type Read, readResponse } from './response-reference.ts'
import { judgeResponse } from './response-run.ts'
import type { ResponseCase } from './responses.ts'

/** Has all clients ask for cases at once, each on a connection that it then goes on with. */

/** Public ports of the edge, by what is behind them. */
export interface ResponsePorts {
  /** The edge keeps the app's connections. */
  readonly pooled: number
  /** It makes one for each request: for apps that close or say more than they should. */
  readonly once: number
  /** The same through the edge of another host. */
  readonly farPooled: number
  readonly farOnce: number
}

const AT_ONCE = 48
const CURLS = 6

export class ResponseBatches {
  readonly #ports: ResponsePorts
  readonly #report: Report

  constructor(ports: ResponsePorts, report: Report) {
    this.#ports = ports
    this.#report = report
  }

  async run(cases: ReadonlyMap<number, ResponseCase>): Promise<void> {
    const reads = new Map([...cases].map(([k, told]) => [k, readResponse(told)]))
    for (const { response } of reads.values()) this.#report.count(`responses: ${response.kind}`)
    const { pooled, once, farPooled, farOnce } = this.#ports
    const ask = (forPooled: number, forOnce: number): Asked[] =>
      [...cases].map(([k, told]) => {
        const port = isTidy(told, reads.get(k)!) ? forPooled : forOnce
        return { k, port, method: told.method }
      })
    const near = ask(pooled, once)
    const judge = (by: string, { k }: Asked, told: Told) => {
      const problems = judgeResponse(k, reads.get(k)!, told)
      if (problems.length > 0) this.#report.differs({ k, by, problems })
    }
    await Promise.all([
      inParallel(near, AT_ONCE, async (one) => judge('raw', one, await rawClient(one))),
      inParallel(near, AT_ONCE, async (one) => judge('node', one, await nodeClient(one))),
      inParallel(ask(farPooled, farOnce), AT_ONCE, async (one) =>
        judge('raw, far', one, await rawClient(one)),
      ),
      inParallel(shares(near, CURLS), CURLS, async (share) => {
        for (const [i, told] of (await curlClient(share)).entries()) judge('curl', share[i]!, told)
      }),
    ])
  }
}

/** Nothing but the response comes on the connection, and it stays open. */
const isTidy = ({ then }: ResponseCase, { response, needsClose }: Read): boolean =>
  then === 'stays' && !needsClose && !(response.kind === 'whole' && response.hasMore)

const shares = <T>(list: readonly T[], n: number): T[][] =>
  Array.from({ length: n }, (_, i) => list.filter((_, at) => at % n === i)).filter(
    (share) => share.length > 0,
  )
