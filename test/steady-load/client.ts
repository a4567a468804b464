import http from 'node:http'

/** What one client place asks for, for as long as its standard input is open. */
export interface SteadyLoad {
  readonly url: string
  /** So many that keep their connection, and as many that make one for each request. */
  readonly clients: number
  readonly pauseMs: number
  readonly timeoutMs: number
}

/** Counted since the begin; printed as a line of JSON each second, and at the end. */
export interface Tally {
  answered: number
  /**
   * Asked again on another connection, because a kept one ended before any octet of the answer: its
   * server may close an idle connection at any time, and a client repeats what is safe (RFC 9112 9.3.1).
   */
  repeated: number
  readonly versions: Record<string, number>
  readonly regions: Record<string, number>
  /** Requests without their right answer. */
  readonly lost: { readonly atMs: number; readonly kept: boolean; readonly what: string }[]
}

interface Answered {
  readonly region: string
  readonly version: string
  readonly asked: string
}

class Lost extends Error {
  /** The connection had been used before, and nothing came of an answer. */
  readonly stale: boolean
  constructor(message: string, stale: boolean) {
    super(message)
    this.stale = stale
  }
}

const LOST_MAX = 50
const tally: Tally = { answered: 0, repeated: 0, versions: {}, regions: {}, lost: [] }
let isOver = false

/** usage: client.ts LOAD (as JSON) */
if (import.meta.main) await run(JSON.parse(process.argv[2]!) as SteadyLoad)

async function run(load: SteadyLoad): Promise<void> {
  process.stdin
    .on('data', () => {})
    .on('end', () => {
      isOver = true
    })
  const print = () => process.stdout.write(`${JSON.stringify(tally)}\n`)
  const timer = setInterval(print, 1_000)
  const each = Array.from({ length: load.clients }, (_, i) => i)
  await Promise.all(
    each.flatMap((i) => [client(load, `k${i}`, true), client(load, `n${i}`, false)]),
  )
  clearInterval(timer)
  print()
  process.exit(0)
}

async function client(load: SteadyLoad, name: string, kept: boolean): Promise<void> {
  const agent = kept ? new http.Agent({ keepAlive: true, maxSockets: 1 }) : false
  for (let i = 0; !isOver; i++) {
    const asked = `${name}-${i}`
    try {
      const { version, region } = await answerOf(load, agent, asked)
      tally.answered++
      tally.versions[version] = (tally.versions[version] ?? 0) + 1
      tally.regions[region] = (tally.regions[region] ?? 0) + 1
    } catch (error) {
      const what = `${asked}: ${(error as Error).message}`
      if (tally.lost.length < LOST_MAX) tally.lost.push({ atMs: Date.now(), kept, what })
    }
    await new Promise((resolve) => setTimeout(resolve, load.pauseMs))
  }
}

async function answerOf(load: SteadyLoad, agent: http.Agent | false, asked: string) {
  try {
    return await ask(load, agent, asked)
  } catch (error) {
    if (!(error instanceof Lost) || !error.stale) throw error
    tally.repeated++
    return ask(load, agent, asked)
  }
}

function ask(load: SteadyLoad, agent: http.Agent | false, asked: string): Promise<Answered> {
  return new Promise((resolve, reject) => {
    let begun = false
    const request = http.get(`${load.url}/?n=${asked}`, { agent }, (response) => {
      begun = true
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part
      })
      response.on('error', fail)
      response.on('end', () => {
        const wrong = `${response.statusCode} ${text.slice(0, 200)}`
        if (response.statusCode !== 200) return fail(new Error(wrong))
        const answer = JSON.parse(text) as Answered
        if (answer.asked !== asked) return fail(new Error(`the answer to another: ${wrong}`))
        resolve(answer)
      })
    })
    const fail = (error: NodeJS.ErrnoException) => {
      const ended = error.code === 'ECONNRESET' || error.code === 'EPIPE'
      reject(new Lost(error.message, request.reusedSocket && !begun && ended))
    }
    request.on('error', fail)
    request.setTimeout(load.timeoutMs, () => request.destroy(new Error('time-out')))
  })
}
