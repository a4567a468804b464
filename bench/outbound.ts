import { type ChildProcess, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { SECRET } from '../src/outbound/testing.ts'
import { type LoadRun, listening, startLoad } from './load.ts'
import { cpuUs, median, medianRatio, PROXY_CORE, pinned } from './process.ts'

/**
 * The outbound proxy beside Squid and tinyproxy on the same work, all with credentials and a log line
 * per tunnel: proxies on core 0, clients and origin on core 1. Rounds are short and interleaved.
 *
 * usage: node bench/outbound.ts [--rounds N] [--seconds N]
 */
export interface OutboundResult {
  readonly proxies: Readonly<Record<string, OutboundFigures>>
  /** Ours to theirs, the median of each round's own ratio. */
  readonly ratios: Readonly<Record<string, OutboundFigures>>
}

export interface OutboundFigures {
  /** CPU microseconds of the process for a CONNECT with credentials, an octet each way, and its end. */
  readonly cpuUsPerConnection: number
  readonly connectionsPerSecond: number
  /** CPU seconds for 10^9 octets downwards. */
  readonly cpuPerGb: number
}

const HERE = import.meta.dirname
const NODE = [process.execPath, '--disable-warning=ExperimentalWarning']

interface Peer {
  readonly name: string
  readonly argv: (dir: string) => string[]
  readonly port: number
}

const PEERS: readonly Peer[] = [
  {
    name: 'squid',
    port: 19_031,
    argv: (dir) => ['squid', '-N', '-f', join(dir, 'squid.conf')],
  },
  {
    name: 'tinyproxy',
    port: 19_032,
    argv: (dir) => ['tinyproxy', '-d', '-c', join(dir, 'tinyproxy.conf')],
  },
]

interface Sampled {
  readonly name: string
  readonly port: number
  readonly pid: number
  readonly rounds: OutboundFigures[]
}

export async function measureOutbound({ rounds = 7, seconds = 2 } = {}): Promise<OutboundResult> {
  const dir = mkdtempSync(join(tmpdir(), 'fairway-bench-outbound-'))
  const started: ChildProcess[] = []
  try {
    writeConfigurations(dir)
    const ours = pinned(PROXY_CORE, [...NODE, join(HERE, 'outbound-process.ts')], dir)
    started.push(ours)
    const [line] = (await once(createInterface({ input: ours.stdout! }), 'line')) as [string]
    const proxies: Sampled[] = [
      { name: 'outbound', port: JSON.parse(line).http, pid: ours.pid!, rounds: [] },
    ]
    for (const { name, port, argv } of PEERS) {
      const child = pinned(PROXY_CORE, argv(dir), dir)
      started.push(child)
      proxies.push({ name, port, pid: child.pid!, rounds: [] })
    }
    for (const { port } of proxies) await listening(port)
    const load = startLoad([join(HERE, 'outbound-load.ts'), `u1:${SECRET}`])
    started.push(load.child)
    for (const { port } of proxies) await load.run({ port, what: 'connect', seconds })
    for (let i = 0; i < rounds; i++)
      for (const proxy of proxies) proxy.rounds.push(await figures(proxy, load.run, seconds))
    return { proxies: byName(proxies, medians), ratios: ratiosOf(proxies) }
  } finally {
    for (const child of started) child.kill('SIGTERM')
    await Promise.all(started.map((child) => child.exitCode ?? once(child, 'exit')))
    rmSync(dir, { recursive: true, force: true })
  }
}

async function figures({ port, pid }: Sampled, run: LoadRun, seconds: number) {
  const measured = async (what: string) => {
    const before = cpuUs(pid)
    const done = await run({ port, what, seconds })
    const after = cpuUs(pid)
    return {
      amount: done.amount!,
      seconds: done.seconds!,
      cpu: after.user + after.sys - before.user - before.sys,
    }
  }
  const connected = await measured('connect')
  const bulk = await measured('bulk')
  return {
    cpuUsPerConnection: connected.cpu / connected.amount,
    connectionsPerSecond: connected.amount / connected.seconds,
    cpuPerGb: (bulk.cpu * 1_000) / bulk.amount,
  }
}

function writeConfigurations(dir: string): void {
  for (const { name, port } of PEERS) {
    const text = readFileSync(join(HERE, 'peers', `${name}.conf`), 'utf8')
    const filled = text.replaceAll('@DIR@', dir).replaceAll('@PORT@', String(port))
    writeFileSync(join(dir, `${name}.conf`), filled)
  }
  const made = spawnSync('openssl', ['passwd', '-apr1', '-stdin'], { input: SECRET })
  writeFileSync(join(dir, 'squid.users'), `u1:${String(made.stdout).trim()}\n`)
  // Both give up root for a user of their own.
  chmodSync(dir, 0o777)
}

const KEYS = ['cpuUsPerConnection', 'connectionsPerSecond', 'cpuPerGb'] as const

const byKey = (of: (key: (typeof KEYS)[number]) => number): OutboundFigures =>
  Object.fromEntries(KEYS.map((key) => [key, Math.round(of(key) * 100) / 100])) as never

const medians = ({ rounds }: Sampled): OutboundFigures =>
  byKey((key) => median(rounds.map((round) => round[key])))

const byName = (all: readonly Sampled[], of: (one: Sampled) => OutboundFigures) =>
  Object.fromEntries(all.map((one) => [one.name, of(one)]))

function ratiosOf([ours, ...theirs]: readonly Sampled[]): Record<string, OutboundFigures> {
  return byName(theirs, ({ rounds }) =>
    byKey((key) => medianRatio(ours!.rounds, rounds, (round) => round[key])),
  )
}

export function printOutbound({ proxies, ratios }: OutboundResult): void {
  console.table(proxies)
  console.log('ours to theirs:')
  console.table(ratios)
}

if (import.meta.main) {
  const option = (name: string, otherwise: number) => {
    const at = process.argv.indexOf(`--${name}`)
    return at < 0 ? otherwise : Number(process.argv[at + 1])
  }
  printOutbound(
    await measureOutbound({ rounds: option('rounds', 7), seconds: option('seconds', 2) }),
  )
}
