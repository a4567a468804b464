import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { systemClock } from '../../base/clock.ts'
import { keys } from '../../model/keys.ts'
import type { App, Host, Machine, MachineStatus, Org, Region } from '../../model/resources.ts'
import type { MachineReport } from '../../model/wire.ts'
import { openSqliteStore, type SqliteStore } from '../../store/sqlite/sqlite-store.ts'
import type { Artifact } from '../artifacts.ts'
import type { ControlConfig } from '../config.ts'
import type { Actor } from '../context.ts'
import { HostAckTable } from '../host-acks.ts'
import { testActor, testConfig, testControl } from '../testing.ts'
import { put } from '../transact.ts'
import type { MachineControl } from './context.ts'
import { startFleetState } from './fleet-state.ts'
import { applyMachineReports, TombLeases } from './report.ts'

/** A control plane on a real store in memory, with hosts, an app and an artifact, for tests. */

export const DIGEST = 'a'.repeat(64)
export const IMAGE = `registry.fairway.test/hello@sha256:${DIGEST}`
export const CONFIG = { image: IMAGE, services: [] as unknown[] }

export interface TestMachines {
  readonly control: MachineControl & { readonly store: SqliteStore; readonly edges: HostAckTable }
  readonly actor: Actor
  /** Waits until the fleet in memory shows what the store has. */
  settled(): Promise<void>
  /** Reports as the machine's host would when it has done what is asked. */
  report(machine: Machine, changes?: Partial<MachineReport>): Promise<void>
  read<T>(key: string): Promise<T | undefined>
  close(): Promise<void>
}

export const TEST_HOSTS: readonly Host[] = [
  ['iad1', 'iad', 1],
  ['iad2', 'iad', 2],
  ['lhr1', 'lhr', 3],
  ['nrt1', 'nrt', 4],
].map(([id, region, index]) => ({
  id: id as string,
  region: region as string,
  index: index as number,
  underlayV4: `198.51.100.${index}`,
  underlayV6: `2001:db8:ffff::${index}`,
  meshPublicKey: null,
}))

export const testApp = (name: string, org: string, networkId: number): App => ({
  id: `id-${name}`,
  numericId: 7,
  name,
  org,
  network: 'default',
  networkId,
  sharedV4: null,
  status: 'pending',
  createdAt: '2026-01-01T00:00:00.000Z',
  releaseSplit: null,
})

/** The record of DIGEST; its file is there too. */
export const testArtifact: Artifact = {
  digest: DIGEST,
  size: 0,
  createdAt: '2026-01-01T00:00:00.000Z',
}

const testOrg: Org = {
  id: 'org-1',
  numericId: 1,
  slug: 'personal',
  name: 'Personal',
  type: 'PERSONAL',
  createdAt: '2026-01-01T00:00:00.000Z',
  allowSharedBesideDedicated: false,
}

export async function testMachines(
  live: readonly string[] = ['iad1', 'iad2', 'lhr1', 'nrt1'],
  changes: Partial<ControlConfig> = {},
): Promise<TestMachines> {
  const store = await openSqliteStore(':memory:')
  await seed(store, testConfig().regions, live)
  const stateDir = mkdtempSync(join(tmpdir(), 'fairway-machines-'))
  mkdirSync(join(stateDir, 'artifacts'))
  writeFileSync(join(stateDir, 'artifacts', DIGEST), '')
  const base = { store, clock: systemClock, log: pino({ level: 'silent' }), random: Math.random }
  const state = await startFleetState(base)
  const edges = new HostAckTable(() => state.fleet.liveRecords(), systemClock)
  const control = {
    ...testControl({ ...base, edges, config: testConfig({ stateDir, ...changes }) }),
    ...state,
    ...base,
    edges,
  }
  const tombs = new TombLeases()
  return {
    control,
    actor: testActor('personal'),
    settled: async () => {
      // Watches are served in the order of commits, so a later change seen means all before it are.
      const code = `zz${Math.floor(Math.random() * 1e9)}`
      const region = { ...testConfig().regions[0]!, code }
      await store.txn({ then: [put(keys.region(code), region)] })
      while (!state.fleet.regions().some((one) => one.code === code)) await pause()
      await store.txn({ then: [{ delete: keys.region(code) }] })
    },
    report: async (machine, changes = {}) => {
      const current = await readJson<Machine>(store, keys.machine(machine.host, machine.id))
      const asked = current ?? machine
      await applyMachineReports(control, tombs, machine.host, [{ ...done(asked), ...changes }])
    },
    read: (key) => readJson(store, key),
    close: async () => {
      await state.stop()
      await store.close()
      rmSync(stateDir, { recursive: true })
    },
  }
}

/** What a host reports when it has done all that was asked. */
export const done = (machine: Machine): MachineReport => ({
  machine: machine.id,
  app: machine.app,
  instanceId: machine.instanceId,
  generation: machine.generation,
  state: machine.desired as MachineStatus['state'],
  checks: [],
  services: (machine.config.services ?? []).map(() => ({ healthy: true, load: 0 })),
  egressProblem: null,
  events: [],
  gone: machine.desired === 'destroyed',
})

async function seed(
  store: SqliteStore,
  regions: readonly Region[],
  live: readonly string[],
): Promise<void> {
  await store.txn({
    then: [
      ...regions.map((region) => put(keys.region(region.code), region)),
      ...TEST_HOSTS.map((host) => put(keys.host(host.id), host)),
      ...live.map((id) => put(keys.hostLive(id), { id, since: '2026-01-01T00:00:00.000Z' })),
      put(keys.org('personal'), testOrg),
      put(keys.org('others'), { ...testOrg, id: 'org-2', numericId: 2, slug: 'others' }),
      put(keys.app('hello'), testApp('hello', 'personal', 5)),
      put(keys.artifact('hello', DIGEST), testArtifact),
      put(keys.app('foreign'), testApp('foreign', 'others', 6)),
    ],
  })
}

async function readJson<T>(store: SqliteStore, key: string): Promise<T | undefined> {
  const kv = await store.get(key)
  return kv && (JSON.parse(kv.value) as T)
}

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1))
