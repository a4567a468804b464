/**
 * What a host sees of its machines' egress, with real packets: a machine, its host and the outside in
 * namespaces of their own. Outside this file builds them and starts itself again in the host's; there
 * it holds the tests.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { pino } from 'pino'
import { systemClock } from '../src/base/clock.ts'
import { createEgressTable } from '../src/egress/kernel-egress.ts'
import { EgressWatch } from '../src/egress/watch.ts'
import { systemExec } from '../src/kernel/exec.ts'
import { openNftSession } from '../src/kernel/nft.ts'
import { fakeMachine } from '../src/machine/testing.ts'
import type { Machine } from '../src/model/resources.ts'
import type { LogLine } from '../src/model/wire.ts'
import { eventually, ROOT } from './support/world.ts'

const INSIDE = 'FAIRWAY_TEST_INSIDE'
const NODE = [process.execPath, '--disable-warning=ExperimentalWarning']
const ID = 'aaaaaaaaaaaaa1'
const OUTSIDE = { v4: '198.19.1.2', v6: '2001:db8:d000:1::2' }
const OWN = { v4: '172.16.0.2', v6: 'fdaa:0:1:a7b:1:0:1:2' }
const EGRESS = { pair: 'p1', v4: '198.51.100.1', v6: '2001:db8:e001::1', slot: 1, count: 1 }
const WAIT_MS = 60_000

const NETWORK = `set -e
mount -t tmpfs none /run && mkdir -p /run/netns
for n in host internet m-${ID}; do ip netns add $n && ip -n $n link set lo up; done
ip -n host link add wan type veth peer name eth0 netns internet
ip -n host addr add 100.64.0.2/24 dev wan
ip -n host addr add 2001:db8:ff00::2/64 dev wan nodad
ip -n host link set wan up
ip -n internet addr add 100.64.0.1/24 dev eth0
ip -n internet addr add 2001:db8:ff00::1/64 dev eth0 nodad
ip -n internet addr add ${OUTSIDE.v4}/32 dev lo
ip -n internet addr add ${OUTSIDE.v6}/128 dev lo nodad
ip -n internet link set eth0 up
ip -n internet route add default via 100.64.0.2
ip -n internet -6 route add default via 2001:db8:ff00::2
ip -n host route add default via 100.64.0.1
ip -n host -6 route add default via 2001:db8:ff00::1
ip -n host addr add fdaa::3/128 dev lo nodad
ip -n host link add m${ID} type veth peer name eth0 netns m-${ID}
ip -n host link set m${ID} group 42
ip -n host addr add 169.254.0.1/32 dev m${ID}
ip -n host addr add fe80::1/64 dev m${ID} nodad
ip -n host link set m${ID} up
ip -n host route add ${OWN.v4}/32 dev m${ID}
ip -n host -6 route add ${OWN.v6}/128 dev m${ID}
ip -n m-${ID} addr add ${OWN.v4}/32 dev eth0
ip -n m-${ID} addr add ${OWN.v6}/128 dev eth0 nodad
ip -n m-${ID} link set eth0 up
ip -n m-${ID} route add 169.254.0.1 dev eth0 scope link
ip -n m-${ID} route add default via 169.254.0.1 dev eth0
ip -n m-${ID} -6 route add default via fe80::1 dev eth0
nsenter --net=/run/netns/host sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
nsenter --net=/run/netns/m-${ID} sysctl -qw net.ipv4.ip_local_port_range='1024 2047' net.ipv4.tcp_tw_reuse=1
exec nsenter --net=/run/netns/host -- "$@"`

if (process.env[INSIDE] === undefined) outside()
else inside()

function outside(): void {
  const skip = process.getuid!() === 0 ? false : 'needs root'
  test('a host sees its egress', { skip, timeout: 600_000 }, () => {
    const namespaces = ['--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc']
    const again = ['sh', '-c', NETWORK, 'sh', ...NODE, import.meta.filename]
    const { status, stdout, stderr } = spawnSync('unshare', [...namespaces, ...again], {
      encoding: 'utf8',
      env: { ...process.env, [INSIDE]: '1', NODE_TEST_CONTEXT: undefined },
    })
    assert.equal(status, 0, `${stdout}\n${stderr}`)
    assert.match(stdout, /# pass [1-9]|ℹ pass [1-9]/)
  })
}

function inside(): void {
  const dir = mkdtempSync(join(tmpdir(), 'fairway-observe-'))
  const socket = join(dir, 'egress.sock')
  const log = pino({ level: 'silent' })
  const children: ChildProcess[] = []
  const lines: LogLine[] = []
  const nft = openNftSession({ log })
  const table = createEgressTable({
    ...{ exec: systemExec, nft, clock: systemClock, log, wanDevice: 'wan' },
    ...{ hostV4: '100.64.0.2', hostV6: '2001:db8:ff00::2', publicPrefix6: null },
  })
  const watch = new EgressWatch({
    ...{ host: 'iad1', region: 'iad', socket, exec: systemExec, clock: systemClock, log },
    ...{ random: Math.random, netnsOf: (id) => `/run/netns/m-${id}` },
    defaultSource: () => ({ v4: '100.64.0.2', v6: '2001:db8:ff00::2' }),
    resolvers: [`${OUTSIDE.v4}:5353`],
    ...{ appsDomains: ['fairway.test'], protectedPrefixes: ['192.0.2.0/24'] },
    onLine: (line) => lines.push(line),
    instances: async () => '',
    reconciles: () => table.repairs,
  })
  const signal = new AbortController().signal

  before(async () => {
    await table.start()
    await table.admit({ ...OWN, egress: EGRESS, publicV6: null })
    await watch.start()
    watch.apply(new Map([[ID, machine({})]]))
    const far = [...NODE, join(import.meta.dirname, 'egress-observe', 'far-end.ts')]
    await startUnit('internet', [...far, OUTSIDE.v4, OUTSIDE.v6], /READY/)
    await startUnit(
      'internet',
      main('nameserver-main.ts', {
        ...{ listen: Object.values(OUTSIDE), appsDomains: ['fairway.test'] },
      }),
      /name server ready/,
    )
    await startUnit(
      'host',
      main('dns-main.ts', {
        ...{ listen: ['fdaa::3'], appsDomains: ['fairway.test'], egressSocket: socket },
        upstreams: [{ address: OUTSIDE.v4, port: 5353 }],
      }),
      /resolver ready/,
    )
  })

  after(async () => {
    await watch.close()
    await table.close()
    nft.close()
    for (const child of children) child.kill('SIGKILL')
    rmSync(dir, { recursive: true })
  })

  test('a check tells the source on the wire and the one that the far end saw, in both families', async () => {
    const { results, ...about } = await check('ip.fairway.test', 80)
    assert.deepEqual(about, { machine: ID, region: 'iad', checkHost: 'iad1' })
    assert.deepEqual(
      results.map((r) => [r.family, r.remote, r.source, r.seenByFarEnd, r.expected, r.ok]),
      [
        [4, OUTSIDE.v4, EGRESS.v4, EGRESS.v4, EGRESS.v4, true],
        [6, OUTSIDE.v6, EGRESS.v6, EGRESS.v6, EGRESS.v6, true],
      ],
    )
    for (const { sourcePort, connectMs, connectDefaultMs } of results) {
      assert.ok(sourcePort! >= 1024 && sourcePort! <= 2047, `port ${sourcePort}`)
      assert.ok(connectMs! > 0 && connectDefaultMs! > 0, JSON.stringify(results))
    }
  })

  test('what fails says why', async () => {
    const reasons = async (host: string, port: number) =>
      (await check(host, port)).results.map((r) => r.error?.reason ?? 'ok')
    assert.deepEqual(await reasons('four.test', 81), ['refused', 'no_address'])
    assert.deepEqual(await reasons('nobody.test', 80), ['name', 'name'])
    // The machine's own loopback, where nothing listens: never the host's.
    const [own] = (await check('127.0.0.1', 80)).results
    assert.deepEqual([own!.error?.reason, own!.connectDefaultMs], ['refused', null])
    for (const [host, port] of [
      ['a b', 80],
      ['-x', 80],
      ['four.test', 0],
      ['four.test', 65_536],
    ] as const)
      await assert.rejects(check(host, port), { code: 'invalid' })
    await assert.rejects(
      watch.check({ method: 'egress-check', machine: 'b1', host: 'x', port: 1, timeoutMs: 100 }),
      { code: 'not_found' },
    )
  })

  test('usage counts what is open, by destination, and remembers the most', async () => {
    const count = 40
    const held = await hold(count)
    const [usage] = await looked((u) => u.inUse >= count)
    assert.deepEqual([usage!.machine, usage!.app, usage!.ports], [ID, 'web', 1024])
    assert.equal(usage!.destinations[0]!.address, OUTSIDE.v4)
    assert.deepEqual([usage!.destinations[0]!.port, usage!.destinations[0]!.proto], [80, 'tcp'])
    await held.end()
    const [later] = await looked((u) => u.inUse < count)
    assert.ok(later!.peak >= count)
    assert.deepEqual(await watch.usage('another', signal), [])
  })

  test('a block that is full: the check says so, usage and metrics count it', async () => {
    await inMachine(['sysctl', '-qw', 'net.ipv4.ip_local_port_range=1024 1063'])
    const held = await hold(40)
    const [v4] = (await check(OUTSIDE.v4, 80)).results
    assert.equal(v4!.error?.reason, 'block_full')
    await held.end()
    await inMachine(['sysctl', '-qw', 'net.ipv4.ip_local_port_range=1024 2047'])
    const all = await hold(1024)
    const [usage] = await looked((u) => u.inUse >= 1024)
    assert.ok(usage!.exhausted >= 1)
    await all.end()
    assert.match(await scrape(), /^fairway_egress_block_full_total [1-9]/m)
  })

  test('metrics are of the text format, on a socket of its own user alone', async () => {
    const text = await scrape()
    assert.match(
      text,
      new RegExp(`^fairway_egress_ports\\{machine="${ID}",app="web"\\} 1024$`, 'm'),
    )
    assert.match(text, /^fairway_egress_conntrack_entries [1-9]/m)
    assert.match(text, /^fairway_egress_dropped_total\{reason="no_source"\} \d+$/m)
    assert.match(text, /^fairway_egress_steered_packets_total \d+$/m)
    assert.equal((await systemExec.run(['stat', '-c', '%a', socket])).trim(), '600')
  })

  test('the table can be read by conntrack as well', async () => {
    const { readFlowTable } = await import('../src/egress/flows/table.ts')
    const held = await hold(10)
    const count = async (options: { path?: string }) => {
      let found = 0
      const isWhole = await readFlowTable(
        (line) => {
          if (line.includes(` dst=${OUTSIDE.v4} `) && line.includes('ESTABLISHED')) found++
        },
        { signal, ...options },
      )
      return { found, isWhole }
    }
    assert.deepEqual(await count({}), { found: 10, isWhole: true })
    assert.deepEqual(await count({ path: '/proc/net/none' }), { found: 10, isWhole: true })
    await held.end()
  })

  test('a flow log tells of new and ended flows, once it is switched on', async () => {
    assert.equal(lines.length, 0)
    watch.apply(new Map([[ID, machine({ fairway_flow_log: 'true' })]]))
    const ended = `flow end tcp ${EGRESS.v4}:`
    await eventually('lines of the flow log', WAIT_MS, async () => {
      const held = await hold(1)
      await held.end()
      await systemExec.run(['conntrack', '-D', '-s', OWN.v4]).catch(() => {})
      return lines.some((line) => line.message.startsWith(ended))
    })
    assert.ok(lines.some(({ message }) => message.startsWith(`flow new tcp ${EGRESS.v4}:`)))
    const { message, ...about } = lines.find((line) => line.message.startsWith(ended))!
    assert.match(message, / -> 198\.19\.1\.2:80 sent \d+ received \d+ bytes in \d+ s$/)
    assert.deepEqual([about.app, about.machine, about.source], ['web', ID, 'machine'])
    watch.apply(new Map([[ID, machine({})]]))
  })

  test('whoami: the name server sees the static source; the resolver of machines knows it', async () => {
    const dig = async (...args: string[]) =>
      (await inMachine(['dig', '+short', '+tries=2', '+time=10', ...args]))
        .trim()
        .split('\n')
        .sort()
    const name = 'whoami.fairway.test'
    for (const way of ['+notcp', '+tcp']) {
      assert.deepEqual(await dig(way, `@${OUTSIDE.v4}`, 'txt', name), [`"${EGRESS.v4}"`])
      assert.deepEqual(await dig(way, `@${OUTSIDE.v6}`, 'aaaa', name), [EGRESS.v6])
      const both = [`"${EGRESS.v4}"`, `"${EGRESS.v6}"`].sort()
      assert.deepEqual(await dig(way, '@fdaa::3', 'txt', name), both)
    }
    assert.deepEqual(await dig('@fdaa::3', 'a', name), [EGRESS.v4])
    assert.deepEqual(await dig('@fdaa::3', 'aaaa', name), [EGRESS.v6])
    const any = await inMachine(['dig', '+notcp', `@${OUTSIDE.v4}`, 'any', name])
    assert.match(any, /status: REFUSED/)
    // Everybody else is refused, and a version in class CH told nobody.
    assert.match(await inMachine(['dig', `@${OUTSIDE.v4}`, 'example.test']), /status: REFUSED/)
  })

  const check = (host: string, port: number) =>
    watch.check({ method: 'egress-check', machine: ID, host, port, timeoutMs: 10_000 })

  const looked = (is: (usage: { inUse: number }) => boolean) =>
    eventually('usage as expected', WAIT_MS, async () => {
      const usage = await watch.usage('web', signal)
      return usage.some(is) && usage
    })

  const scrape = () =>
    systemExec.run(['curl', '-sS', '--unix-socket', socket, 'http://host/metrics'])

  const inMachine = (argv: readonly string[]) =>
    systemExec.run(['nsenter', `--net=/run/netns/m-${ID}`, '--', ...argv], { timeoutMs: WAIT_MS })

  /** So many connections from the machine to the far end, open until `end`. */
  async function hold(count: number): Promise<{ end(): Promise<unknown> }> {
    const script = join(import.meta.dirname, 'egress-observe', 'hold.ts')
    const argv = [...NODE, script, OUTSIDE.v4, String(count)]
    const child = await startUnit(`m-${ID}`, argv, /HELD/)
    return {
      async end() {
        child.stdin!.end()
        return once(child, 'close')
      },
    }
  }

  async function startUnit(
    place: string,
    argv: readonly string[],
    ready: RegExp,
  ): Promise<ChildProcess> {
    const child = spawn('nsenter', [`--net=/run/netns/${place}`, '--', ...argv], {
      cwd: ROOT,
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    children.push(child)
    let output = ''
    for (const stream of [child.stdout!, child.stderr!])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text
      })
    await eventually(
      `${argv.at(-1)} at ${place}`,
      WAIT_MS,
      async () => child.exitCode !== null || ready.test(output),
    )
    assert.equal(child.exitCode, null, output)
    return child
  }

  function main(file: string, config: object): string[] {
    const path = join(dir, `${file}.json`)
    writeFileSync(path, JSON.stringify(config))
    return [...NODE, join(ROOT, 'src', 'agent', file), path]
  }
}

const machine = (metadata: Record<string, string>): Machine =>
  fakeMachine({ id: ID, app: 'web', ...OWN, egress: EGRESS }, { metadata })
