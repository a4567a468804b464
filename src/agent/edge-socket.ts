import {
  jsonAnswer,
  type LocalAnswer,
  metricsAnswer,
  serveLocalHttp,
  textAnswer,
} from '../base/local-http.ts'
import type { Explanation } from '../model/explanation.ts'
import type { ExplainQuestion } from '../proxy/explain/explainer.ts'

/** What an edge tells those of its own host. */
export interface EdgeAnswers {
  /** GET /metrics */
  readonly metrics: () => Promise<string>
  /** GET /explain?address=&port=&host= */
  readonly explain: (question: ExplainQuestion) => Promise<Explanation | null>
}

export async function serveEdgeSocket(
  path: string,
  answers: EdgeAnswers,
  onError: (error: Error) => void,
): Promise<void> {
  await serveLocalHttp(path, (target) => answer(answers, target), onError)
}

async function answer({ metrics, explain }: EdgeAnswers, target: string): Promise<LocalAnswer> {
  const url = new URL(target, 'http://edge')
  if (url.pathname === '/metrics') return metricsAnswer(await metrics())
  if (url.pathname !== '/explain') return textAnswer(404, 'ask for /metrics or /explain\n')
  const query = (name: string) => url.searchParams.get(name) ?? ''
  const port = Number(query('port'))
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    return textAnswer(400, 'port: not a number from 1 to 65535\n')
  const explanation = await explain({ address: query('address'), port, host: query('host') })
  return explanation ? jsonAnswer(explanation) : textAnswer(503, 'the worker did not answer\n')
}
