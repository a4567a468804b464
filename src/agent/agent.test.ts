import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { pino } from 'pino'
import { type ControlProcess, startControl } from '../api/control-process.ts'
import { configOf } from '../api/testing.ts'
import { systemClock } from '../base/clock.ts'
import { FairwayError } from '../base/errors.ts'
import { issueHostCertificate } from '../control/ca.ts'
import type { DrainingBlock, SlotOwner } from '../egress/egress-table.ts'
import type { EgressPair, Host, Machine } from '../model/resources.ts'
import type { EdgeLine, EgressUsage, HostReport, LogLine, MachineReport } from '../model/wire.ts'
import { EdgeIndex } from '../view/edge-index.ts'
import { Agent, feedSocketPath, replicaPath } from './agent.ts'
import { ControlClient } from './control-client.ts'
import { followFeedSocket } from './feed-socket.ts'
import { createHostEgress } from './host-egress.ts'
import type { Announcer, EgressWatch, HostNetwork, MachineManager } from './parts.ts'
import { openReplica } from './replica.ts'

const MESH_KEY = `${'A'.repeat(42)}E=`
const log = pino({ level: 'silent' })

let directory: string
let control: ControlProcess | undefined
let url: string
let parts: FakeParts
let agent: Agent
let edge: AbortController
let changed = Promise.withResolvers<void>()

const signalChange = () => {
  changed.resolve()
  changed = Promise.withResolvers()
}
const until = async (done: () => boolean): Promise<void> => {
  while (!done()) await changed.promise
}
/** For what only shows when somebody looks. */
const eventually = async (done: () => boolean | Promise<boolean>): Promise<void> => {
  while (!(await done())) await new Promise((resolve) => setTimeout(resolve, 2))
}

class FakeParts {
  hosts: readonly Host[] = []
  applied: { machines: ReadonlyMap<string, Machine>; unreadable: ReadonlySet<string> } | undefined
  readonly calls: string[] = []
  report: (report: MachineReport) => void = () => {}
  networkFailures = 0
  readonly reported: HostReport[] = []

  readonly network: HostNetwork = {
    start: async () => {
      if (this.networkFailures-- > 0) throw new Error('no firewall yet')
      this.calls.push('network')
      return { meshPublicKey: MESH_KEY }
    },
    applyHosts: (hosts) => {
      this.hosts = hosts
      signalChange()
    },
    close: async () => {},
  }

  owners: readonly SlotOwner[] = []
  /** Blocks that flows use still. */
  inUse = true
  reached: readonly number[] = []
  readonly egress = createHostEgress({
    ...{ host: { id: 'iad1', region: 'iad' }, clock: systemClock, log },
    overlay: {
      apply: async (indexes) => {
        this.reached = indexes
      },
    },
    table: {
      start: async () => void this.calls.push('egress'),
      admit: async () => {},
      remove: async () => {},
      hold: () => {},
      letGo: async () => {},
      steer: async (owners) => {
        this.owners = [...owners]
        signalChange()
      },
      drained: async <T extends DrainingBlock>(blocks: readonly T[]) =>
        this.inUse ? [] : [...blocks],
      repairs: 0,
      look: async () => {},
      close: async () => {},
    },
  })

  announced: readonly string[] = []
  announcedEgress: readonly string[] = []
  readonly announcer: Announcer = {
    apply: (addresses) => {
      this.announced = [...addresses.anycast].sort()
      this.announcedEgress = [...addresses.egress].sort()
      signalChange()
    },
  }

  watched: readonly string[] = []
  readonly egressWatch: EgressWatch = {
    start: async () => {},
    apply: (machines) => {
      this.watched = [...machines.keys()]
    },
    usage: async (app) => [{ machine: 'm1', app: app ?? 'any' } as EgressUsage],
    check: async ({ host }) => {
      throw new FairwayError('not_found', `no machine reaches ${host}`)
    },
    close: async () => {},
  }

  readonly machines: MachineManager = {
    start: async () => void this.calls.push('machines'),
    apply: (machines, unreadable) => {
      this.calls.push('apply')
      this.applied = { machines, unreadable: unreadable! }
      signalChange()
    },
    async *exec() {
      yield { t: 'exit', code: 0, signal: 0 }
    },
    onReport: (callback) => {
      this.report = callback
    },
    logs: async function* ({ app }) {
      yield { app, message: 'hello' } as LogLine
    },
    ps: async (machine) => [{ pid: 1, command: machine }],
    edgeLog: (line) => {
      this.calls.push(`log ${line.message}`)
      signalChange()
    },
    setLoad: (machine, service, load) => {
      this.calls.push(`load ${machine}/${service}=${load}`)
      signalChange()
    },
    close: async () => {},
  }
}

