import type { Server } from 'node:http'
import {
  jsonAnswer,
  type LocalAnswer,
  metricsAnswer,
  serveLocalHttp,
  textAnswer,
} from '../base/local-http.ts'
import type { Logger } from '../base/log.ts'

/** What a host tells of its egress. */
export interface EgressSocket {
  /** GET /metrics */
  readonly metrics: () => Promise<string>
  /** GET /source/<private address>: by what the machine is seen; undefined when it is none of ours. */
  readonly source: (address: string) => object | undefined
}

const SOURCE = /^\/source\/([0-9a-fA-F.:%]{2,128})$/

export const serveEgressSocket = (
  path: string,
  answers: EgressSocket,
  log: Logger,
): Promise<Server> =>
  serveLocalHttp(
    path,
    (target) => answer(answers, target),
    (error) => log.warn({ error: error.message }, 'socket of egress'),
  )

async function answer({ metrics, source }: EgressSocket, target: string): Promise<LocalAnswer> {
  if (target === '/metrics') return metricsAnswer(await metrics())
  const asked = SOURCE.exec(target)?.[1]
  const found = asked === undefined ? undefined : source(decodeURIComponent(asked))
  return found ? jsonAnswer(found) : textAnswer(404, 'ask for /metrics or /source/<address>\n')
}
