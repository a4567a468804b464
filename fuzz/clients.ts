import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RawClient, WAIT_MS } from './raw-client.ts'
import type { Field } from './reference.ts'

/** Three readers of responses, of which two are not ours, and what they make of what the edge sends. */

export interface Asked {
  readonly k: number
  readonly method: string
  /** The edge's. */
  readonly port: number
}

/** What a client took for the response. */
export interface Heard {
  readonly status: number
  readonly reason: string
  /** Names in lower case. */
  readonly fields: readonly Field[]
  readonly body: string
  readonly interim: readonly number[]
}

export interface Told {
  /** A text: why there is no response, or no whole one. */
  readonly heard: Heard | string
  /** What the next request on the connection got (`/ok/K` says K); null when the client was told not to. */
  readonly next: string | null
}

export async function rawClient({ k, method, port }: Asked): Promise<Told> {
  const client = new RawClient(port)
  try {
    await client.send([`${method} /case/${k} HTTP/1.1\r\nHost: a.test\r\n\r\n`])
    const heard = await client.response(method === 'HEAD')
    if (typeof heard === 'string') return { heard, next: null }
    if (heard.endsByClose || heard.fields.some(([n, v]) => n === 'connection' && v === 'close')) {
      const more = await client.end()
      return { heard: more ?? heard, next: null }
    }
    await client.send([`GET /ok/${k} HTTP/1.1\r\nHost: a.test\r\n\r\n`])
    const next = await client.response(false)
    return { heard, next: typeof next === 'string' ? next : next.body }
  } finally {
    client.destroy()
  }
}

export async function nodeClient({ k, method, port }: Asked): Promise<Told> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  try {
    const heard = await nodeRequest(agent, port, method, `/case/${k}`)
    const next = await nodeRequest(agent, port, 'GET', `/ok/${k}`)
    return { heard, next: typeof next === 'string' ? next : next.body }
  } finally {
    agent.destroy()
  }
}

function nodeRequest(
  agent: http.Agent,
  port: number,
  method: string,
  path: string,
): Promise<Heard | string> {
  return new Promise((resolve) => {
    const interim: number[] = []
    const request = http.request({ agent, port, method, path, host: '127.0.0.1' })
    request.setTimeout(WAIT_MS, () => request.destroy(new Error('hangs')))
    request.on('error', (error) => resolve(error.message))
    request.on('information', ({ statusCode }) => interim.push(statusCode))
    request.on('response', (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('error', (error) => resolve(error.message))
      response.on('end', () => {
        const fields = response.rawHeaders.flatMap((text, i, all): Field[] =>
          i % 2 === 0 ? [[text.toLowerCase(), all[i + 1]!.replace(/^[ \t]+|[ \t]+$/g, '')]] : [],
        )
        const { statusCode: status = 0, statusMessage: reason = '' } = response
        resolve({ status, reason, fields, interim, body: Buffer.concat(parts).toString('latin1') })
      })
    })
    request.end()
  })
}

const CURL_MS_MAX = 120_000

/** One process asks for all, on as few connections as it can. */
export async function curlClient(asked: readonly Asked[]): Promise<Told[]> {
  const dir = mkdtempSync(join(tmpdir(), 'fairway-fuzz-curl-'))
  try {
    const config = join(dir, 'config')
    writeFileSync(config, asked.map((one) => curlConfig(dir, one)).join('next\n'))
    const child = spawn('curl', ['--config', config], { stdio: ['ignore', 'pipe', 'ignore'] })
    const timer = setTimeout(() => child.kill('SIGKILL'), CURL_MS_MAX)
    let out = ''
    child.stdout.setEncoding('utf8').on('data', (text) => (out += text))
    await once(child, 'close')
    clearTimeout(timer)
    const exits = new Map(out.split('\n').map((line) => line.split(' ') as [string, string]))
    return asked.map((one) => curlTold(dir, one, exits))
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

function curlConfig(dir: string, { k, method, port }: Asked): string {
  const common = ['silent', 'http1.1', `max-time = ${WAIT_MS / 1000}`]
  const as = method === 'HEAD' ? ['head'] : method === 'POST' ? ['data = ""'] : []
  return [
    ...[...common, ...as, `url = "http://127.0.0.1:${port}/case/${k}"`],
    ...[`output = "${dir}/${k}.body"`, `dump-header = "${dir}/${k}.heads"`],
    ...[`write-out = "${k} %{exitcode}\\n"`, 'next', ...common],
    ...[`url = "http://127.0.0.1:${port}/ok/${k}"`, `output = "${dir}/${k}.ok"`, ''],
  ].join('\n')
}

function curlTold(dir: string, { k, method }: Asked, exits: ReadonlyMap<string, string>): Told {
  const read = (name: string) =>
    existsSync(join(dir, name)) ? readFileSync(join(dir, name), 'latin1') : ''
  const next = read(`${k}.ok`)
  const exit = exits.get(String(k))
  if (exit !== '0') return { heard: `curl ended with ${exit ?? 'nothing'}`, next }
  const heads = read(`${k}.heads`).split('\r\n\r\n').slice(0, -1)
  const [first, ...lines] = heads.pop()!.split('\r\n')
  const statusOf = (line: string) => Number(line.slice(9, 12))
  return {
    heard: {
      ...{ status: statusOf(first!), reason: first!.slice(13), interim: heads.map(statusOf) },
      fields: lines.map((line) => {
        const colon = line.indexOf(':')
        const value = line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '')
        return [line.slice(0, colon).toLowerCase(), value]
      }),
      // The file of a HEAD repeats the head.
      body: method === 'HEAD' ? '' : read(`${k}.body`),
    },
    next,
  }
}
