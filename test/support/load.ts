import http from 'node:http'

/** What one request came to: a status and what the app said of itself, or an error. */
export interface Answer {
  /** Since the load began. */
  readonly atMs: number
  readonly tookMs: number
  readonly status?: number
  readonly region?: string
  readonly machine?: string
  readonly version?: string
  /** Requests that the app had when this one came, with it. */
  readonly inFlight?: number
  readonly retryAfter?: string
  /** The text of an answer that is not the app's. */
  readonly text?: string
  readonly error?: string
}

export interface Load {
  readonly url: string
  readonly method?: string
  /** How many ask at once, the first after `staggerMs`, the second after twice that, and so on. */
  readonly clients: number
  readonly staggerMs?: number
  /** How often each asks; until standard input ends when not given. Each time on a new connection. */
  readonly requests?: number
  readonly pauseMs?: number
}

async function run(load: Load): Promise<void> {
  let isOver = false
  process.stdin
    .on('data', () => {})
    .on('end', () => {
      isOver = true
    })
  const began = performance.now()
  const client = async (n: number) => {
    await pause((n + 1) * (load.staggerMs ?? 0))
    for (let i = 0; load.requests === undefined ? !isOver : i < load.requests; i++) {
      process.stdout.write(`${JSON.stringify(await ask(load, began))}\n`)
      await pause(load.pauseMs ?? 0)
    }
  }
  await Promise.all(Array.from({ length: load.clients }, (_, n) => client(n)))
  process.exit(0)
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

function ask({ url, method = 'GET' }: Load, began: number): Promise<Answer> {
  const begin = performance.now()
  const times = () => ({
    atMs: Math.round(begin - began),
    tookMs: Math.round(performance.now() - begin),
  })
  return new Promise((resolve) => {
    const failed = (error: Error) => resolve({ ...times(), error: error.message })
    const request = http.request(url, { method, agent: false }, (response) => {
      const { statusCode: status, headers } = response
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part
      })
      response.on('error', failed)
      response.on('end', () => {
        const isApp = headers['content-type'] === 'application/json'
        const said = isApp ? (JSON.parse(text) as object) : { text: text.trim() }
        resolve({ ...times(), status, retryAfter: headers['retry-after'], ...said })
      })
    })
    request.on('error', failed).end()
  })
}

/** usage: load.ts LOAD (as JSON). Prints an `Answer` on a line for each request. */
if (import.meta.main) await run(JSON.parse(process.argv[2]!) as Load)
