/**
 * The agent as a process, beside a real control plane: network, machines and reports for real, in a
 * private world. Outside this file only starts itself again inside such a world.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process'
import { on, once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { create as pack } from 'tar'
import { followFeedSocket } from '../src/agent/feed-socket.ts'
import { openReplica } from '../src/agent/replica.ts'
import { type TestProcess, testProcess } from '../src/api/testing.ts'
import { issueHostCertificate } from '../src/control/ca.ts'
import { EdgeIndex } from '../src/view/edge-index.ts'

const WORLD = 'FAIRWAY_TEST_AGENT_WORLD'
const NODE = [process.execPath, '--disable-warning=ExperimentalWarning']
const WAIT_MS = 120_000

if (process.env[WORLD]) inside(process.env[WORLD])
else outside()

function outside(): void {
  const isRoot = process.getuid?.() === 0
  const world = ['unshare', '--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc']
  test('the agent process, as root', { skip: !isRoot && 'needs root' }, () => runInside(world))
}

async function runInside(world: readonly string[]): Promise<void> {
  const state = await mkdtemp(join(tmpdir(), 'fairway-agent-'))
  const env: NodeJS.ProcessEnv = { ...process.env, [WORLD]: state }
  delete env.NODE_TEST_CONTEXT
  // What loses its parent must be reaped: a machine does not end before its last process has been.
  const script =
    'mount -t tmpfs none /run && mkdir -p /run/netns && ip link set lo up && exec tini -- "$@"'
  const test = [...NODE, '--test-force-exit', import.meta.filename]
  const [command, ...args] = [...world, 'sh', '-c', script, 'sh', ...test]
  const child = spawn(command!, args, { env, stdio: ['ignore', 'pipe', 'pipe'], timeout: 600_000 })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  const [code] = (await once(child, 'close')) as [number | null]
  spawnSync('rm', ['-rf', state])
  assert.equal(code, 0, output)
}

/** Starts the agent; resolves when it says that it is ready. */
async function startAgent(config: string): Promise<ChildProcess> {
  const child = fork('src/agent/main.ts', [config], {
    execPath: NODE[0],
    execArgv: NODE.slice(1),
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const signal = AbortSignal.timeout(WAIT_MS)
  for await (const [message] of on(child, 'message', { signal })) if (message.t === 'ready') break
  return child
}

async function eventually(what: string, done: () => boolean | Promise<boolean>): Promise<void> {
  const until = performance.now() + WAIT_MS
  while (!(await done())) {
    assert.ok(performance.now() < until, `${what}: not within ${WAIT_MS} ms`)
    await delay(10)
  }
}

/** Pids of the machine's program, which no agent is the parent of. */
const running = (mark: string): string[] =>
  readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(mark)
    } catch {
      return false
    }
  })

async function upload(control: TestProcess, root: string): Promise<string> {
  const app = join(root, 'app')
  mkdirSync(app)
  writeFileSync(join(app, 'serve.sh'), 'echo up; exec sleep 4242\n')
  const archive = join(root, 'app.tar.gz')
  await pack({ gzip: true, file: archive, cwd: app }, ['serve.sh'])
  const bytes = readFileSync(archive)
  const { createHash } = await import('node:crypto')
  const digest = createHash('sha256').update(bytes).digest('hex')
  const path = `/v1/apps/hello/artifacts?digest=${digest}`
  const answer = await control.api('POST', path, bytes, { 'content-type': 'application/gzip' })
  assert.equal(answer.status, 201, answer.text)
  return digest
}

async function writeConfig(control: TestProcess, root: string): Promise<string> {
  const credentials = await issueHostCertificate(control.control.ca, 'iad1')
  const tls: Record<string, string> = { serverName: 'localhost' }
  for (const name of ['ca', 'cert', 'key'] as const) {
    tls[name] = join(root, `${name}.pem`)
    writeFileSync(tls[name], credentials[name], { mode: 0o600 })
  }
  const path = join(root, 'agent.json')
  const host = { id: 'iad1', region: 'iad', index: 1, underlayV4: '198.51.100.1' }
  const config = {
    host: { ...host, underlayV6: '2001:db8:ffff::1' },
    ...{ stateDir: join(root, 'state'), runDir: join(root, 'run'), tls },
    controlUrls: [`https://127.0.0.1:${control.control.agentsPort}`],
    ...{ appsDomains: ['fairway.test'], publicPrefixes: ['203.0.113.0/24'] },
  }
  writeFileSync(path, JSON.stringify(config))
  return path
}

