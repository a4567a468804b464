import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { FairwayError } from '../base/errors.ts'
import type { Machine } from '../model/resources.ts'
import { type BundleInput, machineArgv, ociConfig, PIDS_MAX, writeBundle } from './bundle.ts'
import { machineEnvironment, publicIpOf } from './environment.ts'
import { etcFiles } from './etc.ts'
import { seccompProfile } from './seccomp.ts'
import { COPIES_MAX, ETC_SHARED, prepareSystem, pruneSystem } from './system.ts'
import { fakeHost, fakeMachine } from './testing.ts'

const machine = fakeMachine()
const input: BundleInput = {
  ...{ machine, environment: { A: 'b=c' }, folder: '/m/a1', app: '/artifacts/x', uid: 100_001 },
  ...{
    netnsPath: '/run/netns/vm1',
    nodePath: '/opt/node',
    initPath: '/opt/init',
    cgroup: '/fw/a1',
    userNamespace: false,
  },
  system: {
    ...{ folder: '/system/x', name: 'x', etc: ['ssl'] },
    ...{ mounts: ['/usr'], links: [['bin', 'usr/bin']] },
  },
}

test('a machine has no powers', () => {
  const { process, root, linux, hostname } = ociConfig(input)
  assert.deepEqual(new Set(Object.values(process.capabilities).flat()), new Set())
  assert.equal(process.noNewPrivileges, true)
  assert.ok(process.oomScoreAdj > 0)
  assert.equal(root.readonly, true)
  assert.deepEqual(process.args, ['/.fairway/init', '--', 'serve'])
  assert.deepEqual(process.user, { uid: 100_001, gid: 100_001 })
  assert.equal(hostname, machine.id)
  assert.deepEqual(linux.namespaces.map(({ type }) => type).toSorted(), [
    'cgroup',
    'ipc',
    'mount',
    'network',
    'pid',
    'uts',
  ])
  assert.equal(linux.namespaces.find(({ type }) => type === 'network')?.path, '/run/netns/vm1')
  assert.equal(linux.cgroupsPath, '/fw/a1')
  assert.equal(linux.seccomp.defaultAction, 'SCMP_ACT_ERRNO')
})

test('without cgroups only the number of processes is limited, and nothing asks for them', () => {
  const { linux, process } = ociConfig({ ...input, cgroup: null })
  assert.deepEqual(process.rlimits, [{ type: 'RLIMIT_NPROC', hard: PIDS_MAX, soft: PIDS_MAX }])
  assert.equal(linux.cgroupsPath, undefined)
  assert.equal(linux.resources, undefined)
  assert.ok(!linux.namespaces.some(({ type }) => type === 'cgroup'))
})

const SOURCES: [destination: string, source: string][] = [
  ['/app', '/artifacts/x'],
  ['/usr', '/usr'],
  ['/etc', '/m/a1/etc'],
  ['/.fairway', '/system/x'],
  ['/.fairway/bin/node', '/opt/node'],
]
for (const [destination, source] of SOURCES)
  test(`${destination} is ${source}, read-only`, () => {
    const mount = ociConfig(input).mounts.find((found) => found.destination === destination)
    assert.equal(mount?.source, source)
    for (const option of ['ro', 'nosuid', 'nodev']) assert.ok(mount?.options.includes(option))
  })

test('only memory is writable', () => {
  for (const { type, options, destination } of ociConfig(input).mounts)
    assert.ok(type !== 'bind' || options.includes('ro'), destination)
})

test('what machines see of the host is copied once and holds nothing secret', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fairway-system-'))
  const system = prepareSystem(folder, process.execPath)
  const again = prepareSystem(folder, process.execPath)
  assert.equal(again.folder, system.folder)
  assert.ok(system.mounts.includes('/usr'))
  for (const path of ['shadow', 'ssl/private', 'ssh', 'passwd'])
    assert.ok(!existsSync(join(system.folder, 'etc', path)), path)
  for (const path of ETC_SHARED) assert.doesNotMatch(path, /^(ssl|nginx|\.)?$/)
  rmSync(folder, { recursive: true })
})

test('copies of before updates go, the oldest first; those that bundles name stay', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fairway-system-'))
  const names = Array.from({ length: COPIES_MAX + 3 }, (_, i) => `copy${i}`)
  for (const [i, name] of names.entries()) {
    mkdirSync(join(folder, name))
    utimesSync(join(folder, name), i + 1, i + 1)
  }
  const { name } = prepareSystem(folder, process.execPath)
  pruneSystem(folder, new Set([names[0]!, name]))
  assert.deepEqual(
    new Set(readdirSync(folder)),
    new Set([names[0], ...names.slice(-COPIES_MAX), name]),
  )
  rmSync(folder, { recursive: true })
})

test('exec replaces all; cmd follows entrypoint; neither is an error', () => {
  const argv = (init: object) => machineArgv(fakeMachine({}, { init }))
  assert.deepEqual(argv({ exec: ['a'], cmd: ['b'] }), ['a'])
  assert.deepEqual(argv({ entrypoint: ['a'], cmd: ['b', 'c'] }), ['a', 'b', 'c'])
  assert.deepEqual(argv({ exec: [], cmd: ['b'] }), ['b'])
  assert.throws(() => argv({}), FairwayError)
})

