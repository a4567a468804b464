import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { ROOT, type TestWorld, upWorld } from '../test/support/world.ts'
import { type Percentiles, percentiles } from './process.ts'

/**
 * What a person waits for, measured in a real world: an address that is allocated until it answers in
 * every region, a machine that is started until its process runs, the world that comes up.
 */
export interface WorldResult {
  readonly upMs: readonly number[]
  /** From the API's reply to the answer in the slowest region; 0 when it answered before the reply. */
  readonly propagationMs: Percentiles
  /** From the API call to the process running, by the host's own event; it was down for a while. */
  readonly machineStartMs: Percentiles
  /** From the API call to the reply of `wait?state=started`. */
  readonly machineStartSeenMs: Percentiles
  /** The same when the machine has stopped a moment ago, and does not stand by yet. */
  readonly machineStartAtOnceMs: Percentiles
  /** From the call that makes a machine to its process running. */
  readonly machineFirstStartMs: Percentiles
}

/** The first ones would measure how long the probes' processes take to start. */
const WARM_UPS = 3
const ALLOCATIONS = 200
const STARTS = 40
const FIRST_STARTS = 20
/** A machine that people or a request start has been down for longer than that. */
const STOPPED_MS = 1_000
const UPS = 3

export async function measureWorld(): Promise<WorldResult> {
  const { world, upMs } = await measureUp()
  try {
    await world.fairway(['deploy', '-c', join(ROOT, 'examples/hello/fly.toml')])
    await world.fairway(['scale', 'count', '3', '--region', 'iad,lhr,nrt', '-a', 'hello', '--yes'])
    const propagationMs = await measurePropagation(world)
    return { upMs, propagationMs, ...(await measureStarts(world)) }
  } finally {
    await world.close()
  }
}

/** The first start makes state; the others find it, as a person's second run does. */
async function measureUp(): Promise<{ world: TestWorld; upMs: number[] }> {
  const upMs: number[] = []
  let stateDir: string | undefined
  for (let i = 0; ; i++) {
    const startedMs = performance.now()
    const world = await upWorld(stateDir ? { stateDir } : {})
    upMs.push(Math.round(performance.now() - startedMs))
    if (i === UPS) return { world, upMs }
    stateDir = world.stateDir
    await world.fairway(['down'])
  }
}

async function measurePropagation(world: TestWorld): Promise<Percentiles> {
  const probes = ['client-iad', 'client-lhr', 'client-nrt'].map((place) => startProbe(world, place))
  try {
    const results: number[] = []
    for (let i = -WARM_UPS; i < ALLOCATIONS; i++) {
      const { ip } = (await api(world, 'POST', '/v1/apps/hello/ip_assignments', {
        type: 'v6',
      })) as { ip: string }
      const repliedMs = wallMs()
      const answered = await Promise.all(probes.map((probe) => probe.answered(ip)))
      if (i >= 0) results.push(Math.max(0, ...answered.map((atMs) => atMs - repliedMs)))
      await api(world, 'DELETE', `/v1/apps/hello/ip_assignments/${ip}`)
    }
    return percentiles(results)
  } finally {
    for (const probe of probes) probe.close()
  }
}

type Starts = Pick<
  WorldResult,
  'machineStartMs' | 'machineStartSeenMs' | 'machineStartAtOnceMs' | 'machineFirstStartMs'
>

async function measureStarts(world: TestWorld): Promise<Starts> {
  const { running, seen } = await startAgain(world, STOPPED_MS)
  const atOnce = await startAgain(world, 0)
  return {
    machineStartMs: percentiles(running),
    machineStartSeenMs: percentiles(seen),
    machineStartAtOnceMs: percentiles(atOnce.running),
    machineFirstStartMs: percentiles(await startFirst(world)),
  }
}

const MACHINES = '/v1/apps/hello/machines'

/** Stops and starts one machine; `stoppedMs`: how long it stays down. */
async function startAgain(
  world: TestWorld,
  stoppedMs: number,
): Promise<{ running: number[]; seen: number[] }> {
  const machines = (await api(world, 'GET', MACHINES)) as { id: string }[]
  const path = `${MACHINES}/${machines[0]!.id}`
  const running: number[] = []
  const seen: number[] = []
  for (let i = 0; i < STARTS; i++) {
    await api(world, 'POST', `${path}/stop`)
    await api(world, 'GET', `${path}/wait?state=stopped&timeout=30`)
    await delay(stoppedMs)
    const calledMs = wallMs()
    await api(world, 'POST', `${path}/start`)
    await api(world, 'GET', `${path}/wait?state=started&timeout=30`)
    seen.push(wallMs() - calledMs)
    running.push((await startedAt(world, path)) - calledMs)
  }
  return { running, seen }
}

async function startFirst(world: TestWorld): Promise<number[]> {
  const [like] = (await api(world, 'GET', MACHINES)) as { region: string; config: object }[]
  const running: number[] = []
  for (let i = 0; i < FIRST_STARTS; i++) {
    const calledMs = wallMs()
    const { id } = (await api(world, 'POST', MACHINES, {
      region: like!.region,
      config: like!.config,
    })) as { id: string }
    const path = `${MACHINES}/${id}`
    await api(world, 'GET', `${path}/wait?state=started&timeout=30`)
    running.push((await startedAt(world, path)) - calledMs)
    await api(world, 'DELETE', `${path}?force=true`)
    await api(world, 'GET', `${path}/wait?state=destroyed&timeout=30`)
  }
  return running
}

/** When the host saw the machine's last start, in the wall clock's milliseconds. */
async function startedAt(world: TestWorld, path: string): Promise<number> {
  const { events } = (await api(world, 'GET', path)) as {
    events: { type: string; status: string; timestamp: number }[]
  }
  return events.find((e) => e.type === 'start' && e.status === 'started')!.timestamp
}

interface Probe {
  /** Resolves with the wall clock's milliseconds at the first answer from an address. */
  answered(address: string): Promise<number>
  close(): void
}

/** A process at a place that asks an address again and again until it answers. */
function startProbe(world: TestWorld, place: string): Probe {
  const child: ChildProcess = spawn(
    join(ROOT, 'bin', 'fairway'),
    [
      'world',
      'exec',
      place,
      '--',
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      join(import.meta.dirname, 'probe.ts'),
    ],
    { env: { ...process.env, FAIRWAY_STATE: world.stateDir }, stdio: ['pipe', 'pipe', 'inherit'] },
  )
  const waiting = new Map<string, (ms: number) => void>()
  createInterface({ input: child.stdout! }).on('line', (line) => {
    const { address, atMs } = JSON.parse(line) as { address: string; atMs: number }
    waiting.get(address)?.(atMs)
    waiting.delete(address)
  })
  return {
    answered: (address) =>
      new Promise((resolve) => {
        waiting.set(address, resolve)
        child.stdin!.write(`${address}\n`)
      }),
    close: () => child.stdin!.end(),
  }
}

async function api(
  world: TestWorld,
  method: string,
  path: string,
  body?: object,
): Promise<unknown> {
  const response = await fetch(`http://127.0.0.1:${world.apiPort}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${world.token}`,
      ...(body ? { 'content-type': 'application/json' } : {}),
    },
    body: body ? JSON.stringify(body) : null,
    signal: AbortSignal.timeout(35_000),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
  return text ? JSON.parse(text) : undefined
}

const wallMs = () => performance.timeOrigin + performance.now()