async function createAgent(): Promise<Agent> {
  const credentials = await issueHostCertificate(control!.ca, 'iad1')
  parts = new FakeParts()
  const { network, machines, egress, egressWatch } = parts
  const client = new ControlClient({
    urls: [url],
    tls: { ...credentials, serverName: 'localhost' },
  })
  const report = client.report.bind(client)
  client.report = (sent, signal) => {
    parts.reported.push(sent)
    return report(sent, signal)
  }
  return new Agent({
    ...{ hostId: 'iad1', region: 'iad', announcer: parts.announcer },
    ...{
      stateDir: directory,
      runDir: directory,
      client,
      network,
      machines,
      egress,
      instances: { report: () => {} },
      edge: { explain: () => Promise.reject(new Error('there is none')) },
      egressWatch,
      log,
    },
    ...{ clock: systemClock, random: () => 0 },
  })
}

function connectEdge(): { index: EdgeIndex; send(line: EdgeLine): void } {
  const index = new EdgeIndex()
  const { send } = followFeedSocket(feedSocketPath(directory), {
    after: 0,
    signal: edge.signal,
    onLine: (line) => {
      index.apply(line)
      send({ t: 'applied', revision: index.revision })
      signalChange()
    },
  })
  return { index, send }
}

const put = async (key: string, value: unknown): Promise<number> => {
  const ops = [{ put: key, value: JSON.stringify(value) }]
  return (await control!.context.store.txn({ then: ops })).revision
}

const machine = (id: string) => ({
  ...{ id, name: id, app: 'hello', org: 'personal', networkId: 1, host: 'iad1', region: 'iad' },
  ...{ v4: '172.16.0.2', v6: 'fdaa:0:1:a7b:1:0:1:2', instanceId: 'i1', cordoned: false },
  ...{ config: { image: 'x' }, desired: 'started', generation: 1, action: null },
  ...{ secretsVersion: 0, createdAt: '', updatedAt: '' },
})

const appRecord = {
  ...{ id: 'hello', numericId: 1, name: 'hello', org: 'personal', network: 'default' },
  ...{ networkId: 1, sharedV4: null, status: 'deployed', createdAt: '' },
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'agent-'))
  edge = new AbortController()
  control = await startControl(configOf(join(directory, 'control')), log)
  url = `https://127.0.0.1:${control.agentsPort}`
  agent = await createAgent()
})
afterEach(async () => {
  edge.abort()
  await agent.close()
  await control?.close()
  rmSync(directory, { recursive: true })
})

test('state goes down to edge, machines and network; what the edge applied comes back', async () => {
  await put('machine/iad1/m1', machine('m1'))
  await agent.start()
  await until(() => parts.applied?.machines.has('m1') === true && parts.hosts.length === 3)
  assert.deepEqual(parts.calls.slice(0, 4), ['network', 'egress', 'machines', 'apply'])
  const { index } = connectEdge()
  const revision = await put('app/hello', appRecord)
  await until(() => index.app('hello') !== undefined)
  const { edges, store } = control!.context
  assert.deepEqual(await edges.waitFor(revision, 5_000), { waiting: [] })
  await eventually(async () => (await store.get('host-live/iad1')) !== undefined)
  await until(() => parts.hosts.find(({ id }) => id === 'iad1')?.meshPublicKey === MESH_KEY)
  const before = parts.applied!.machines.get('m1')
  await put('machine/iad1/m2', machine('m2'))
  await until(() => parts.applied!.machines.size === 2)
  assert.equal(parts.applied!.machines.get('m1'), before, 'what did not change is the same object')
})

test('attached addresses of the own region are announced, and no others', async () => {
  const address = (text: string, rest: object) => ({
    ...{ id: text, address: text, kind: 'v4', state: 'attached', org: 'personal', app: 'hello' },
    ...{ network: null, serviceName: null, createdAt: '', quarantinedUntilMs: null, ...rest },
  })
  await agent.start()
  await put('address/203.0.113.7', address('203.0.113.7', { region: 'iad' }))
  await put('address/203.0.113.8', address('203.0.113.8', { region: 'lhr' }))
  await put('address/203.0.113.9', address('203.0.113.9', { region: 'global' }))
  await put('address/2001:db8:1::7', address('2001:db8:1::7', { region: 'iad', kind: 'v6' }))
  await until(() => parts.announced.length === 2)
  assert.deepEqual(parts.announced, ['2001:db8:1::7', '203.0.113.7'])
  await put('address/203.0.113.7', address('203.0.113.7', { region: 'iad', state: 'parked' }))
  await until(() => parts.announced.length === 1)
})

