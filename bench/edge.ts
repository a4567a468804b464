import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { cpus, release, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { cpuUs, LOAD_CORE, median, medianRatio, PROXY_CORE, pinned, residentMb } from './process.ts'
import { wrk } from './wrk.ts'

/**
 * The edge beside its peers on the same work: proxies on core 0, load generator and app on core 1,
 * keep-alive on both sides, one worker each. Rounds are short and interleaved, and the median of
 * each proxy's rounds counts, because a shared machine's speed changes from second to second.
 *
 * usage: node bench/edge.ts [--rounds N] [--seconds N] [--only edge,nginx]
 */

export interface EdgeResult {
  readonly machine: Readonly<Record<string, string | number>>
  readonly proxies: Readonly<Record<string, ProxyResult>>
  /** CPU per small request, ours to theirs: the median over the rounds of each round's own ratio. */
  readonly ratios: Readonly<Record<string, number>>
  /** The same with a browser's fields. */
  readonly browserRatios: Readonly<Record<string, number>>
}

export interface ProxyResult {
  /** CPU microseconds of the process per request: medians over the rounds. */
  readonly cpuUs: number
  readonly userUs: number
  readonly sysUs: number
  /** The same when the request has the fields of a browser, 700 octets of them. */
  readonly browserUs: number
  readonly requestsPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Resident memory before any connection, and with IDLE_CONNECTIONS that have served one request. */
  readonly idleMb: number
  readonly connectedMb: number
  /** 1 MB bodies. */
  readonly bodiesMbPerSecond: number
  readonly cpuUsPerMb: number
}

/** How many are opened at once. */
const CONNECTIONS = 64
const IDLE_CONNECTIONS = 8_000
/** As Chromium sends them for a page. */
const BROWSER_FIELDS = [
  'sec-ch-ua: "Chromium";v="142", "Not_A Brand";v="99"',
  'sec-ch-ua-mobile: ?0',
  'sec-ch-ua-platform: "Linux"',
  'Upgrade-Insecure-Requests: 1',
  'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36',
  'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8',
  'Sec-Fetch-Site: same-origin',
  'Sec-Fetch-Mode: navigate',
  'Sec-Fetch-User: ?1',
  'Sec-Fetch-Dest: document',
  'Referer: https://hello.example.com/products/list?page=2',
  'Accept-Encoding: gzip, deflate, br, zstd',
  'Accept-Language: en-GB,en-US;q=0.9,en;q=0.8',
  'Cookie: _session=9f8a7s6d5f4g3h2j1k0l9f8a7s6d5f4g3h2j1k0l; theme=dark; consent=yes',
]
const WARM_UP_SECONDS = 4
const START_MS = 10_000
const ORIGIN_PORT = 19_001
/** Nobody listens: this part measures no WebSocket. */
const WS_PORT = 19_002
const PEERS = import.meta.dirname

interface Spec {
  readonly name: string
  readonly port: number
  argv(dir: string): string[]
}

const SPECS: readonly Spec[] = [
  {
    name: 'edge',
    port: 19_020,
    argv: () => [
      ...[process.execPath, '--disable-warning=ExperimentalWarning'],
      ...[join(PEERS, 'edge-process.ts'), '19020', String(ORIGIN_PORT)],
    ],
  },
  {
    name: 'nginx',
    port: 19_010,
    argv: (dir) => ['nginx', '-p', dir, '-c', join(dir, 'nginx.conf')],
  },
  { name: 'haproxy', port: 19_011, argv: (dir) => ['haproxy', '-f', join(dir, 'haproxy.cfg')] },
  {
    name: 'caddy',
    port: 19_012,
    argv: (dir) => [
      ...['caddy', 'run', '--adapter', 'caddyfile', '--config', join(dir, 'Caddyfile')],
    ],
  },
]

export async function measureEdge({
  rounds = 7,
  seconds = 2,
  only = SPECS.map(({ name }) => name),
} = {}): Promise<EdgeResult> {
  const dir = mkdtempSync(join(tmpdir(), 'fairway-bench-'))
  const started: ChildProcess[] = []
  try {
    writeConfigurations(dir)
    started.push(pinned(LOAD_CORE, ['nginx', '-p', dir, '-c', join(dir, 'origin.conf')], dir))
    await answering(ORIGIN_PORT)
    const specs = SPECS.filter(({ name }) => only.includes(name))
    const proxies = new Map<string, Sampled>()
    for (const spec of specs) {
      const child = pinned(PROXY_CORE, spec.argv(dir), dir)
      started.push(child)
      await answering(spec.port)
      proxies.set(spec.name, { spec, pid: child.pid!, idleMb: residentMb(child.pid!), rounds: [] })
    }
    await sampleRounds([...proxies.values()], rounds, seconds)
    const results: Record<string, ProxyResult> = {}
    for (const sampled of proxies.values())
      results[sampled.spec.name] = await finish(sampled, seconds)
    const sampled = [...proxies.values()]
    return {
      machine: describeMachine(),
      proxies: results,
      ratios: ratiosOf(sampled, ({ userUs, sysUs }) => userUs + sysUs),
      browserRatios: ratiosOf(sampled, ({ browserUs }) => browserUs),
    }
  } finally {
    for (const child of started) child.kill('SIGTERM')
    await Promise.all(started.map((child) => child.exitCode ?? once(child, 'exit')))
    rmSync(dir, { recursive: true, force: true })
  }
}

interface Sampled {
  readonly spec: Spec
  readonly pid: number
  readonly idleMb: number
  readonly rounds: Round[]
}

interface Round {
  readonly userUs: number
  readonly sysUs: number
  readonly browserUs: number
  readonly requestsPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
}

async function sampleRounds(proxies: Sampled[], rounds: number, seconds: number): Promise<void> {
  for (const { spec } of proxies) await wrk(`http://127.0.0.1:${spec.port}/`, WARM_UP_SECONDS)
  for (let i = 0; i < rounds; i++)
    for (const sampled of proxies) {
      const { load, userUs, sysUs } = await sample(sampled, seconds)
      const browser = await sample(sampled, seconds / 2, BROWSER_FIELDS)
      sampled.rounds.push({ ...load, userUs, sysUs, browserUs: browser.userUs + browser.sysUs })
    }
}

async function sample({ spec, pid }: Sampled, seconds: number, fields: readonly string[] = []) {
  const before = cpuUs(pid)
  const load = await wrk(`http://127.0.0.1:${spec.port}/`, seconds, fields)
  const after = cpuUs(pid)
  return {
    load,
    userUs: (after.user - before.user) / load.requests,
    sysUs: (after.sys - before.sys) / load.requests,
  }
}

async function finish({ spec, pid, idleMb, rounds }: Sampled, seconds: number) {
  const before = cpuUs(pid)
  const bodies = await wrk(`http://127.0.0.1:${spec.port}/1m`, seconds * 2)
  const after = cpuUs(pid)
  const cpu = after.user + after.sys - before.user - before.sys
  const connectedMb = await withIdleConnections(spec.port, () => residentMb(pid))
  return {
    cpuUs: round(median(rounds.map(({ userUs, sysUs }) => userUs + sysUs))),
    userUs: round(median(rounds.map(({ userUs }) => userUs))),
    sysUs: round(median(rounds.map(({ sysUs }) => sysUs))),
    browserUs: round(median(rounds.map(({ browserUs }) => browserUs))),
    requestsPerSecond: Math.round(median(rounds.map((r) => r.requestsPerSecond))),
    p50Ms: round(median(rounds.map(({ p50Ms }) => p50Ms))),
    p99Ms: round(median(rounds.map(({ p99Ms }) => p99Ms))),
    ...{ idleMb, connectedMb },
    bodiesMbPerSecond: Math.round(bodies.requestsPerSecond),
    cpuUsPerMb: Math.round(cpu / bodies.requests),
  }
}

function ratiosOf(
  proxies: readonly Sampled[],
  cpu: (round: Round) => number,
): Record<string, number> {
  const edge = proxies.find(({ spec }) => spec.name === 'edge')
  if (!edge) return {}
  const ratio = (rounds: readonly Round[]) => medianRatio(edge.rounds, rounds, cpu)
  const others = proxies.filter((other) => other !== edge)
  return Object.fromEntries(
    others.map(({ spec, rounds }) => [spec.name, Math.round(ratio(rounds) * 100) / 100]),
  )
}

function writeConfigurations(dir: string): void {
  mkdirSync(join(dir, 'files'))
  writeFileSync(join(dir, 'files', '1m'), Buffer.alloc(1_000_000, 'fairway '))
  const files = { 'origin.conf': 0, 'nginx.conf': 19_010, 'haproxy.cfg': 19_011, Caddyfile: 19_012 }
  for (const [file, port] of Object.entries(files)) {
    const text = readFileSync(join(PEERS, 'peers', file), 'utf8')
    const filled = text
      .replaceAll('@DIR@', dir)
      .replaceAll('@PORT@', String(port))
      .replaceAll('@ORIGIN@', String(ORIGIN_PORT))
      .replaceAll('@WS@', String(WS_PORT))
    writeFileSync(join(dir, file), filled)
  }
}

async function answering(port: number): Promise<void> {
  const until = performance.now() + START_MS
  for (;;) {
    const answered = await fetch(`http://127.0.0.1:${port}/`).then(
      (response) => response.ok,
      () => false,
    )
    if (answered) return
    if (performance.now() > until) throw new Error(`nothing answers on port ${port}`)
    await delay(50)
  }
}

async function withIdleConnections(port: number, measure: () => number): Promise<number> {
  const sockets: net.Socket[] = []
  try {
    for (let i = 0; i < IDLE_CONNECTIONS; i += CONNECTIONS)
      await Promise.all(
        Array.from({ length: CONNECTIONS }, async () => {
          const socket = net.connect({ port, host: '127.0.0.1' })
          socket.on('error', () => {})
          sockets.push(socket)
          socket.write('GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n')
          await once(socket, 'data')
        }),
      )
    await delay(1_000)
    return measure()
  } finally {
    for (const socket of sockets) socket.destroy()
    await delay(500)
  }
}

const round = (value: number): number => Math.round(value * 10) / 10

export const describeMachine = (): EdgeResult['machine'] => ({
  cpu: cpus()[0]?.model ?? '',
  cores: cpus().length,
  memoryGb: Math.round(totalmem() / 2 ** 30),
  kernel: release(),
  node: process.version,
  date: new Date().toISOString(),
})

export function printEdge({ proxies, ratios, browserRatios }: EdgeResult): void {
  const rows = Object.entries(proxies).map(([name, r]) => ({
    '': name,
    'CPU µs/request': r.cpuUs,
    user: r.userUs,
    sys: r.sysUs,
    'µs/browser request': r.browserUs,
    'requests/s': r.requestsPerSecond,
    'p50 ms': r.p50Ms,
    'p99 ms': r.p99Ms,
    'MB idle': r.idleMb,
    'MB at 8,000': r.connectedMb,
    '1 MB bodies MB/s': r.bodiesMbPerSecond,
    'CPU µs/MB': r.cpuUsPerMb,
  }))
  console.table(rows)
  for (const [name, ratio] of Object.entries(ratios))
    console.log(`edge / ${name}: ${ratio}, with a browser's fields ${browserRatios[name]}`)
}

if (import.meta.main) {
  const option = (name: string) => {
    const at = process.argv.indexOf(`--${name}`)
    return at < 0 ? undefined : process.argv[at + 1]
  }
  const result = await measureEdge({
    rounds: Number(option('rounds') ?? 7),
    seconds: Number(option('seconds') ?? 2),
    only: option('only')?.split(','),
  })
  printEdge(result)
  const results = join(import.meta.dirname, 'results')
  mkdirSync(results, { recursive: true })
  const file = join(results, `edge-${result.machine.date}.json`.replaceAll(':', ''))
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`)
}
