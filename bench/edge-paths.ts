import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type LoadRun, listening, startLoad } from './load.ts'
import { cpuUs, LOAD_CORE, median, PROXY_CORE, pinned } from './process.ts'
import { wrk } from './wrk.ts'

/**
 * What the edge carries besides small requests at full load, beside nginx and HAProxy in one run: how
 * late answers are at half load, WebSocket messages, and requests that go through the edge of another
 * host. Proxies on core 0, clients and apps on core 1; rounds are short and interleaved.
 *
 * usage: node bench/edge-paths.ts [--rounds N] [--seconds N]
 */
export interface EdgePathsResult {
  readonly proxies: Readonly<Record<string, PathFigures>>
  /** CPU microseconds of both edges for a request that crosses from one to the other, and of one alone. */
  readonly backhaul: { readonly acrossUs: number; readonly nearUs: number }
  /** Requests per second of the half load: half of what the slowest did at full load. */
  readonly halfLoad: number
}

export interface PathFigures {
  /** Milliseconds from when a request was due, at half load. */
  readonly p50Ms: number
  readonly p99Ms: number
  /** CPU for each of these requests, which come one by one and not in batches. */
  readonly cpuUsPerPaced: number
  /** For a message of 100 octets there and back. */
  readonly cpuUsPerMessage: number
  readonly messagesPerSecond: number
}

const ORIGIN_PORT = 19_101
const WS_PORT = 19_102
const BACKHAUL_PORT = 19_103
const EDGE_PORTS = { near: 19_120, far: 19_121, ws: 19_122 }
const CALIBRATE_SECONDS = 3
/** Rounds that are not counted: compilers and caches need a second or two. */
const WARM_UP_ROUNDS = 2
const HERE = import.meta.dirname
const NODE = [process.execPath, '--disable-warning=ExperimentalWarning']

interface Peer {
  readonly name: string
  readonly port: number
  readonly wsPort: number
  readonly pid: number
}

export async function measureEdgePaths({ rounds = 5, seconds = 2 } = {}): Promise<EdgePathsResult> {
  const dir = mkdtempSync(join(tmpdir(), 'fairway-bench-paths-'))
  const started: ChildProcess[] = []
  const start = (core: string, argv: readonly string[]) => {
    const child = pinned(core, argv, dir)
    started.push(child)
    return child.pid!
  }
  try {
    writeConfigurations(dir)
    // The generator never sleeps on the same core: the app must not wait for its slices of time.
    start(LOAD_CORE, ['chrt', '-f', '1', 'nginx', '-p', dir, '-c', join(dir, 'origin.conf')])
    const load = startLoad([join(HERE, 'edge-paths-load.ts'), String(WS_PORT)])
    started.push(load.child)
    const { edge, far } = startEdges(start)
    const peers: Peer[] = [
      { name: 'edge', port: EDGE_PORTS.near, wsPort: EDGE_PORTS.ws, pid: edge },
      {
        ...{ name: 'nginx', port: 19_110, wsPort: 19_110 },
        pid: start(PROXY_CORE, ['nginx', '-p', dir, '-c', join(dir, 'nginx.conf')]),
      },
      {
        ...{ name: 'haproxy', port: 19_111, wsPort: 19_111 },
        pid: start(PROXY_CORE, ['haproxy', '-f', join(dir, 'haproxy.cfg')]),
      },
    ]
    for (const { port, wsPort } of peers) await Promise.all([port, wsPort].map(listening))
    await listening(BACKHAUL_PORT)
    return {
      ...(await compare(peers, load.run, rounds, seconds)),
      backhaul: await measureBackhaul(edge, far, rounds, seconds),
    }
  } finally {
    for (const child of started) child.kill('SIGTERM')
    await Promise.all(started.map((child) => child.exitCode ?? once(child, 'exit')))
    rmSync(dir, { recursive: true, force: true })
  }
}

function startEdges(start: (core: string, argv: readonly string[]) => number) {
  const argv = (role: string, ...ports: number[]) => [
    ...[...NODE, join(HERE, 'edge-paths-process.ts'), role],
    ...[ORIGIN_PORT, WS_PORT, BACKHAUL_PORT, ...ports].map(String),
  ]
  const { near, far, ws } = EDGE_PORTS
  return {
    far: start(PROXY_CORE, argv('far')),
    edge: start(PROXY_CORE, argv('near', near, far, ws)),
  }
}