test('pairs of the own region are steered, and the control plane hears of it', async () => {
  const block = (host: string, slot: number, state = 'use') => ({
    ...{ host, slot, count: 1, machine: `m${slot}`, state },
  })
  const pair = (id: string, changes: Partial<EgressPair>): EgressPair => ({
    ...{ id, v4: '198.51.100.7', v6: '2001:db8:e001::7', org: 'personal', app: 'hello' },
    ...{ machine: null, outbound: null, regions: ['iad'], pin: null, state: 'active' },
    ...{ blocks: [], createdAt: '', updatedAt: '', ...changes },
  })
  await agent.start()
  const blocks = [block('iad1', 0), block('lhr1', 3)] as EgressPair['blocks']
  const revision = await put('egress/p1', pair('p1', { blocks }))
  await until(() => parts.owners.length === 2)
  const index = parts.hosts.find(({ id }) => id === 'lhr1')!.index
  assert.deepEqual(
    parts.owners,
    ['198.51.100.7', '2001:db8:e001::7'].map((address) => ({
      ...{ address, slot: 3, count: 1, hostIndex: index },
    })),
  )
  assert.equal(parts.reached.length, 3)
  assert.deepEqual(parts.announcedEgress, [])
  await eventually(() => (parts.reported.at(-1)?.egressRevision ?? 0) >= revision)
  await put('egress/p2', pair('p2', { v4: '198.51.100.9', v6: null, regions: ['lhr', 'iad'] }))
  await until(() => parts.announcedEgress.length === 1)
  assert.deepEqual(parts.announcedEgress, ['198.51.100.9'])
  await put('egress/p2', pair('p2', { regions: ['lhr'], blocks }))
  await until(() => parts.announcedEgress.length === 0)
  assert.equal(parts.owners.length, 2, 'pairs of other regions are not steered here')
  const draining = [block('iad1', 0, 'drain'), block('lhr1', 3, 'drain')] as EgressPair['blocks']
  await put('egress/p1', pair('p1', { blocks: draining }))
  parts.inUse = false
  await eventually(() => (parts.reported.at(-1)?.egressDrained.length ?? 0) > 0)
  assert.deepEqual(parts.reported.at(-1)!.egressDrained, [{ pair: 'p1', slot: 0 }])
})

test('without the control plane the replica is enough for machines, network and edge', async () => {
  await put('machine/iad1/m1', machine('m1'))
  const revision = await put('app/hello', appRecord)
  await agent.start()
  await until(() => parts.applied?.machines.has('m1') === true)
  await agent.close()
  const replica = openReplica(replicaPath(directory), { readOnly: true })
  assert.ok(replica.revision >= revision)
  replica.close()

  agent = await createAgent()
  await control!.close()
  control = undefined
  await agent.start()
  assert.ok(parts.applied!.machines.has('m1'))
  assert.equal(parts.hosts.length, 3)
  const { index } = connectEdge()
  await until(() => index.app('hello') !== undefined)
})

test('without any state no machine is touched, and the agent is not ready', async () => {
  const { close } = control!
  agent = await createAgent()
  await close()
  control = undefined
  let isReady = false
  const starting = agent.start().then(() => {
    isReady = true
  })
  await eventually(() => parts.calls.includes('machines'))
  assert.ok(!isReady)
  assert.equal(parts.applied, undefined)
  await agent.close()
  await starting
})

test('a network that cannot be started is tried again, and machines wait for it', async () => {
  parts.networkFailures = 1
  await agent.start()
  assert.deepEqual(parts.calls, ['network', 'egress', 'machines', 'apply'])
})

test('a machine whose record cannot be read is not taken away', async () => {
  await put('machine/iad1/good', machine('good'))
  await put('machine/iad1/odd', { ...machine('odd'), desired: 'dancing' })
  await agent.start()
  await until(() => parts.applied?.machines.has('good') === true)
  assert.deepEqual([...parts.applied!.unreadable], ['odd'])
  await put('machine/iad1/good', { ...machine('good'), generation: 'x' })
  await put('machine/iad1/odd', machine('odd'))
  await until(() => parts.applied!.machines.has('odd'))
  assert.equal(parts.applied!.machines.get('good')!.generation, 1, 'its version before')
  assert.equal(parts.applied!.unreadable.size, 0)
})

test('what the edge tells reaches the machines; its loads end with it', async () => {
  await agent.start()
  const { send } = connectEdge()
  send({ t: 'load', machine: 'm1', service: 0, load: 2 })
  const line = { timestamp: '', app: 'hello', machine: '', region: 'iad', host: 'iad1' }
  send({ t: 'log', line: { ...line, level: 'error', source: 'proxy', message: 'oh' } })
  await until(() => parts.calls.includes('load m1/0=2') && parts.calls.includes('log oh'))
  edge.abort()
  await until(() => parts.calls.includes('load m1/0=0'))
})

test('calls of the control plane are answered', async () => {
  await agent.start()
  const { calls } = control!.context
  await eventually(() => calls.isConnected('iad1'))
  const { signal } = new AbortController()
  const ask = (call: Parameters<typeof calls.call>[1]) =>
    Array.fromAsync(calls.call('iad1', call, signal))
  const logs = { method: 'logs', app: 'hello', tail: 10, follow: false } as const
  assert.deepEqual(await ask(logs), [{ app: 'hello', message: 'hello' }])
  assert.deepEqual(await ask({ method: 'ps', machine: 'm1' }), [[{ pid: 1, command: 'm1' }]])
  assert.deepEqual(await ask({ method: 'egress-usage', app: 'hello' }), [
    { machine: 'm1', app: 'hello' },
  ])
  const check = { method: 'egress-check', machine: 'm1', port: 80, timeoutMs: 100 } as const
  assert.deepEqual(await ask({ ...check, host: 'example.test' }), [
    { error: { code: 'not_found', message: 'no machine reaches example.test' } },
  ])
})
