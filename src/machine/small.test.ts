import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { MachineConfig } from '../model/machine-config.ts'
import { parseHierarchies, prepareCgroups } from './cgroups.ts'
import { runtimeMessage } from './conmon.ts'
import { exitedEvent } from './events.ts'
import { hexAddress, processesOf } from './processes.ts'
import { planRestart } from './restart.ts'
import { isSignal, signalName, signalOf } from './signals.ts'
import { slotName, slotOf } from './slot.ts'
import { createSlots } from './start-slots.ts'
import { inUserNamespace, machineUid, parseIdMap } from './user.ts'

test('slots from addresses', () => {
  assert.equal(slotOf('172.16.0.2'), 1)
  assert.equal(slotOf('172.16.15.252'), 2046)
  assert.equal(slotOf('172.16.16.2'), 1, 'the second host')
  assert.equal(slotName('172.31.255.252'), 'vm2046')
  assert.throws(() => slotOf('172.32.0.2'), /172\.16\.0\.0\/12/)
  assert.throws(() => slotOf('fdaa::1'))
})

test('uids: of their own where enough are mapped', () => {
  const full = parseIdMap('         0          0 4294967295\n')
  assert.equal(inUserNamespace(full), false)
  assert.equal(machineUid(full, 1, 5), 0x7000_0005)
  assert.equal(machineUid(full, 2, 5), 0x7000_0805)
  const single = parseIdMap('0 1001 1')
  assert.equal(inUserNamespace(single), true)
  assert.equal(machineUid(single, 1, 5), 0)
  const many = parseIdMap('0 1001 1\n1 100000 65536\n')
  assert.equal(machineUid(many, 1, 5), 1_006)
  assert.notEqual(machineUid(many, 2, 5), machineUid(many, 1, 5))
})

test('signals by name and number', () => {
  assert.equal(signalName('term'), 'SIGTERM')
  assert.equal(signalName('SIGHUP'), 'SIGHUP')
  assert.equal(signalName('15'), 'SIGTERM')
  assert.throws(() => signalName('SIGNOPE'), /SIGNOPE.*SIGTERM/)
  assert.equal(isSignal('toString'), false)
  assert.equal(signalOf(9), 'SIGKILL')
})

test('restart policies', () => {
  const exit = (code: number) => ({ code, oomKilled: false, atMs: 0 })
  const plan = (restart: object | undefined, code: number, restarts = 0, forMs = 0) =>
    planRestart(
      MachineConfig.parse({ image: 'a', restart }),
      exit(code),
      { forMs, restarts },
      () => 0.5,
    )
  assert.equal(plan(undefined, 0).delayMs, null, 'on-failure is the default')
  assert.deepEqual(plan(undefined, 1), { restarts: 1, delayMs: 75, exhausted: false })
  assert.equal(plan(undefined, 1, 10).exhausted, true)
  assert.equal(plan(undefined, 1, 10, 60_000).restarts, 1, 'it ran well in between')
  assert.equal(plan({ policy: 'always' }, 0, 500).delayMs, 22_500)
  assert.equal(plan({ policy: 'no' }, 1).delayMs, null)
  assert.equal(plan({ max_retries: 0 }, 1).exhausted, true)
})

test('an exit event has what clients dereference', () => {
  const exit = { code: 137, oomKilled: true, atMs: 5 }
  const event = exitedEvent(exit, { requested: false, restarting: true, restarts: 3 })
  assert.equal(event.type, 'exit')
  assert.equal(event.request?.restart_count, 3)
  const { signal, oom_killed, exit_code, restarting } = event.request!.exit_event!
  assert.deepEqual([signal, oom_killed, exit_code, restarting], [9, true, 137, true])
})

test('the error out of the runtime’s log', () => {
  const text =
    'time="2026" level=warning msg="unable to"\ntime="2026" level=error msg="runc create failed: exec: \\"/x\\": not found"'
  assert.equal(runtimeMessage(text), 'runc create failed: exec: "/x": not found')
  assert.equal(runtimeMessage(' plain \n'), 'plain')
})

test('hierarchies out of mountinfo: hybrid', () => {
  const text = [
    '30 20 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory',
    '31 20 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct',
    '32 20 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw',
    '33 20 0:29 / /proc rw - proc proc rw',
  ].join('\n')
  assert.deepEqual(parseHierarchies(text), [
    { path: '/sys/fs/cgroup/memory', version: 1, controllers: ['memory'] },
    { path: '/sys/fs/cgroup/cpu,cpuacct', version: 1, controllers: ['cpu', 'cpuacct'] },
    { path: '/sys/fs/cgroup/unified', version: 2, controllers: [] },
  ])
})

test('all machines together leave something to their host', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fairway-cgroups-'))
  after(() => rmSync(folder, { recursive: true }))
  const [memory, pids, unified] = ['memory', 'pids', 'unified'].map((name) => join(folder, name))
  const total = { memoryBytes: 1_000_000, pids: 10_000 }
  const v1 = (path: string, name: string) => ({ path, version: 1, controllers: [name] }) as const
  const split = [v1(memory!, 'memory'), v1(pids!, 'pids')]
  assert.deepEqual(prepareCgroups('/fairway-x/iad1', split, total), { usable: true })
  const read = (...path: string[]) => readFileSync(join(...path), 'utf8')
  assert.equal(read(memory!, 'fairway-x', 'memory.limit_in_bytes'), '800000')
  assert.equal(read(pids!, 'fairway-x', 'pids.max'), '5000')
  mkdirSync(unified!)
  writeFileSync(join(unified!, 'cgroup.controllers'), 'cpuset cpu io memory pids\n')
  const one = [{ path: unified!, version: 2, controllers: [] }] as const
  assert.deepEqual(prepareCgroups('/fairway-x/iad1', one, total), { usable: true })
  assert.equal(read(unified!, 'fairway-x', 'memory.max'), '800000')
  assert.equal(read(unified!, 'fairway-x', 'pids.max'), '5000')
  assert.equal(read(unified!, 'fairway-x', 'cgroup.subtree_control'), '+cpu', 'written last')
})

test('addresses as /proc/net prints them', () => {
  assert.equal(hexAddress('0100007F:1F90'), '127.0.0.1:8080')
  assert.equal(hexAddress('00000000000000000000000000000000:0050'), '[::]:80')
  assert.equal(hexAddress('0000AAFD0100000000000000020000FE:0001').startsWith('[fdaa:0:'), true)
})

test('processes of a namespace include this one', async () => {
  const own = (await processesOf(process.pid)).find(({ pid }) => pid === process.pid)
  assert.match(own?.command ?? '', /node/)
  assert.deepEqual(await processesOf(2 ** 30), [])
})

test('no more than so many at one time, in order', async () => {
  const slot = createSlots(2)
  let active = 0
  let most = 0
  const order: number[] = []
  await Promise.all(
    [1, 2, 3, 4, 5].map((n) =>
      slot(async () => {
        most = Math.max(most, ++active)
        await new Promise(setImmediate)
        active -= 1
        order.push(n)
        if (n === 2) throw new Error('freed all the same')
      }).catch(() => {}),
    ),
  )
  assert.equal(most, 2)
  assert.deepEqual(order, [1, 2, 3, 4, 5])
})
