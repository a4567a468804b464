import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openReplica } from '../src/agent/replica.ts'
import { addressAt, parsePrefix } from '../src/base/ip.ts'
import type { FeedEvent, FeedLine } from '../src/model/wire.ts'
import { isRefusal } from '../src/proxy/balance/balancer.ts'
import { nearestBalancer } from '../src/proxy/balance/nearest.ts'
import { testEndpoint, testEntries } from '../src/proxy/testing.ts'
import { EdgeIndex } from '../src/view/edge-index.ts'

/**
 * What an edge pays for there being many apps: how long it takes from its replica on disk to a view, the
 * memory of that, a look-up with a claim, and a change. Each app has two machines and an IPv6 address.
 * Each size is measured in a process of its own.
 *
 * usage: node bench/growth.ts
 */
export interface GrowthResult {
  readonly apps: number
  /** From the replica on disk to a view that answers. */
  readonly startMs: number
  /** Of the heap, once every app has been asked for; and by app. */
  readonly heapMb: number
  readonly kbPerApp: number
  /** An app that was not asked for yet: its routes are made. */
  readonly firstLookUpUs: number
  /** Address, app, port, and a slot of a machine claimed and given back: an app at random each time. */
  readonly lookUpNs: number
  /** The same for an app that is asked for again and again. */
  readonly hotLookUpNs: number
  /** One machine's state changes, and the first request after it. */
  readonly changeUs: number
}

const SIZES = [10, 1_000, 100_000]
const LINE_EVENTS = 500
const LOOK_UPS = 200_000
const CHANGES = 20_000
const WARM_UP = 20_000
const MS_MAX = 300_000

export function measureGrowth(): GrowthResult[] {
  return SIZES.map((apps) => {
    const argv = ['--expose-gc', '--disable-warning=ExperimentalWarning', import.meta.filename]
    const ran = spawnSync(process.execPath, [...argv, String(apps)], {
      encoding: 'utf8',
      timeout: MS_MAX,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    if (ran.status !== 0) throw new Error(`growth at ${apps} apps: exit ${ran.status}`)
    return JSON.parse(ran.stdout) as GrowthResult
  })
}

export const printGrowth = (rows: readonly GrowthResult[]): void => console.table(rows)

const nameOf = (i: number) => `app-${i}`
/** As the kernel writes it; another spelling would cost a second look. */
const addressOf = (i: number) => addressAt(POOL, BigInt(i + 1))
const POOL = parsePrefix('2001:db8:1::/48')!
const machine = (i: number, n: number) => ({
  ...{ id: `m${i}-${n}`, v4: '127.0.0.1' },
  services: [{ port: 80, internalPort: 8080 }],
})
const appAt = (i: number) => ({
  ...{ name: nameOf(i), addresses: [addressOf(i)] },
  machines: [machine(i, 0), machine(i, 1)],
})

function measure(apps: number): GrowthResult {
  const dir = mkdtempSync(join(tmpdir(), 'fairway-bench-growth-'))
  try {
    writeReplica(join(dir, 'replica'), apps)
    const heapBefore = heapBytes()
    const began = performance.now()
    const view = load(join(dir, 'replica'))
    const startMs = performance.now() - began
    const lookUp = lookUpOf(view, apps)
    let next = 0
    const firstNs = nsOf(apps, () => lookUp(next++))
    const heap = heapBytes() - heapBefore
    const random = () => Math.floor(Math.random() * apps)
    for (let i = 0; i < WARM_UP; i++) lookUp(random())
    const change = changeOf(view, lookUp)
    for (let i = 0; i < WARM_UP / 10; i++) change(random())
    return {
      apps,
      startMs: rounded(startMs),
      heapMb: rounded(heap / 2 ** 20),
      kbPerApp: rounded(heap / 1024 / apps),
      firstLookUpUs: rounded(firstNs / 1_000),
      lookUpNs: rounded(nsOf(LOOK_UPS, () => lookUp(random()))),
      hotLookUpNs: rounded(nsOf(LOOK_UPS, () => lookUp(3))),
      changeUs: rounded(nsOf(CHANGES, () => change(random())) / 1_000),
    }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

function writeReplica(path: string, apps: number): void {
  const replica = openReplica(path)
  replica.apply({ t: 'snapshot' })
  for (let from = 0; from < apps; from += LINE_EVENTS) {
    const some = Array.from({ length: Math.min(LINE_EVENTS, apps - from) }, (_, i) =>
      appAt(from + i),
    )
    // The platform's own records come with the first.
    const entries = from === 0 ? testEntries(some) : testEntries(some, [])
    const events = entries.map(([key, value]): FeedEvent => ['put', key, value, 1])
    replica.apply({ t: 'events', revision: 1, events })
  }
  replica.apply({ t: 'synced', revision: 1 })
  replica.close()
}

function load(path: string): EdgeIndex {
  const replica = openReplica(path, { readOnly: true })
  const view = new EdgeIndex()
  for (const line of replica.lines()) view.apply(line)
  replica.close()
  return view
}

/** What a request does before it is sent: whose address, which service, which machine. */
function lookUpOf(view: EdgeIndex, apps: number): (i: number) => void {
  const addresses = Array.from({ length: apps }, (_, i) => addressOf(i))
  const now = () => performance.now()
  const balancer = nearestBalancer({ host: 'iad1', region: 'iad', view, random: Math.random, now })
  const wanted = { exclude: null, machine: null, probe: null }
  return (i) => {
    const owner = view.address(addresses[i]!)
    const route = owner?.kind === 'app' ? owner.app.port('tcp', 80) : undefined
    const lease = route && balancer.claim(route, wanted)
    if (!lease || isRefusal(lease)) throw new Error(`app ${i} has nobody to ask`)
    lease.release()
  }
}

function changeOf(view: EdgeIndex, lookUp: (i: number) => void): (i: number) => void {
  let revision = 1
  return (i) => {
    const changed = testEndpoint(nameOf(i), { ...machine(i, 1), cordoned: ++revision % 2 === 0 })
    const key = `endpoint/${nameOf(i)}/${changed.machine}`
    const line: FeedLine = { t: 'events', revision, events: [['put', key, changed, revision]] }
    view.apply(line)
    lookUp(i)
  }
}

function nsOf(times: number, act: () => void): number {
  const began = process.hrtime.bigint()
  for (let i = 0; i < times; i++) act()
  return Number(process.hrtime.bigint() - began) / times
}

function heapBytes(): number {
  gc!()
  return process.memoryUsage().heapUsed
}

const rounded = (n: number): number => Math.round(n * 100) / 100

if (import.meta.main) {
  const [apps] = process.argv.slice(2)
  if (apps) process.stdout.write(`${JSON.stringify(measure(Number(apps)))}\n`)
  else printGrowth(measureGrowth())
}
