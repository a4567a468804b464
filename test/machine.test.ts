/**
 * Machines for real: runc and conmon in a private world, as root and as an ordinary user. Outside
 * this file only starts itself again inside such a world; there it holds the tests.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { create as pack } from 'tar'
import { ulid } from '../src/base/ids.ts'
import { tunnelFile } from '../src/cli/tunnel-file.ts'
import { removeCgroups } from '../src/machine/cgroups.ts'
import { ContainerLogDecoder } from '../src/machine/logs/codec.ts'
import { MachineConfig } from '../src/model/machine-config.ts'
import type { Machine } from '../src/model/resources.ts'
import type { ExecLine, LogLine, MachineReport } from '../src/model/wire.ts'
import { SECRET, startRig } from '../src/outbound/testing.ts'
import type { AgentSettings, FromAgent, ToAgent } from './support/machine-agent.ts'
import { IS_SOAK, scaled } from './support/soak.ts'
import { eventually } from './support/world.ts'

const WORLD = 'FAIRWAY_TEST_MACHINE_WORLD'
const CGROUP = `/fairway-test-${process.pid}`
const NODE = [process.execPath, '--disable-warning=ExperimentalWarning']
const WAIT_MS = 150_000
/** A start takes about so long on an idle machine. */
const KILLED_WITHIN_MS = 200
const KILLED_STARTS = scaled(12, 200)

if (process.env[WORLD]) inside()
else outside()

function outside(): void {
  const isRoot = process.getuid?.() === 0
  const world = ['unshare', '--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc']
  test('machines, as root', { skip: !isRoot && 'needs root' }, () => runInside(world))
  // Who is root has the other way in `npm run soak`.
  test('machines, as an ordinary user', { skip: isRoot && !IS_SOAK && 'npm run soak' }, () => {
    const user = [...world, '--user', '--map-root-user']
    return runInside(isRoot ? ['runuser', '-u', 'nobody', '--', ...user] : user)
  })
}