function inside(root: string): void {
  let control: TestProcess
  let config: string
  let agent: ChildProcess
  let machine: { id: string }
  const edge = new AbortController()
  const index = new EdgeIndex()

  before(async () => {
    const script = [
      'ip link add wan type veth peer name far',
      'ip addr add 198.51.100.1/24 dev wan',
      'ip link set wan up && ip link set far up',
    ]
    const { status, stderr } = spawnSync('sh', ['-ec', script.join('\n')], { encoding: 'utf8' })
    assert.equal(status, 0, stderr)
    control = await testProcess()
    config = await writeConfig(control, root)
  })
  after(async () => {
    edge.abort()
    agent?.kill('SIGTERM')
    await control?.close()
  })

  test('a machine that the API asked for runs, and the edge knows it', async () => {
    agent = await startAgent(config)
    const { send } = followFeedSocket(join(root, 'run', 'feed.sock'), {
      after: 0,
      signal: edge.signal,
      onLine: (line) => {
        index.apply(line)
        send({ t: 'applied', revision: index.revision })
      },
    })
    const { context } = control.control
    await eventually('the host is live', () => context.fleet.isLive('iad1'))
    await control.api('POST', '/v1/apps', { app_name: 'hello', org_slug: 'personal' })
    const digest = await upload(control, root)
    const services = [{ internal_port: 8080, ports: [{ port: 80, handlers: ['http'] }] }]
    const stop_config = { signal: 'SIGKILL' }
    const init = { exec: ['/bin/sh', '/app/serve.sh'] }
    const input = {
      region: 'iad',
      config: { image: `sha256:${digest}`, services, init, stop_config },
    }
    const created = await control.api('POST', '/v1/apps/hello/machines', input)
    assert.equal(created.status, 200, created.text)
    machine = created.json
    const wait = `/v1/apps/hello/machines/${machine.id}/wait?state=started&timeout=60`
    const waited = await control.api('GET', wait)
    assert.equal(waited.status, 200, waited.text)
    // It is `runc` for a moment before.
    await eventually('it runs', () => running('4242').length === 1)
    const state = () => index.app('hello')?.port('tcp', 80)?.candidates[0]?.endpoint.state
    await eventually('the edge sees it started', () => state() === 'started')
    const { waiting } = await context.edges.waitFor(index.revision, 2_000)
    assert.deepEqual(waiting, [])
  })

  test('kill -9 of the agent: the machine lives, and the next agent has it', async () => {
    const [pid] = running('4242')
    agent.kill('SIGKILL')
    await once(agent, 'exit')
    assert.deepEqual(running('4242'), [pid])
    agent = await startAgent(config)
    assert.deepEqual(running('4242'), [pid])
    const stop = await control.api('POST', `/v1/apps/hello/machines/${machine.id}/restart`)
    assert.equal(stop.status, 200, stop.text)
    await eventually('it was restarted', () => running('4242').some((other) => other !== pid))
  })

  test('SIGTERM ends the agent alone; without the control plane the next one is ready', async () => {
    await eventually('one runs', () => running('4242').length === 1)
    const [pid] = running('4242')
    await control.control.close()
    agent.kill('SIGTERM')
    assert.deepEqual(await once(agent, 'exit'), [0, null])
    const replica = openReplica(join(root, 'state', 'replica.db'), { readOnly: true })
    assert.ok([...replica.lines()].length > 2)
    replica.close()
    agent = await startAgent(config)
    assert.deepEqual(running('4242'), [pid])
    const table = spawnSync('nft', ['list', 'tables'], { encoding: 'utf8' })
    assert.match(table.stdout, /fairway/)
  })
}
