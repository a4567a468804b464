import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { LOAD_CORE } from './process.ts'

const CONNECTIONS = 64

export interface Load {
  readonly requests: number
  readonly requestsPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
}

/**
 * Keep-alive requests from a core of their own, with these field lines besides Host; throws when one is
 * not answered with 2xx.
 */
export async function wrk(
  url: string,
  seconds: number,
  fields: readonly string[] = [],
): Promise<Load> {
  const argv = ['-c', LOAD_CORE, 'wrk', '-t1', `-c${CONNECTIONS}`, `-d${seconds}`, '--latency']
  argv.push(...fields.flatMap((line) => ['-H', line]), url)
  const child = spawn('taskset', argv, { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.on('data', (data: Buffer) => {
    text += String(data)
  })
  await once(child, 'close')
  if (/Non-2xx|Socket errors/.test(text)) throw new Error(`${url}: ${text}`)
  return {
    requests: Number(/(\d+) requests in/.exec(text)?.[1]),
    requestsPerSecond: Number(/Requests\/sec: +([\d.]+)/.exec(text)?.[1]),
    p50Ms: toMs(/50% +(\S+)/.exec(text)?.[1] ?? ''),
    p99Ms: toMs(/99% +(\S+)/.exec(text)?.[1] ?? ''),
  }
}

function toMs(text: string): number {
  const value = Number.parseFloat(text)
  if (text.endsWith('us')) return value / 1000
  return text.endsWith('ms') ? value : value * 1000
}
