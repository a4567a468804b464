import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { inNetns, systemExec } from '../../src/kernel/exec.ts'
import { ipBatch, netnsPath } from '../../src/kernel/ip.ts'

/** Places of a small world, one router among them: each has a /30 and a /64 with the router. */
export const PLACES = {
  'host-a': { v4: '100.64.0.6', v6: '2001:db8:ff00:1::2', device: 'wan', index: 1 },
  'host-b': { v4: '100.64.0.10', v6: '2001:db8:ff00:2::2', device: 'wan', index: 2 },
  internet: { v4: '198.19.1.2', v6: '2001:db8:d000:1::2', device: 'eth0', index: 0 },
  control: { v4: '198.19.3.2', v6: '2001:db8:d000:3::2', device: 'eth0', index: 0 },
  client: { v4: '198.18.1.2', v6: '2001:db8:c000:1::2', device: 'eth0', index: 0 },
} as const
export type Place = keyof typeof PLACES

export const PUBLIC = ['203.0.113.0/28', '2001:db8:1::/64']
/** Static sources, which both hosts announce. */
export const EGRESS = ['198.51.100.0/26', '2001:db8:e001::/48']

/** Default IPv6 sources of a host's machines. */
export const machinesV6 = (place: 'host-a' | 'host-b') =>
  `2001:db8:a000:${PLACES[place].index}::/64`

const gateway4 = (v4: string) => v4.replace(/\d+$/, (last) => String(Number(last) - 1))
const gateway6 = (v6: string) => v6.replace(/2$/, '1')

export async function buildWorld(): Promise<void> {
  const names = ['router', ...Object.keys(PLACES)]
  await ipBatch(systemExec, ['link set dev lo up', ...names.map((n) => `netns add ${n}`)])
  const forwarding = ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']
  for (const name of names) {
    const settings = ['net.ipv6.conf.default.accept_dad=0', 'net.ipv4.conf.default.rp_filter=0']
    const all = name === 'router' ? [...settings, ...forwarding] : settings
    await inNetns(systemExec, name).run(['sysctl', '-q', '-w', ...all])
  }
  const router: string[] = ['link set dev lo up']
  for (const [name, { v4, v6, device }] of Object.entries(PLACES)) {
    const end = `r-${name}`
    await ipBatch(systemExec, [
      `link add name ${end} netns router type veth peer name ${device} netns ${name}`,
    ])
    router.push(
      `addr add ${gateway4(v4)}/30 dev ${end}`,
      `addr add ${gateway6(v6)}/64 dev ${end} nodad`,
      `link set dev ${end} up`,
    )
    await batchAt(name, [
      'link set dev lo up',
      `addr add ${v4}/30 dev ${device}`,
      `addr add ${v6}/64 dev ${device} nodad`,
      `link set dev ${device} up`,
      `route add default via ${gateway4(v4)}`,
      `route add default via ${gateway6(v6)}`,
    ])
  }
  await batchAt('router', [
    ...router,
    `route add ${PUBLIC[0]} via ${PLACES['host-a'].v4}`,
    `route add ${PUBLIC[1]} via ${PLACES['host-a'].v6}`,
  ])
}

/** The router knows the way to machines' default IPv6 sources. */
export const routeMachines = () =>
  batchAt(
    'router',
    (['host-a', 'host-b'] as const).map((h) => `route add ${machinesV6(h)} via ${PLACES[h].v6}`),
  )

const batchAt = (place: string, lines: string[]) =>
  systemExec.run(['ip', '-n', place, '-batch', '-'], { stdin: `${lines.join('\n')}\n` })

export const at = (place: string, argv: readonly string[]): string[] => [
  'nsenter',
  `--net=${netnsPath(place)}`,
  ...argv,
]

/** Ends what the world has started; the namespaces go with their last process. */
export function endWorld(): void {
  for (const child of children) child.kill('SIGKILL')
}
const children: ChildProcess[] = []

const node = (script: string) => [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  `${import.meta.dirname}/${script}`,
]

/** Starts a server of serve.ts; resolves when it listens. */
export const serve = (place: string, ...words: string[]): Promise<ChildProcess> =>
  run(place, [...node('serve.ts'), ...words])

export const serveNames = (place: string, ...addresses: string[]): Promise<ChildProcess> =>
  run(place, [...node('resolver.ts'), ...addresses])