async function runInside(world: readonly string[]): Promise<void> {
  const state = await mkdtemp(join(tmpdir(), 'fairway-machine-'))
  spawnSync('chmod', ['0777', state])
  const env: NodeJS.ProcessEnv = { ...process.env, [WORLD]: state, HOME: state }
  delete env.NODE_TEST_CONTEXT
  // What loses its parent must be reaped: a machine does not end before its last process has been.
  const script =
    'mount -t tmpfs none /run && mkdir -p /run/netns && ip link set lo up && exec tini -- "$@"'
  const test = [...NODE, '--test-force-exit', import.meta.filename]
  const [command, ...args] = [...world, 'sh', '-c', script, 'sh', ...test]
  const child = spawn(command!, args, {
    ...{ env, stdio: ['ignore', 'pipe', 'pipe'] as const },
    // `unshare` is deaf to SIGTERM.
    ...{ timeout: 600_000, killSignal: 'SIGKILL' },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  const [code] = (await once(child, 'close')) as [number | null]
  spawnSync('rm', ['-rf', state])
  assert.equal(code, 0, output)
  for (const line of output.match(/^.*timing: .*$/gm) ?? []) console.log(line)
}

interface ExecOptions {
  readonly stdin?: string
  readonly timeoutMs?: number
  readonly leaveMs?: number
}

class Agent {
  static readonly all: Agent[] = []
  readonly reports: { report: MachineReport; atMs: number }[] = []
  readonly #child: ChildProcess
  #lines: LogLine[] | undefined
  #processes: unknown
  readonly #execs = new Map<number, (lines: readonly ExecLine[]) => void>()

  constructor(settings: AgentSettings) {
    const script = join(import.meta.dirname, 'support', 'machine-agent.ts')
    this.#child = fork(script, [JSON.stringify(settings)], { execArgv: NODE.slice(1) })
    this.#child.on('message', (message: FromAgent) => {
      if (message.t === 'report') this.reports.push(message)
      if (message.t === 'logs') this.#lines = [...message.lines]
      if (message.t === 'ps') this.#processes = message.processes
      if (message.t === 'exec') this.#execs.get(message.id)?.(message.lines)
    })
  }

  async ready(): Promise<this> {
    Agent.all.push(this)
    await once(this.#child, 'message')
    return this
  }

  send(message: ToAgent): void {
    this.#child.send(message)
  }

  /** The first report of the machine that is so. */
  async until(id: string, is: (report: MachineReport) => boolean): Promise<MachineReport> {
    const deadline = Date.now() + WAIT_MS
    for (;;) {
      const found = this.reports.find(({ report }) => report.machine === id && is(report))
      if (found) return found.report
      if (Date.now() > deadline)
        assert.fail(`no such report of ${id}: ${JSON.stringify(this.reports.slice(-6), null, 1)}`)
      await delay(5)
    }
  }

  async logs(tail = 100): Promise<LogLine[]> {
    this.#lines = undefined
    this.send({ t: 'logs', app: 'web', tail })
    while (!this.#lines) await delay(5)
    return this.#lines
  }

  async ps(machine: string): Promise<{ command: string; pid: number }[]> {
    this.#processes = undefined
    this.send({ t: 'ps', machine })
    while (!this.#processes) await delay(5)
    return this.#processes as { command: string; pid: number }[]
  }

  /** What a command in a machine printed, and how it ended. */
  async exec(machine: string, command: readonly string[], options: ExecOptions = {}) {
    const { stdin = '', timeoutMs = WAIT_MS, leaveMs = 2 * WAIT_MS } = options
    const id = this.#execs.size
    const { promise, resolve } = Promise.withResolvers<readonly ExecLine[]>()
    this.#execs.set(id, resolve)
    const call = { method: 'exec' as const, machine, command, stdin, timeoutMs }
    this.send({ t: 'exec', id, call, leaveMs })
    const lines = await promise
    const bytes = (of: 'stdout' | 'stderr') =>
      Buffer.concat(lines.flatMap((l) => (l.t === of ? [Buffer.from(l.data, 'base64')] : [])))
    const { t: _, ...end } = lines.findLast((line) => line.t === 'exit')!
    return { end, stdout: bytes('stdout'), stderr: bytes('stderr') }
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    this.#child.kill('SIGKILL')
    await once(this.#child, 'exit')
  }
}

const SERVER = `
import http from 'node:http'
import dns from 'node:dns/promises'
import fs from 'node:fs'
process.on('SIGTERM', () => { console.log('asked to stop'); process.exit(7) })
const { address } = await dns.lookup('fly-local-6pn')
http.createServer((q, s) => {
  if (q.url === '/exit') { s.end('bye'); setTimeout(() => process.exit(3), 20); return }
  s.end(JSON.stringify({ env: process.env, uid: process.getuid(), six: address, argv: process.argv,
    status: fs.readFileSync('/proc/self/status', 'utf8'), etc: fs.readdirSync('/etc'),
    certificates: fs.readdirSync('/etc/ssl/certs').length }))
}).listen(80, () => console.log('listening on ' + process.env.FLY_MACHINE_ID))
`

function inside(): void {
  const state = process.env[WORLD]!
  const settings = (name: string): AgentSettings => ({
    stateDir: join(state, name, 'state'),
    runDir: join('/run', name),
    archive: join(state, 'app.tar.gz'),
    cgroupRoot: CGROUP,
  })
  let next = 1
  const machine = (config: object, change: Partial<Machine> = {}): Machine => {
    const slot = next++
    return {
      ...{ id: `${slot}`.padStart(14, 'a'), name: 'm', app: 'web', org: 'personal', networkId: 1 },
      ...{
        host: 'iad1',
        region: 'iad',
        v4: `172.16.${slot >> 7}.${(2 * slot) & 255}`,
        v6: `fdaa:0:1:a7b:1:0:${slot}:2`,
      },
      config: MachineConfig.parse({ image: 'web:1', ...config }),
      ...{ instanceId: ulid(Date.now()), desired: 'started', generation: 1, action: null },
      ...{ cordoned: false, secretsVersion: 1, egress: null, testTarget: null },
      ...{ createdAt: '', updatedAt: '' },
      ...change,
    }
  }
  const sh = (script: string) => ({ init: { exec: ['/bin/sh', '-c', script] } })

  before(async () => {
    const app = join(state, 'app')
    await mkdir(app)
    await writeFile(join(app, 'server.mjs'), SERVER)
    await writeFile(join(app, 'fairway-tunnel.mjs'), tunnelFile('test'))
    await writeFile(join(app, 'index.html'), 'hello from python\n')
    await writeFile(
      join(app, 'nginx.conf'),
      'events {} pid /tmp/n.pid; daemon off; http { server { listen 81; location / { return 200 "nginx\\n"; } } }',
    )
    await pack({ gzip: true, cwd: app, file: join(state, 'app.tar.gz') }, ['.'])
  })
  after(async () => {
    for (const agent of Agent.all) await agent.kill()
    removeCgroups(CGROUP)
  })

  test('a server starts in its sandbox, is checked, survives its agent and stops', async () => {
    const server = machine({
      init: { cmd: ['node', 'server.mjs'] },
      env: { COLOUR: 'red', PASSWORD: 'overridden' },
      metadata: { fly_process_group: 'web' },
      services: [{ internal_port: 80, checks: [{ type: 'http', path: '/', interval: '1s' }] }],
    })
    const first = await new Agent(settings('a')).ready()
    first.send({ t: 'apply', machines: [server] })
    const started = await first.until(server.id, ({ state }) => state === 'started')
    assert.equal(started.generation, 1)
    assert.equal(started.services[0]?.healthy, false, 'unhealthy until its first pass')
    await first.until(server.id, ({ services }) => services[0]?.healthy === true)
    const answer = (await (await fetch(`http://${server.v4}/`)).json()) as {
      env: Record<string, string>
      uid: number
      six: string
      status: string
      etc: string[]
      certificates: number
    }
    assert.equal(answer.six, server.v6, 'fly-local-6pn')
    assert.equal(answer.env.FLY_APP_NAME, 'web')
    assert.equal(answer.env.FLY_MACHINE_ID, server.id)
    assert.equal(answer.env.FLY_PRIVATE_IP, server.v6)
    assert.equal(answer.env.COLOUR, 'red')
    assert.equal(answer.env.PASSWORD, 'hunter2', 'secrets beat env')
    assert.equal(answer.uid, process.getuid?.() === 0 && isFullMap() ? 0x7000_0001 : 0)
    assert.match(answer.status, /CapEff:\s0000000000000000/)
    assert.match(answer.status, /CapBnd:\s0000000000000000/)
    assert.match(answer.status, /NoNewPrivs:\s1/)
    assert.match(answer.status, /Seccomp:\s2/)
    assert.match(answer.status, /^PPid:\s1$/m)
    assert.ok(answer.etc.includes('ssl') && !answer.etc.includes('shadow'), String(answer.etc))
    assert.ok(answer.certificates > 10, 'certificates of authorities')
    const bundle = join(settings('a').stateDir, 'machines', server.id, 'bundle')
    assert.ok(!(await readdir(bundle)).includes('attach'), 'no socket to its terminal')
    const [init, main] = await first.ps(server.id)
    assert.equal(init?.pid, 1)
    assert.match(main?.command ?? '', /^node server\.mjs/)

    const folder = join(state, 'a', 'state', 'machines', server.id)
    assert.equal((await stat(folder)).mode & 0o777, 0o700)
    assert.equal((await stat(join(folder, 'bundle', 'config.json'))).mode & 0o777, 0o600)

    await first.kill()
    assert.equal((await fetch(`http://${server.v4}/`)).status, 200, 'it outlives its agent')
    const second = await new Agent(settings('a')).ready()
    second.send({ t: 'apply', machines: [server] })
    const adopted = await second.until(server.id, ({ services }) => services[0]?.healthy === true)
    assert.equal(adopted.state, 'started')
    const starts = second.reports.flatMap(({ report }) =>
      report.events.filter((e) => e.type === 'start'),
    )
    assert.equal(starts.length, 1, 'it was not started again')

    const stop = {
      ...server,
      desired: 'stopped' as const,
      generation: 2,
      action: { signal: 'SIGTERM' },
    }
    second.send({ t: 'apply', machines: [stop] })
    const stopped = await second.until(server.id, ({ state }) => state === 'stopped')
    assert.equal(stopped.generation, 2)
    const exit = second.reports
      .flatMap(({ report }) => report.events)
      .find(({ type }) => type === 'exit')?.request?.exit_event
    assert.equal(exit?.exit_code, 7)
    assert.equal(exit?.requested_stop, true)
    const lines = (await second.logs()).map(({ message }) => message)
    assert.ok(lines.includes(`listening on ${server.id}`), lines.join('\n'))
    assert.ok(lines.includes('asked to stop'))

    second.send({
      t: 'apply',
      machines: [{ ...stop, desired: 'destroyed', generation: 3, action: null }],
    })
    await second.until(server.id, ({ gone }) => gone)
    second.send({ t: 'apply', machines: [] })
    while (existsSync(folder)) await delay(5)
    assert.deepEqual(await readdir('/run/netns'), [])
    await second.kill()
  })

  test('commands run inside a machine as it runs itself, and end exactly so', async () => {
    const busy = machine({ ...sh('echo up; exec sleep 1000'), env: { COLOUR: 'red' } })
    const agent = await new Agent(settings('x')).ready()
    agent.send({ t: 'apply', machines: [busy] })
    await agent.until(busy.id, ({ state }) => state === 'started')
    const run = (script: string, options?: ExecOptions) =>
      agent.exec(busy.id, ['sh', '-c', script], options)
    const commands = async () => (await agent.ps(busy.id)).map(({ command }) => command)

    const env = await run('env; id -u; pwd; cat /proc/self/status; echo lost >&2; exit 3')
    assert.deepEqual(env.end, { code: 3, signal: 0 })
    assert.equal(env.stderr.toString(), 'lost\n')
    const said = env.stdout.toString()
    const uid = process.getuid?.() === 0 && isFullMap() ? Number(busy.v4.split('.')[3]) / 2 : 0
    for (const line of ['COLOUR=red', 'PASSWORD=hunter2', `FLY_MACHINE_ID=${busy.id}`, '/app'])
      assert.ok(said.split('\n').includes(line), line)
    assert.ok(said.split('\n').includes(String(uid ? 0x7000_0000 + uid : 0)), 'its user')
    assert.match(said, /CapEff:\s0000000000000000/)
    assert.match(said, /CapBnd:\s0000000000000000/)
    assert.match(said, /NoNewPrivs:\s1/)
    assert.match(said, /Seccomp:\s2/)

    // A shell says 143 of both.
    assert.deepEqual((await run('kill -TERM $$')).end, { code: 143, signal: 15 })
    assert.deepEqual((await run('exit 143')).end, { code: 143, signal: 0 })
    assert.deepEqual((await run('kill -KILL $$')).end, { code: 137, signal: 9 })
    const missing = await agent.exec(busy.id, ['no-such-thing', '-x'])
    assert.equal(missing.end.code, 127)
    assert.equal(missing.end.error, 'command_not_found')
    assert.equal((await agent.exec(busy.id, ['/app'])).end.code, 126, 'no program')

    const bytes = await run('head -c 3000000 /dev/zero | tr "\\0" "\\377"; printf "a\\0b" >&2')
    assert.equal(bytes.stdout.length, 3_000_000)
    assert.ok(bytes.stdout.every((byte) => byte === 255))
    assert.deepEqual(bytes.stderr, Buffer.from('a\0b'))
    assert.equal((await run('cat', { stdin: 'in\nput' })).stdout.toString(), 'in\nput')
    assert.equal(
      (await run('echo "$@" > /dev/stderr; exit 0')).end.code,
      0,
      'streams can be opened',
    )
    const words = await agent.exec(busy.id, ['echo', 'a  b', '$HOME', "'"])
    assert.equal(words.stdout.toString(), "a  b $HOME '\n")

    // What escapes to another session or parent ends as well.
    const tree = 'setsid sh -c "sleep 911 & sleep 912" & (sleep 913 &) ; echo on; sleep 914'
    const late = await run(tree, { timeoutMs: 5_000 })
    assert.equal(late.end.error, 'exec_timeout')
    assert.equal(late.stdout.toString(), 'on\n')
    assert.deepEqual(
      (await commands()).filter((command) => command.includes('sleep 91')),
      [],
    )
    const left = await run('exec sleep 921', { leaveMs: 4_000 })
    assert.notEqual(left.end.code, 0)
    assert.ok(!(await commands()).includes('sleep 921'), 'nobody reads: it ends')
    // A process left behind on purpose lives on, though it holds the streams.
    const behind = await run('sleep 931 & echo done')
    assert.deepEqual([behind.end, behind.stdout.toString()], [{ code: 0, signal: 0 }, 'done\n'])
    await eventually('it goes on', 10_000, async () => (await commands()).includes('sleep 931'))
    const files = await readdir(join(settings('x').stateDir, 'machines', busy.id))
    assert.deepEqual(
      files.filter((name) => name.startsWith('exec-')),
      [],
    )

    const dying = run('exec sleep 941')
    while (!(await commands()).includes('sleep 941')) await delay(20)
    agent.send({
      t: 'apply',
      machines: [{ ...busy, desired: 'stopped', generation: 2, action: { kill: true } }],
    })
    const died = (await dying).end
    assert.equal(died.error, 'machine_stopped', JSON.stringify(died))
    await agent.until(busy.id, ({ state }) => state === 'stopped')
    assert.equal((await run('true')).end.error, 'machine_not_started')
    agent.send({ t: 'apply', machines: [] })
    await agent.until(busy.id, ({ gone }) => gone)
    await agent.kill()
  })

  test('an exit while no agent is there is reported by the next one', async () => {
    const task = machine({ ...sh('sleep 0.6; exit 4'), restart: { policy: 'no' } })
    const first = await new Agent(settings('b')).ready()
    first.send({ t: 'apply', machines: [task] })
    await first.until(task.id, ({ state }) => state === 'started')
    await first.kill()
    await delay(900)
    const second = await new Agent(settings('b')).ready()
    const stopped = await second.until(task.id, ({ state }) => state === 'stopped')
    assert.equal(stopped.events.at(-1)?.request?.exit_event?.exit_code, 4)
    second.send({ t: 'apply', machines: [] })
    await second.until(task.id, ({ gone }) => gone)
    await second.kill()
  })

  test('a crash restarts the machine, a signal reaches it, SIGKILL follows the time-out', async () => {
    const crasher = machine({
      ...sh('echo run; test -e /tmp/x; exit 3'),
      restart: { max_retries: 2 },
    })
    const stubborn = machine({
      ...sh('trap "echo caught" INT HUP; echo up; while :; do sleep 0.05; done'),
      stop_config: { timeout: '300ms' },
    })
    const agent = await new Agent(settings('c')).ready()
    agent.send({ t: 'apply', machines: [crasher, stubborn] })
    const end = await agent.until(crasher.id, ({ state }) => state === 'stopped')
    assert.equal(end.events.at(-1)?.request?.restart_count, 2)
    await agent.until(stubborn.id, ({ state }) => state === 'started')
    while (!(await agent.logs()).some(({ message }) => message === 'up')) await delay(20)
    const hup = { ...stubborn, generation: 2, action: { signal: 'SIGHUP' } }
    agent.send({ t: 'apply', machines: [crasher, hup] })
    await agent.until(stubborn.id, ({ generation }) => generation === 2)
    while (!(await agent.logs()).some(({ message }) => message === 'caught')) await delay(20)
    agent.send({
      t: 'apply',
      machines: [crasher, { ...stubborn, generation: 3, desired: 'stopped' }],
    })
    const stopped = await agent.until(stubborn.id, ({ state }) => state === 'stopped')
    const exit = agent.reports
      .flatMap(({ report }) => (report.machine === stubborn.id ? report.events : []))
      .find(({ type }) => type === 'exit')
    assert.equal(exit?.request?.exit_event?.signal, 9)
    assert.equal(stopped.generation, 3)
    assert.equal((await agent.logs()).filter(({ message }) => message === 'run').length, 3)
    agent.send({ t: 'apply', machines: [] })
    await agent.until(stubborn.id, ({ gone }) => gone)
    await agent.kill()
  })

  test('a flood of lines turns the log over and loses none', async () => {
    const flood = machine(
      sh(
        'seq -f "line %.0f of a flood, with some more text" 1 200000; sleep 3; echo after; sleep 100',
      ),
    )
    const agent = await new Agent(settings('g')).ready()
    agent.send({ t: 'apply', machines: [flood] })
    const path = join(state, 'g', 'state', 'machines', flood.id, 'log', 'app.log')
    const deadline = Date.now() + WAIT_MS
    while (!existsSync(`${path}.1`) || !readFileSync(path, 'utf8').includes('after')) {
      assert.ok(Date.now() < deadline, 'the log was not turned over')
      await delay(50)
    }
    const written = readFileSync(`${path}.1`, 'utf8') + readFileSync(path, 'utf8')
    const lines = new ContainerLogDecoder().push(Buffer.from(written))
    assert.equal(lines.length, 200_001)
    assert.equal(lines[199_999]?.text, 'line 200000 of a flood, with some more text')
    const tail = await agent.logs(3)
    assert.equal(tail.at(-1)?.message, 'after')
    agent.send({ t: 'apply', machines: [] })
    await agent.until(flood.id, ({ gone }) => gone)
    await agent.kill()
  })

  test('the sandbox: nothing to write to but memory, nothing of the host to read', async () => {
    const script = `
      for f in /x /app/x /usr/x /etc/x /proc/sys/kernel/hostname; do (echo >$f) 2>/dev/null && echo "wrote $f"; done
      for f in /etc/shadow /etc/ssl/private /home /root /var/lib/dpkg /sys/kernel; do test -e $f && echo "saw $f"; done
      (unshare -n true || unshare -U true || mount -t tmpfs none /tmp) 2>/dev/null && echo "escaped"
      for d in /tmp /run /dev/shm; do echo ok >$d/x || echo "no $d"; done
      echo "name $(hostname) seen $(ls /proc | grep -c '^[0-9]') done"; exit 1`
    const box = machine(sh(script))
    const agent = await new Agent(settings('h')).ready()
    agent.send({ t: 'apply', machines: [box] })
    let lines: string[] = []
    // It starts again by itself, in what the first start has left.
    while (lines.filter((line) => line.endsWith('done')).length < 2) {
      await delay(50)
      const all = await agent.logs()
      lines = all.flatMap(({ source, message }) => (source === 'app' ? message : []))
    }
    for (const line of lines)
      assert.match(line, new RegExp(`^name ${box.id} seen [1-5] done$`), lines.join('\n'))
    agent.send({ t: 'apply', machines: [] })
    await agent.until(box.id, ({ gone }) => gone)
    await agent.kill()
  })

  test('a tunnel in a machine carries by name, and takes its lines in the hosts file away', async () => {
    await using rig = await startRig({ names: { 'db.far.test': ['127.0.0.1'] } })
    const far = createServer((request, response) => response.end(`far ${request.headers.host}`))
    await once(far.listen(0, '127.0.0.1'), 'listening')
    const { port } = far.address() as AddressInfo
    const script = `exec node fairway-tunnel.mjs --verbose --to db.far.test:${port} -- sh -c '
      curl -sS http://db.far.test:${port}/; echo " $?"; exit 5'; `
    const proxyPort = await rig.proxy.listen({ host: '0.0.0.0', port: 0 }, 'http')
    const job = machine({
      ...sh(
        `(${script}); echo "exit $?"; grep -c far.test /etc/hosts; grep -c localhost /etc/hosts`,
      ),
      env: { FAIRWAY_OUTBOUND_URL: `http://u1:${SECRET}@169.254.0.1:${proxyPort}` },
      restart: { policy: 'no' },
    })
    const agent = await new Agent(settings('t')).ready()
    agent.send({ t: 'apply', machines: [job] })
    await agent.until(job.id, ({ state }) => state === 'stopped')
    const all = await agent.logs()
    const lines = all.flatMap(({ source, message }) => (source === 'app' ? message : []))
    assert.ok(lines.includes(`far db.far.test:${port} 0`), lines.join('\n'))
    assert.match(lines.join('\n'), /by name, with lines in \/etc\/hosts/)
    assert.deepEqual(lines.slice(-3), ['exit 5', '0', '2'])
    far.close()
    agent.send({ t: 'apply', machines: [] })
    await agent.until(job.id, ({ gone }) => gone)
    await agent.kill()
  })

  test('memory is limited where cgroups are ours', {
    skip: !isFullMap() && 'no cgroups',
  }, async () => {
    const eater = machine({
      init: { exec: ['python3', '-c', 'x = bytearray(300_000_000)'] },
      guest: { memory_mb: 64 },
      restart: { policy: 'no' },
    })
    const agent = await new Agent(settings('i')).ready()
    agent.send({ t: 'apply', machines: [eater] })
    const stopped = await agent.until(eater.id, ({ state }) => state === 'stopped')
    const exit = stopped.events.find(({ type }) => type === 'exit')?.request?.exit_event
    assert.equal(exit?.oom_killed, true, JSON.stringify(exit))
    assert.equal(exit?.signal, 9)
    agent.send({ t: 'apply', machines: [] })
    await agent.until(eater.id, ({ gone }) => gone)
    await agent.kill()
  })

  test('a command that is not there, and one that may not be started', async () => {
    const missing = machine({ init: { exec: ['/app/nothing'] }, restart: { max_retries: 1 } })
    const none = machine({})
    const agent = await new Agent(settings('d')).ready()
    agent.send({ t: 'apply', machines: [missing, none] })
    const stopped = await agent.until(missing.id, ({ state }) => state === 'stopped')
    assert.equal(stopped.events.at(-1)?.request?.exit_event?.exit_code, 127)
    await agent.until(none.id, ({ state }) => state === 'failed')
    const lines = (await agent.logs()).map(({ message }) => message).join('\n')
    assert.match(lines, /\/app\/nothing failed: No such file/)
    assert.match(lines, /could not start: config\.init names no command/)
    agent.send({ t: 'apply', machines: [] })
    await agent.until(missing.id, ({ gone }) => gone)
    await agent.kill()
  })

  test('an agent that is killed at any moment of a start costs a one-off nothing', async () => {
    const codes: unknown[] = []
    for (let n = 0; n < KILLED_STARTS; n++) {
      const oneOff = machine({ ...sh('exit 0'), restart: { policy: 'no' } })
      const first = await new Agent(settings('m')).ready()
      first.send({ t: 'apply', machines: [oneOff] })
      await delay((n * KILLED_WITHIN_MS) / KILLED_STARTS)
      await first.kill()
      const agent = await new Agent(settings('m')).ready()
      agent.send({ t: 'apply', machines: [oneOff] })
      const { events } = await agent.until(oneOff.id, ({ state }) => state === 'stopped')
      codes.push(events.find(({ type }) => type === 'exit')?.request?.exit_event?.exit_code)
      agent.send({ t: 'apply', machines: [] })
      await agent.until(oneOff.id, ({ gone }) => gone)
      await agent.kill()
    }
    assert.deepEqual(codes, Array(KILLED_STARTS).fill(0))
  })

  test('a machine whose supervisor was killed starts anew', async () => {
    const hasExited = ({ events }: MachineReport) => events.some(({ type }) => type === 'exit')
    const orphan = machine(sh('echo up; exec sleep 100'))
    const agent = await new Agent(settings('k')).ready()
    agent.send({ t: 'apply', machines: [orphan] })
    await agent.until(orphan.id, ({ state }) => state === 'started')
    const pidFile = join(state, 'k', 'state', 'machines', orphan.id, 'conmon', 'conmon.pid')
    const before = Number(readFileSync(pidFile, 'utf8'))
    process.kill(before, 'SIGKILL')
    await agent.until(orphan.id, hasExited)
    const exited = agent.reports.findIndex(({ report }) => hasExited(report))
    await eventually('it starts anew', 10_000, async () =>
      agent.reports.slice(exited).some(({ report }) => report.state === 'started'),
    )
    const sleeps = async () =>
      (await agent.ps(orphan.id)).filter(({ command }) => command.startsWith('sleep')).length
    // It is `runc`, then `sh`, before it is `sleep`.
    await eventually('its program runs', 10_000, async () => (await sleeps()) === 1)
    assert.notEqual(Number(readFileSync(pidFile, 'utf8')), before)
    agent.send({ t: 'apply', machines: [] })
    await agent.until(orphan.id, ({ gone }) => gone)
    await agent.kill()
  })

  test('a stopped machine stands by, and starts whatever became of that', async () => {
    const server = machine({ init: { cmd: ['node', 'server.mjs'] } })
    const sandbox = join('/run', 'l', 'runc', server.id)
    const standsBy = async () => {
      const deadline = Date.now() + WAIT_MS
      while (!existsSync(join(sandbox, 'exec.fifo'))) {
        assert.ok(Date.now() < deadline, 'it does not stand by')
        await delay(10)
      }
      await delay(100) // The agent has heard of it.
    }
    let agent = await new Agent(settings('l')).ready()
    let { generation } = server
    const ask = async (desired: 'started' | 'stopped') => {
      generation += 1
      const sentMs = Date.now()
      agent.send({ t: 'apply', machines: [{ ...server, desired, generation }] })
      const is = (r: MachineReport) => r.generation === generation && r.state === desired
      await agent.until(server.id, is)
      return Date.now() - sentMs
    }
    const answers = async () => {
      const deadline = Date.now() + WAIT_MS
      while (!(await fetch(`http://${server.v4}/`).catch(() => undefined))?.ok) {
        assert.ok(Date.now() < deadline, 'it does not answer')
        await delay(5)
      }
    }
    await ask('started')
    await ask('stopped')
    await standsBy()
    console.log(`timing: start of a machine that stands by ${await ask('started')} ms`)
    await answers()

    await ask('stopped')
    await standsBy()
    const pidFile = join(state, 'l', 'state', 'machines', server.id, 'conmon', 'pid')
    /** Of the sandbox that stands by: until its supervisor has written, the file names the one before. */
    const firstProcess = async () => {
      for (const deadline = Date.now() + WAIT_MS; ; await delay(10)) {
        const pid = Number(readFileSync(pidFile, 'utf8'))
        if (existsSync(`/proc/${pid}`)) return pid
        assert.ok(Date.now() < deadline, 'no process stands by')
      }
    }
    process.kill(await firstProcess(), 'SIGKILL')
    await ask('started')
    await answers()

    await ask('stopped')
    await standsBy()
    const before = readFileSync(pidFile, 'utf8')
    await agent.kill()
    agent = await new Agent(settings('l')).ready()
    agent.send({ t: 'apply', machines: [{ ...server, desired: 'stopped', generation }] })
    while (!existsSync(pidFile) || readFileSync(pidFile, 'utf8') === before) await delay(10)
    await standsBy()
    await ask('started')
    await answers()
    agent.send({ t: 'apply', machines: [] })
    await agent.until(server.id, ({ gone }) => gone)
    assert.equal(existsSync(sandbox), false)
    await agent.kill()
  })

  test('a program without handlers stops at once', async () => {
    const sleeper = machine({ init: { exec: ['sleep', '100'] } })
    const agent = await new Agent(settings('j')).ready()
    agent.send({ t: 'apply', machines: [sleeper] })
    await agent.until(sleeper.id, ({ state }) => state === 'started')
    await delay(200)
    const beganMs = Date.now()
    agent.send({ t: 'apply', machines: [{ ...sleeper, desired: 'stopped', generation: 2 }] })
    await agent.until(sleeper.id, ({ state }) => state === 'stopped')
    assert.ok(Date.now() - beganMs < 4_000)
    agent.send({ t: 'apply', machines: [] })
    await agent.until(sleeper.id, ({ gone }) => gone)
    await agent.kill()
  })

  test('ordinary servers run as they are', async () => {
    const servers = [
      { machine: machine({ init: { cmd: ['python3', '-m', 'http.server', '80'] } }), port: 80 },
      { machine: machine({ init: { cmd: ['nginx', '-c', '/app/nginx.conf'] } }), port: 81 },
    ]
    const agent = await new Agent(settings('e')).ready()
    agent.send({ t: 'apply', machines: servers.map((server) => server.machine) })
    for (const { machine: m, port } of servers) {
      await agent.until(m.id, ({ state }) => state === 'started')
      const url = `http://${m.v4}:${port}/index.html`
      const deadline = Date.now() + WAIT_MS
      let text = ''
      while (!/python|nginx/.test(text)) {
        text = await fetch(url).then((r) => r.text(), String)
        if (Date.now() > deadline) assert.fail(`${text}: ${JSON.stringify(await agent.logs())}`)
        await delay(20)
      }
    }
    agent.send({ t: 'apply', machines: [] })
    for (const { machine: m } of servers) await agent.until(m.id, ({ gone }) => gone)
    await agent.kill()
  })

  test('start speed', async () => {
    const agent = await new Agent(settings('f')).ready()
    const tookMs: number[] = []
    const running: Machine[] = []
    for (let i = 0; i < 12; i++) {
      const m = machine(sh('sleep 100'))
      running.push(m)
      const beganMs = Date.now()
      agent.send({ t: 'apply', machines: running })
      await agent.until(m.id, ({ state }) => state === 'started')
      const found = agent.reports.find(
        ({ report }) => report.machine === m.id && report.state === 'started',
      )
      tookMs.push(found!.atMs - beganMs)
      await delay(50)
    }
    tookMs.sort((a, b) => a - b)
    console.log(`timing: apply to started p50 ${tookMs[6]} ms, fastest ${tookMs[0]} ms`)
    agent.send({
      t: 'apply',
      machines: running.map((m) => ({
        ...m,
        desired: 'destroyed',
        generation: 2,
        action: { kill: true },
      })),
    })
    for (const { id } of running) await agent.until(id, ({ gone }) => gone)
    await agent.kill()
    await rm(join(state, 'f'), { recursive: true })
  })
}

function isFullMap(): boolean {
  return / 4294967295$/m.test(readFileSync('/proc/self/uid_map', 'utf8').trimEnd())
}