test('secrets beat env, the platform beats both (N14-N18)', () => {
  const config = {
    env: { FLY_REGION: 'mine', A: 'env', B: 'env', PRIMARY_REGION: 'lhr', HOME: '/data' },
    metadata: { fly_process_group: 'worker' },
    guest: { memory_mb: 512 },
  }
  const m = fakeMachine({}, config)
  const env = machineEnvironment(m, '2001:db8::1', { A: 'secret', FLY_APP_NAME: 'forged' })
  const expected = {
    ...{ A: 'secret', B: 'env', HOME: '/data', PRIMARY_REGION: 'lhr' },
    ...{ FLY_APP_NAME: 'web', FLY_MACHINE_ID: 'a1', FLY_ALLOC_ID: 'a1', FLY_REGION: 'iad' },
    ...{ FLY_PROCESS_GROUP: 'worker', FLY_IMAGE_REF: 'web:1', FLY_MACHINE_VERSION: m.instanceId },
    ...{ FLY_VM_MEMORY_MB: '512', FLY_PRIVATE_IP: m.v6, FLY_PUBLIC_IP: '2001:db8::1' },
  }
  const { PATH, ...rest } = env
  assert.deepEqual(rest, expected)
  assert.ok(PATH?.endsWith(':/.fairway/bin'))
})

test('the public address is the static source, else one of the host’s prefix (N15)', () => {
  const static_ = { pair: 'p', v4: '198.51.100.1', v6: '2001:db8:e::1', slot: 0, count: 1 }
  const of = (egress: Machine['egress'], machinesV6: string | null) =>
    publicIpOf({ egress, v4: '172.16.0.6' }, fakeHost, machinesV6)
  assert.equal(of(static_, '2001:db8:a000:1::/64'), '2001:db8:e::1')
  assert.equal(of({ ...static_, v6: null }, '2001:db8:a000:1::/64'), '198.51.100.1')
  assert.equal(of(null, '2001:db8:a000:1::/64'), '2001:db8:a000:1::3')
  assert.equal(of(null, null), fakeHost.underlayV6)
})

test('hosts names the machine, its 6PN address and fly-global-services (U4)', () => {
  const { hosts, 'resolv.conf': resolv, passwd } = etcFiles(machine, 100_001, ['fdaa::3'])
  assert.match(hosts!, /^fdaa:0:1:a7b:1:0:1:2\tfly-local-6pn$/m)
  assert.match(hosts!, /^172\.16\.0\.2\ta1$/m)
  assert.match(hosts!, /^172\.16\.0\.3\tfly-global-services$/m)
  assert.equal(resolv, 'nameserver fdaa::3\n')
  assert.match(passwd!, /^machine:x:100001:100001:/m)
  assert.match(passwd!, /^www-data:x:33:33:/m)
  assert.match(etcFiles(machine, 0, []).passwd!, /^www-data:x:0:0:/m)
})

test('a bundle is readable by nobody else, its etc/ by all', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'fairway-bundle-'))
  const mode = (path: string) => statSync(join(folder, path)).mode & 0o7777
  await writeBundle(folder, ociConfig(input), { passwd: 'a' }, input.system)
  const { ino } = statSync(join(folder, 'etc/passwd'))
  await writeBundle(folder, ociConfig(input), { passwd: 'b', hosts: 'c' }, input.system)
  assert.equal(mode('bundle/config.json'), 0o600)
  for (const path of ['bundle/rootfs', 'bundle/rootfs/var/log', 'etc'])
    assert.equal(mode(path), 0o755)
  for (const path of ['bundle/rootfs/tmp', 'bundle/rootfs/run']) assert.equal(mode(path), 0o1777)
  assert.equal(mode('etc/passwd'), 0o644)
  assert.equal(statSync(join(folder, 'etc/passwd')).ino, ino, 'written in place')
  assert.equal(readlinkSync(join(folder, 'etc/hosts')), '/run/hosts')
  assert.equal(mode('bundle/rootfs/run/hosts'), 0o666, 'the machine may change it')
  assert.equal(readlinkSync(join(folder, 'etc/ssl')), '/.fairway/etc/ssl')
  assert.equal(readlinkSync(join(folder, 'bundle/rootfs/bin')), 'usr/bin')
  rmSync(folder, { recursive: true })
})

test('the root folder is made anew, whatever an older version left there', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'fairway-bundle-'))
  const rootfs = join(folder, 'bundle/rootfs')
  mkdirSync(join(rootfs, 'bin/old'), { recursive: true })
  symlinkSync('/elsewhere', join(rootfs, 'var'))
  await writeBundle(folder, ociConfig(input), {}, input.system)
  assert.equal(readlinkSync(join(rootfs, 'bin')), 'usr/bin')
  assert.equal(readlinkSync(join(rootfs, 'var/run')), '/run')
  rmSync(folder, { recursive: true })
})

test('the filter allows what servers need and not what escapes', () => {
  const { syscalls } = seccompProfile('x64')
  const allowed = new Set(
    syscalls.filter((r) => r.action === 'SCMP_ACT_ALLOW' && !r.args).flatMap((r) => r.names),
  )
  for (const name of 'openat read write epoll_wait accept4 execve mmap futex getrandom'.split(' '))
    assert.ok(allowed.has(name), name)
  const denied =
    'mount umount2 setns unshare ptrace_attach bpf keyctl add_key init_module reboot kexec_load ' +
    'open_by_handle_at perf_event_open userfaultfd io_uring_setup pivot_root swapon clone clone3'
  for (const name of denied.split(' ')) assert.ok(!allowed.has(name), name)
  assert.throws(() => seccompProfile('mips'), RangeError)
})