/** The resolver of machines, as a host runs it. */
export const forwardNames = (place: string, configFile: string): Promise<ChildProcess> =>
  run(place, [...node('../../src/agent/dns-main.ts'), configFile])

/** Resolves when the program has said its first word, on either stream. */
function run(place: string, argv: readonly string[]): Promise<ChildProcess> {
  const [command, ...words] = at(place, argv)
  const child = spawn(command!, words, { stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(child)
  return new Promise((resolve, reject) => {
    child.stdout.once('data', () => resolve(child))
    child.stderr.on('data', (text) => {
      if (String(text).includes('"level":"info"')) resolve(child)
      else process.stderr.write(text)
    })
    child.once('exit', (code) => reject(new Error(`server at ${place}: exit code ${code}`)))
  })
}

/** Addresses of a name as a machine's C library would be told, or the code of the failure. */
export async function resolveAt(place: string, name: string, type: 'A' | 'AAAA'): Promise<string> {
  const script = `const r=new (require('dns').promises.Resolver)({timeout:10000,tries:1});r.setServers(['fdaa::3'])
    r.resolve(process.argv[1],process.argv[2]).then(a=>console.log(a.join()),e=>console.log(e.code))`
  return (await systemExec.run(at(place, [process.execPath, '-e', script, name, type]))).trim()
}

/** What the server said, `refused`, `unreachable` or `timeout`. */
export async function dial(
  place: string,
  host: string,
  port: number,
  source = '',
): Promise<string> {
  const script = `const s=require('net').connect({host:process.argv[1],port:+process.argv[2],localAddress:process.argv[3]||undefined})
    let t='';s.setTimeout(1500,()=>{console.log('timeout');process.exit()});s.on('data',d=>t+=d)
    s.on('end',()=>{console.log(t.trim()||'closed');process.exit()}).on('error',e=>{console.log(e.code);process.exit()})`
  const argv = at(place, [process.execPath, '-e', script, host, String(port), source])
  return (await systemExec.run(argv)).trim()
}

/** How many of `count` echo requests are answered. */
export async function countPings(
  place: string,
  address: string,
  { source, count = 1, intervalS = 0.05 }: { source?: string; count?: number; intervalS?: number },
): Promise<number> {
  const script = `${import.meta.dirname}/ping.py`
  const words = [address, String(count), String(intervalS), ...(source ? [source] : [])]
  return Number(await systemExec.run(at(place, ['python3', script, ...words])))
}

export const pings = async (place: string, address: string, source?: string): Promise<boolean> =>
  (await countPings(place, address, { source })) === 1

/** Names of devices that end machines' veths, in a host. */
export const listText = (place: string, argv: readonly string[]): Promise<string> =>
  systemExec.run(at(place, argv))

export class Agent {
  readonly child: ChildProcess
  readonly #answers: ((line: string) => void)[] = []

  constructor(place: 'host-a' | 'host-b', stateDir: string, more: object = {}) {
    const { v4, v6, index } = PLACES[place]
    const config = {
      host: { id: place.slice(5), index, underlayV4: v4, underlayV6: v6 },
      wanInterface: 'wan',
      stateDir,
      publicPrefixes: PUBLIC,
      publicPrefix6: machinesV6(place),
      egressPrefixes: EGRESS,
      protectedPrefixes: ['198.19.3.0/30', '2001:db8:d000:3::/64'],
      ...more,
    }
    const argv = at(place, [...node('agent.ts'), JSON.stringify(config)])
    this.child = spawn(argv[0]!, argv.slice(1), {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, FAIRWAY_LOG_LEVEL: 'error' },
    })
    children.push(this.child)
    createInterface({ input: this.child.stdout! }).on('line', (line) =>
      this.#answers.shift()?.(line),
    )
  }

  async ask<T = unknown>(op: string, argument?: unknown): Promise<T> {
    const line = await new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${op}: no answer`)), 60_000)
      this.#answers.push((answer) => {
        clearTimeout(timer)
        resolve(answer)
      })
      this.child.stdin!.write(`${JSON.stringify({ op, argument })}\n`)
    })
    const { ok, error } = JSON.parse(line)
    if (error) throw new Error(error)
    return ok
  }

  kill(): Promise<void> {
    return new Promise((resolve) => {
      this.child.once('exit', () => resolve())
      this.child.kill('SIGKILL')
    })
  }
}