async function compare(peers: readonly Peer[], run: LoadRun, rounds: number, seconds: number) {
  const full: number[] = []
  for (const { port } of peers)
    full.push((await wrk(`http://127.0.0.1:${port}/`, CALIBRATE_SECONDS)).requestsPerSecond)
  // The generator shares its core with the app, and must keep its pace.
  const halfLoad = Math.round(Math.min(...full) / 2)
  const figures = new Map<string, PathFigures[]>(peers.map(({ name }) => [name, []]))
  for (let i = -WARM_UP_ROUNDS; i < rounds; i++)
    for (const { name, port, wsPort, pid } of peers) {
      const atFirst = cpuOf(pid)
      const paced = await run({ what: 'pace', port, perSecond: halfLoad, seconds })
      const before = cpuOf(pid)
      const { amount } = await run({ what: 'messages', port: wsPort, seconds })
      if (i < 0) continue
      figures.get(name)!.push({
        ...{ p50Ms: paced.p50Ms!, p99Ms: paced.p99Ms! },
        cpuUsPerPaced: (before - atFirst) / (halfLoad * seconds),
        cpuUsPerMessage: (cpuOf(pid) - before) / amount!,
        messagesPerSecond: amount! / seconds,
      })
    }
  return {
    proxies: Object.fromEntries([...figures].map(([name, f]) => [name, medians(f)])),
    halfLoad,
  }
}

async function measureBackhaul(edge: number, far: number, rounds: number, seconds: number) {
  const across: number[] = []
  const near: number[] = []
  for (let i = 0; i < rounds; i++)
    for (const [port, kept, pids] of [
      [EDGE_PORTS.near, near, [edge]],
      [EDGE_PORTS.far, across, [edge, far]],
    ] as const) {
      const before = pids.map(cpuOf)
      const { requests } = await wrk(`http://127.0.0.1:${port}/`, seconds)
      const cpu = pids.reduce((sum, pid, n) => sum + cpuOf(pid) - before[n]!, 0)
      kept.push(cpu / requests)
    }
  return { acrossUs: rounded(median(across)), nearUs: rounded(median(near)) }
}

function writeConfigurations(dir: string): void {
  const files = { 'origin.conf': 0, 'nginx.conf': 19_110, 'haproxy.cfg': 19_111 }
  for (const [file, port] of Object.entries(files)) {
    const text = readFileSync(join(HERE, 'peers', file), 'utf8')
    const filled = text
      .replaceAll('@DIR@', dir)
      .replaceAll('@PORT@', String(port))
      .replaceAll('@ORIGIN@', String(ORIGIN_PORT))
      .replaceAll('@WS@', String(WS_PORT))
    writeFileSync(join(dir, file), filled)
  }
}

function cpuOf(pid: number): number {
  const { user, sys } = cpuUs(pid)
  return user + sys
}

const KEYS = ['p50Ms', 'p99Ms', 'cpuUsPerPaced', 'cpuUsPerMessage', 'messagesPerSecond'] as const
const medians = (figures: readonly PathFigures[]): PathFigures =>
  Object.fromEntries(KEYS.map((key) => [key, rounded(median(figures.map((f) => f[key])))])) as never

const rounded = (n: number): number => Math.round(n * 100) / 100

export function printEdgePaths({ proxies, backhaul, halfLoad }: EdgePathsResult): void {
  console.log(`half load: ${halfLoad} requests/s`)
  console.table(proxies)
  console.log(
    `a request across two edges: ${backhaul.acrossUs} µs of both; through one: ${backhaul.nearUs} µs`,
  )
}

if (import.meta.main) {
  const option = (name: string, otherwise: number) => {
    const at = process.argv.indexOf(`--${name}`)
    return at < 0 ? otherwise : Number(process.argv[at + 1])
  }
  printEdgePaths(
    await measureEdgePaths({ rounds: option('rounds', 5), seconds: option('seconds', 2) }),
  )
}
