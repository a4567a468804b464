import http from 'node:http'

/** Requests one after the other, on one connection as long as it is kept. */
export interface Ask {
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly times?: number
  /** Each on a connection of its own. */
  readonly apart?: boolean
}

export interface Answered {
  /** 0: the connection ended without an answer. */
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  /** What the app said of itself; {} when it was not the app. */
  readonly app: {
    readonly region?: string
    readonly machine?: string
    readonly unavailable?: string
  }
  readonly text: string
}

function ask(agent: http.Agent | false, { url, headers }: Ask): Promise<Answered> {
  return new Promise((resolve) => {
    const failed = (error: NodeJS.ErrnoException) =>
      resolve({ status: 0, headers: {}, app: {}, text: error.code ?? error.message })
    const request = http.get(url, { agent, headers }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part
      })
      response.on('error', failed)
      response.on('end', () => {
        const isApp = response.headers['content-type'] === 'application/json'
        const { statusCode: status = 0, headers } = response
        resolve({ status, headers, app: isApp ? JSON.parse(text) : {}, text: text.trim() })
      })
    })
    request.on('error', failed)
  })
}

/** usage: ask.ts ASKS (as JSON). Prints an `Answered` on a line for each request. */
if (import.meta.main) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  for (const what of JSON.parse(process.argv[2]!) as Ask[])
    for (let i = 0; i < (what.times ?? 1); i++)
      process.stdout.write(`${JSON.stringify(await ask(what.apart ? false : agent, what))}\n`)
  agent.destroy()
}
