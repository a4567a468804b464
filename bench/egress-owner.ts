import { cpus } from 'node:os'
import { systemClock } from '../src/base/clock.ts'
import { createLogger } from '../src/base/log.ts'
import { renderGuard } from '../src/egress/guard.ts'
import { createEgressTable } from '../src/egress/kernel-egress.ts'
import { type Exec, systemExec } from '../src/kernel/exec.ts'
import { applyRuleset, openNftSession } from '../src/kernel/nft.ts'
import { median, type Percentiles, percentiles } from './process.ts'

/**
 * What a static source costs at the host that has it: the round trip of one byte with and without it,
 * by turns in one run; processor time of the whole machine per round trip, with ten and with ten
 * thousand machines in the table; how long one change takes. A machine, its host, and a destination,
 * each a namespace. Run by egress.ts; the last line is its result.
 */
export interface OwnerResult {
  readonly plainUs: number
  readonly staticUs: number
  readonly addedUs: number
  readonly sizes: readonly {
    readonly machines: number
    readonly roundTripUs: number
    /** Processor time of the whole machine per round trip. */
    readonly cpuUs: number
    readonly changeMs: Percentiles
  }[]
}

const ROUNDS = 5
const TRIPS = 4_000
const CHANGES = 200
const FAR = '198.19.9.2'
const EGRESS = { pair: 'p', v4: '198.51.100.2', v6: '2001:db8:e001::2', slot: 3, count: 1 }
const MACHINE = { v4: '172.16.0.2', v6: 'fdaa:0:1::2', egress: EGRESS, publicV6: null }

const at = (place: string): Exec => ({
  run: (argv, options) =>
    systemExec.run(['nsenter', `--net=/run/netns/${place}`, ...argv], options),
})
const host = at('host')
await build()
const log = createLogger('bench')
const nft = openNftSession({ log, prefix: ['nsenter', '--net=/run/netns/host'] })
const table = createEgressTable({
  ...{ exec: host, nft, clock: systemClock, log, wanDevice: 'wan' },
  ...{ hostV4: '198.19.9.1', hostV6: '2001:db8::1', publicPrefix6: null },
})
const [plainUs, staticUs] = await compare(
  async () => {
    await host.run(['nft', 'flush', 'ruleset'])
    await at('far').run(['ip', 'route', 'replace', '172.16.0.2/32', 'via', '198.19.9.1'])
  },
  async () => {
    await applyRuleset(
      host,
      renderGuard({ wanDevice: 'wan', ownPrefixes: ['198.19.9.1/32', '198.51.100.0/24'] }),
    )
    await table.start()
    await table.admit(MACHINE)
  },
)
const sizes: OwnerResult['sizes'][number][] = []
for (const machines of [10, 10_000]) {
  for (let n = await count(); n < machines; n++) await table.admit(other(n))
  const [roundTripUs, cpuUs] = await measure()
  const times: number[] = []
  for (let i = 0; i < CHANGES; i++) {
    const began = performance.now()
    await table.admit({ ...MACHINE, egress: i % 2 ? EGRESS : { ...EGRESS, slot: 4 } })
    times.push(performance.now() - began)
  }
  sizes.push({ machines, roundTripUs, cpuUs, changeMs: percentiles(times) })
}
const result: OwnerResult = { plainUs, staticUs, addedUs: staticUs - plainUs, sizes }
console.log(JSON.stringify(result))
await table.close()
nft.close()

async function build(): Promise<void> {
  const batch = (place: string, lines: string[]) =>
    at(place).run(['ip', '-batch', '-'], { stdin: `${lines.join('\n')}\n` })
  await systemExec.run(['ip', '-batch', '-'], {
    stdin: ['machine', 'host', 'far'].map((n) => `netns add ${n}\n`).join(''),
  })
  await batch('host', [
    'link set dev lo up',
    'link add name m1 type veth peer name eth0 netns machine',
    'link add name wan type veth peer name eth0 netns far',
    'link set dev m1 group 42 up',
    'addr add 172.16.0.1/24 dev m1',
    'link set dev wan up',
    'addr add 198.19.9.1/24 dev wan',
  ])
  await host.run(['sysctl', '-qw', 'net.ipv4.ip_forward=1'])
  await batch('machine', [
    'link set dev eth0 up',
    'addr add 172.16.0.2/24 dev eth0',
    'route add default via 172.16.0.1',
  ])
  await batch('far', [
    'link set dev eth0 up',
    `addr add ${FAR}/24 dev eth0`,
    'route add 198.51.100.0/24 via 198.19.9.1',
  ])
  await at('machine').run(['sysctl', '-qw', 'net.ipv4.ip_local_port_range=3072 4095'])
}

function other(n: number) {
  return {
    v4: `172.${17 + (n >> 15)}.${(n >> 7) & 255}.${(2 * n) & 255}`,
    v6: `fdaa:0:2::${n.toString(16)}`,
    egress: { ...EGRESS, v4: `198.51.100.${3 + (n % 200)}`, slot: n % 64 },
    publicV6: null,
  }
}

async function count(): Promise<number> {
  const text = await host.run(['nft', 'list', 'map', 'inet', 'egress', 'addr6'])
  return (text.match(/fdaa/g) ?? []).length
}

type Step = () => Promise<void>

/** Medians of both. */
async function compare(setOne: Step, setTwo: Step): Promise<[number, number]> {
  const took: [number[], number[]] = [[], []]
  for (let round = 0; round < ROUNDS; round++)
    for (const [i, set] of [setOne, setTwo].entries()) {
      await set()
      took[i as 0 | 1].push((await measure())[0])
    }
  return took.map(median) as [number, number]
}

/** Median round trip, and processor time of the whole machine per round trip; microseconds. */
async function measure(): Promise<[number, number]> {
  const script = `import socket,sys,os,time
l=socket.socket()
l.setsockopt(1,2,1)
l.bind(('${FAR}',9000))
l.listen()
print('x',flush=True)
c=l.accept()[0]
c.setsockopt(6,1,1)
while True:
  d=c.recv(1)
  if not d: break
  c.send(d)`
  const dial = `import socket,time
s=socket.create_connection(('${FAR}',9000))
s.setsockopt(6,1,1)
t=[]
for i in range(${TRIPS}):
  a=time.perf_counter_ns(); s.send(b'x'); s.recv(1); t.append(time.perf_counter_ns()-a)
t.sort(); print(t[len(t)//2]/1e3)`
  const far = at('far').run(['python3', '-c', script], { timeoutMs: 60_000 })
  far.catch(() => {}) // Awaited below.
  await systemClock.sleep(500)
  const before = busyUs()
  const text = await at('machine').run(['python3', '-c', dial], { timeoutMs: 60_000 })
  const cpu = (busyUs() - before) / TRIPS
  await far
  return [Number(text), cpu]
}

function busyUs(): number {
  return cpus().reduce((sum, { times: t }) => sum + 1_000 * (t.user + t.sys + t.irq + t.nice), 0)
}
