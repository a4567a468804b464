import { pino } from 'pino'
import type { Clock } from '../base/clock.ts'
import type { Token } from '../model/resources.ts'
import type { KeyValue, Op, RangeOptions, Store, Txn } from '../store/store.ts'
import { RANGE_LIMIT_MAX, TXN_OPS_MAX } from '../store/store.ts'
import { type ControlConfig, parseControlConfig } from './config.ts'
import type { Actor, Control, HostAcks, Sealer } from './context.ts'
import { createSealer } from './seal.ts'

/** Fakes for tests of the control plane: no disk, no real time. */

/**
 * A store in memory, for get, range and txn. Every call gives way first, so that callers interleave
 * between any two of their calls.
 */
export function memoryStore(): Store & { dump(): Map<string, string> } {
  const kvs = new Map<string, KeyValue>()
  let revision = 0
  const give = () => new Promise<void>((resolve) => setImmediate(resolve))
  const apply = (op: Op) => {
    if ('delete' in op) return void kvs.delete(op.delete)
    const old = kvs.get(op.put)
    kvs.set(op.put, {
      key: op.put,
      value: op.value,
      createRevision: old?.createRevision ?? revision,
      modRevision: revision,
      version: (old?.version ?? 0) + 1,
    })
  }
  return {
    async get(key) {
      await give()
      return kvs.get(key)
    },
    async range(prefix, { limit = RANGE_LIMIT_MAX, after = '' }: RangeOptions = {}) {
      await give()
      const all = [...kvs.values()]
        .filter(({ key }) => key.startsWith(prefix) && key > after)
        .sort((a, b) => (a.key < b.key ? -1 : 1))
      return { kvs: all.slice(0, limit), revision, more: all.length > limit }
    },
    async txn({ when = [], then, otherwise = [] }: Txn) {
      await give()
      if (then.length > TXN_OPS_MAX || when.length > TXN_OPS_MAX) throw new Error('too_many_ops')
      const succeeded = when.every((compare) =>
        'value' in compare
          ? kvs.get(compare.key)?.value === compare.value
          : (kvs.get(compare.key)?.modRevision ?? 0) === compare.modRevision,
      )
      const ops = succeeded ? then : otherwise
      const touched = ops.map((op) => ('put' in op ? op.put : op.delete))
      if (new Set(touched).size < touched.length) throw new Error(`duplicate_key: ${touched}`)
      if (ops.length > 0) revision += 1
      for (const op of ops) apply(op)
      return { succeeded, revision }
    },
    watch: () => {
      throw new Error('the fake store has no watch')
    },
    leases: {
      grant: () => Promise.reject(new Error('the fake store has no leases')),
      renew: () => Promise.resolve(false),
      revoke: () => Promise.resolve(),
    },
    dump: () => new Map([...kvs].map(([key, { value }]) => [key, value])),
  }
}

/** Time that passes when the test says so, and at once when somebody sleeps. */
export function fakeClock(startMs = Date.UTC(2026, 0, 1)): Clock & { advance(ms: number): void } {
  let nowMs = startMs
  return {
    now: () => nowMs,
    sleep: () => new Promise((resolve) => setImmediate(resolve)),
    advance: (ms) => {
      nowMs += ms
    },
  }
}

/** Every edge has applied everything, but for the hosts in `waiting`. */
export const fakeEdges = (waiting: string[] = []): HostAcks & { asked: number[] } => {
  const asked: number[] = []
  return {
    asked,
    applied: (host) => (waiting.includes(host) ? null : Number.MAX_SAFE_INTEGER),
    waitFor: async (revision) => {
      asked.push(revision)
      return { waiting }
    },
  }
}

const region = (code: string, name: string) => ({
  code,
  name,
  latitude: 0,
  longitude: 0,
  geoRegion: 'north_america',
  distancesMs: {},
})

export const testConfig = (changes: Partial<ControlConfig> = {}): ControlConfig => ({
  ...parseControlConfig(
    {
      stateDir: '/nonexistent',
      api: { host: '127.0.0.1', port: 0 },
      agents: { host: '127.0.0.1', port: 0, names: ['localhost'] },
      appsDomains: ['fairway.test', 'localhost'],
      regions: [region('iad', 'Ashburn'), region('lhr', 'London'), region('nrt', 'Tokyo')],
      hosts: [],
      pools: { v4: ['203.0.113.16/29'], sharedV4: ['203.0.113.1'], v6: ['2001:db8:1::/48'] },
      egressPools: {
        iad: { v4: ['198.51.100.0/28'], v6: ['2001:db8:e001::/48'] },
        lhr: { v4: ['198.51.100.64/30'], v6: ['2001:db8:e002::/48'] },
      },
    },
    'test',
  ),
  ...changes,
})

export interface TestControl extends Control {
  readonly store: ReturnType<typeof memoryStore>
  readonly clock: ReturnType<typeof fakeClock>
}

export function testControl(changes: Partial<Control> = {}): TestControl {
  return {
    store: memoryStore(),
    config: testConfig(),
    clock: fakeClock(),
    log: pino({ level: 'silent' }),
    random: Math.random,
    sealer: testSealer,
    edges: fakeEdges(),
    egressAcks: fakeEdges(),
    ...changes,
  } as TestControl
}

const testSealer: Sealer = createSealer(Buffer.alloc(32, 7))

export const testToken = (orgs: string[]): Token => ({
  id: 'token-1',
  name: 'test',
  user: { id: 'user-1', email: 'ada@example.com', name: 'Ada' },
  orgs,
  createdAt: '2026-01-01T00:00:00.000Z',
})
export const testActor = (...orgs: string[]): Actor => ({ token: testToken(orgs) })
