import assert from 'node:assert/strict'
import { type ChildProcess, type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process'
import { hash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { issueServerCertificate, loadOrCreateCa } from '../src/control/ca.ts'
import { systemExec } from '../src/kernel/exec.ts'
import type { EgressPair, OutboundProxy } from '../src/model/resources.ts'
import { at, buildWorld, endWorld, PLACES, PUBLIC } from './host-network/world.ts'
import { eventually } from './support/world.ts'

/**
 * The outbound proxy on a host, with real packets and real clients. The far end sees which address
 * they come from. The test starts itself again inside namespaces of its own.
 */
const INSIDE = 'FAIRWAY_TEST_INSIDE'
if (process.env[INSIDE] === undefined) outside()
else inside()

function outside(): void {
  const skip = process.getuid!() === 0 ? false : 'needs root'
  const run = `${process.execPath} --disable-warning=ExperimentalWarning ${import.meta.filename}`
  const go = `mount -t tmpfs none /run && mkdir -p /run/netns && exec ${run}`
  const argv = [
    '--mount',
    '--net',
    '--pid',
    '--fork',
    '--kill-child',
    '--mount-proc',
    'sh',
    '-c',
    go,
  ]
  test('in namespaces', { skip, timeout: 400_000 }, () => {
    const env = { ...process.env, [INSIDE]: '1', NODE_TEST_CONTEXT: undefined }
    check(spawnSync('unshare', argv, { encoding: 'utf8', env }))
  })
}

function check({ status, stdout, stderr }: SpawnSyncReturns<string>): void {
  assert.equal(status, 0, `${stdout}\n${stderr}`)
  assert.match(stdout, /# pass [1-9]|ℹ pass [1-9]/)
  assert.doesNotMatch(stdout, /# skipped [1-9]|ℹ skipped [1-9]/)
}

function inside(): void {
  const HOST = PLACES['host-a']
  const NET = PLACES.internet
  const INGRESS = { v4: '203.0.113.2', v6: '2001:db8:1::2' }
  const [A4, B4, A6, B6] = [
    '198.51.100.193',
    '198.51.100.194',
    '2001:db8:e000::a',
    '2001:db8:e000::b',
  ]
  const SECRET = 'a-secret-of-256-random-bits'
  const NEXT = 'another-secret-of-256-bits'
  const dir = mkdtempSync(join(tmpdir(), 'fairway-outbound-'))
  const children: ChildProcess[] = []
  let host: Asked

  const when = '2026-01-01T00:00:00.000Z'
  const pair = (id: 'a' | 'b', change: Partial<EgressPair> = {}): EgressPair => ({
    ...{ id, v4: id === 'a' ? A4 : B4, v6: id === 'a' ? A6 : B6, org: 'acme', app: null },
    ...{ machine: null, outbound: 'p1', regions: ['global'], pin: null, state: 'active' },
    blocks: [{ slot: 5, count: 1, host: 'a', machine: null, state: 'use' }],
    ...{ createdAt: when, updatedAt: when, ...change },
  })
  const credential = (name: string, secret: string, expiresAt: string | null = null) => ({
    ...{ name, hash: hash('sha256', secret), createdAt: when, expiresAt },
  })
  const proxy = (change: Partial<OutboundProxy> = {}): OutboundProxy => ({
    ...{
      id: 'p1',
      index: 3,
      name: 'test',
      org: 'acme',
      pairs: ['a', 'b'],
      secret: null,
      allow: [],
    },
    credentials: [credential('p1-one', SECRET)],
    limits: { connections: null, newPerSecond: null, bytesPerSecond: null },
    ...{ createdAt: when, updatedAt: when, ...change },
  })
  const put = (change: Partial<OutboundProxy>, pairs: EgressPair[] = []) =>
    host.ask('put', { proxies: [proxy(change)], pairs })

  const url = (scheme = 'http', port = 9293, secret = SECRET, name = 'p1-one') =>
    `${scheme}://${name}:${secret}@outbound.fairway.test:${port}`
  const curl = (...words: string[]) => run('client', ['curl', '-sS', '--max-time', '20', ...words])
  const who = async (...words: string[]) => {
    const { stdout, stderr } = await curl(...words, `http://${NET.v4}:8000/who`)
    return stdout.trim() || stderr
  }
  const sources = async (n: number) => {
    const seen = new Set<string>()
    for (let i = 0; i < n; i++) seen.add(await who('-p', '-x', url()))
    return [...seen].sort()
  }

  before(async () => {
    await buildWorld()
    for (const [to, via] of [
      ['198.51.100.192/26', HOST.v4],
      ['2001:db8:e000::/48', HOST.v6],
    ])
      await systemExec.run(['ip', '-n', 'router', 'route', 'add', to!, 'via', via!])
    const ca = await loadOrCreateCa(join(dir, 'ca'))
    const server = await issueServerCertificate(ca, ['outbound.fairway.test'])
    writeFileSync(join(dir, 'ca.pem'), ca.certificate)
    for (const part of ['cert', 'key'] as const) writeFileSync(join(dir, part), server[part])
    makeFiles(join(dir, 'www'))
    await ready('internet', 'origin.ts', join(dir, 'www'))
    host = new Asked('host-a', {
      dir: join(dir, 'host'),
      host: { id: 'a', index: 1, underlayV4: HOST.v4, underlayV6: HOST.v6 },
      ...{ wanInterface: 'wan', publicPrefixes: PUBLIC },
      ...{ egressPrefixes: ['198.51.100.192/26', '2001:db8:e000::/48'] },
      addresses: [INGRESS.v4, INGRESS.v6],
      tls: { cert: join(dir, 'cert'), key: join(dir, 'key') },
      never: ['198.19.3.0/30', '2001:db8:d000:3::/64'],
    })
    children.push(host.child)
    await host.ask('start')
    await host.ask('names', { 'internet.test': [[NET.v4, NET.v6]], 'private.test': [['10.1.2.3']] })
    await put({}, [pair('a'), pair('b')])
  })
  after(() => {
    for (const child of children) child.kill('SIGKILL')
    endWorld()
    rmSync(dir, { recursive: true })
  })

  test('curl: http, CONNECT, SOCKS5, over TLS; the far end sees the two addresses in turn', async () => {
    assert.deepEqual(await sources(4), [A4, B4])
    const plain = await who('-x', url())
    assert.ok([A4, B4].includes(plain), plain)
    const ways = [
      ['-p', '-x', url()],
      ['-x', url('socks5h', 1080)],
      ['--proxy-cacert', join(dir, 'ca.pem'), '-p', '-x', url('https', 9294)],
    ]
    for (const way of ways)
      for (const [to, seen] of [
        [`${NET.v4}:8000`, [A4, B4]],
        [`[${NET.v6}]:8000`, [A6, B6]],
        ['internet.test:8000', [A4, B4, A6, B6]],
      ] as const) {
        const { stdout, stderr } = await curl(...way, `http://${to}/who`)
        assert.ok(
          (seen as readonly string[]).includes(stdout.trim()),
          `${way} ${to}: ${stdout}${stderr}`,
        )
      }
  })

  test('clients reach it by IPv6 as well', async () => {
    const by6 = ['--resolve', `outbound.fairway.test:9293:[${INGRESS.v6}]`]
    const { stdout } = await run('client', [
      ...['curl', '-sS', ...by6, '-p', '-x', url(), `http://${NET.v4}:8000/who`],
    ])
    assert.ok([A4, B4].includes(stdout.trim()))
  })

  test('nothing of the credentials reaches the destination', async () => {
    const { stdout } = await curl('-x', url(), `http://${NET.v4}:8000/headers`)
    assert.doesNotMatch(stdout, /authorization|p1-one/i)
    assert.match(stdout, /"Via","1.1 fairway"/)
  })

  test('npm and git', async () => {
    const home = join(dir, 'home')
    mkdirSync(join(home, 'project'), { recursive: true })
    const proxied = { HOME: home, http_proxy: url(), npm_config_proxy: url() }
    const registry = `http://${NET.v4}:8000/`
    const npm = (...words: string[]) =>
      run('client', ['npm', '--registry', registry, '--no-audit', '--no-fund', ...words], {
        env: proxied,
        cwd: join(home, 'project'),
      })
    const ping = await npm('ping')
    assert.equal(ping.code, 0, ping.stderr)
    const install = await npm('install', 'tiny')
    assert.equal(install.code, 0, install.stderr)
    assert.match(readFileSync(join(home, 'project/node_modules/tiny/index.js'), 'utf8'), /tiny/)
    const clone = await run(
      'client',
      ['git', 'clone', '-q', `${registry}repo.git`, join(home, 'c')],
      {
        env: proxied,
      },
    )
    assert.equal(clone.code, 0, clone.stderr)
    assert.equal(readFileSync(join(home, 'c/file'), 'utf8'), 'from git\n')
  })

  test('a SOCKS5 wrapper around a program that knows nothing of proxies', async () => {
    const file = join(dir, 'proxychains.conf')
    const conf = `strict_chain\nproxy_dns\n[ProxyList]\nsocks5 ${INGRESS.v4} 1080 p1-one ${SECRET}\n`
    writeFileSync(file, conf)
    const argv = ['proxychains4', '-q', '-f', file, 'python3', '-c', PYTHON(NET.v4)]
    const { stdout, stderr } = await run('client', argv)
    assert.ok([A4, B4].includes(stdout.split(' ')[0]!), `${stdout}${stderr}`)
  })

  test('refusals say what and why', async () => {
    const cases: [string[], RegExp][] = [
      [['-x', url('http', 9293, 'wrong')], /407[\s\S]*error: credentials_refused/i],
      [['-x', `http://outbound.fairway.test:9293`], /407[\s\S]*error: credentials_required/i],
    ]
    for (const [way, text] of cases) {
      const { stdout, stderr } = await curl('-i', ...way, `http://${NET.v4}:8000/who`)
      assert.match(stdout, text, stderr)
    }
    const to: [string, RegExp][] = [
      ['http://169.254.169.254/latest/meta-data/', /403[\s\S]*destination_refused/],
      ['http://private.test/', /403[\s\S]*destination_refused/],
      ['http://127.0.0.1/', /403[\s\S]*destination_refused/],
      [`http://${PLACES.control.v4}:4280/`, /403[\s\S]*destination_refused/],
      [`http://${INGRESS.v4}:9293/`, /403[\s\S]*destination_refused/],
      ['http://nowhere.test/', /502[\s\S]*name_not_found/],
      [`http://${NET.v4}:9/`, /502[\s\S]*connect_refused/],
    ]
    for (const [target, text] of to) {
      const { stdout, stderr } = await curl('-i', '-x', url(), target)
      assert.match(stdout, text, `${target} ${stderr}`)
    }
    const socks = await curl('-x', url('socks5h', 1080), 'http://private.test/')
    assert.notEqual(socks.code, 0)
    assert.equal(socks.stdout, '')
  })

  test('what an allow-list opens, the host still keeps from its own network', async () => {
    await put({ allow: ['*', '0.0.0.0/0', '::/0'] })
    for (const target of [`http://${HOST.v4}:179/`, 'http://[fdaa::3]:80/', 'http://172.16.0.2/']) {
      const { stdout } = await curl('-i', '--max-time', '15', '-x', url(), target)
      assert.match(stdout, /HTTP\/1\.1 50[24]/, target)
    }
    await put({})
  })

  test('a name that is bound anew between two look-ups opens nothing', async () => {
    const turns = [[NET.v4], ['169.254.169.254'], ['127.0.0.1'], ['10.0.0.1'], [NET.v4]]
    await host.ask('names', { 'rebind.test': turns })
    const seen: string[] = []
    for (let i = 0; i < 6; i++) {
      const { stdout } = await curl('-i', '-x', url(), 'http://rebind.test:8000/who')
      seen.push(stdout)
      await new Promise((resolve) => setTimeout(resolve, 1_100))
    }
    for (const text of seen) assert.match(text, /198\.51\.100\.19[34]|destination_refused/)
    assert.ok(seen.some((text) => text.includes('destination_refused')))
  })

  test('all ports of both blocks towards one destination, and then others still work', async () => {
    const opened = await run('client', [
      ...[process.execPath, join(import.meta.dirname, 'outbound/many.ts')],
      ...[INGRESS.v4, 'p1-one', SECRET, NET.v4, '8001', '2100'],
    ])
    const { sources: counts, failed } = JSON.parse(opened.stdout) as {
      sources: Record<string, number>
      failed: Record<string, number>
    }
    assert.deepEqual(counts, { [A4]: 1_024, [B4]: 1_024 }, opened.stderr)
    assert.deepEqual(failed, { source_exhausted: 2_100 - 2_048 })
    assert.ok([A4, B4].includes(await who('-x', url())))
  })

  test('one address that is away is replaced by the other, and comes back', async () => {
    await put({}, [pair('a', { state: 'draining' })])
    assert.deepEqual(await sources(6), [B4])
    await put({}, [pair('a')])
    assert.deepEqual(await sources(6), [A4, B4])
    // The far end answers it no more: what a route that is gone, or a block list, looks like.
    await run('router', ['ip', 'route', 'replace', 'blackhole', `${A4}/32`])
    try {
      assert.deepEqual(await sources(6), [B4])
    } finally {
      await run('router', ['ip', 'route', 'del', 'blackhole', `${A4}/32`])
    }
  })

  test('credentials change without a gap', async () => {
    let failures = 0
    let requests = 0
    let current = { name: 'p1-one', secret: SECRET }
    let done = false
    const calling = (async () => {
      while (!done) {
        requests++
        const { name, secret } = current
        const seen = await who('-x', url('http', 9293, secret, name))
        if (![A4, B4].includes(seen)) failures++
      }
    })()
    await put({ credentials: [credential('p1-one', SECRET), credential('p1-two', NEXT)] })
    await eventually('the new one is served', 10_000, async () =>
      [A4, B4].includes(await who('-x', url('http', 9293, NEXT, 'p1-two'))),
    )
    const soon = new Date(Date.now() + 4_000).toISOString()
    await put({ credentials: [credential('p1-one', SECRET, soon), credential('p1-two', NEXT)] })
    current = { name: 'p1-two', secret: NEXT }
    await new Promise((resolve) => setTimeout(resolve, 5_000))
    done = true
    await calling
    assert.ok(requests > 3)
    assert.equal(failures, 0)
    const { stdout } = await curl('-i', '-x', url(), `http://${NET.v4}:8000/who`)
    assert.match(stdout, /407/, 'the former one has ended')
    await put({})
  })

  test('after the last proxy on a host went, the next one is as good as it was', async () => {
    await host.ask('delete', ['p1'])
    await put({ index: 4 }, [pair('a'), pair('b')])
    assert.deepEqual(await sources(4), [A4, B4])
  })

  test('a process that is killed is back, and the listener was never closed', async () => {
    const killed = host.ask('kill')
    await eventually('one is served', 10_000, async () => [A4, B4].includes(await who('-x', url())))
    await killed
    assert.ok([A4, B4].includes(await who('-x', url())), 'by the process that is back')
  })

  test('every request is in the log, no secret is, and the numbers are there', async () => {
    await new Promise((resolve) => setTimeout(resolve, 500))
    const text = readFileSync(join(dir, 'host/requests.log'), 'utf8')
    assert.doesNotMatch(text, new RegExp(`${SECRET}|${NEXT}`))
    const lines = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const ok = lines.find((line) => line.result === 'ok')
    assert.equal(ok.credential, 'p1-one')
    assert.match(ok.destination, /:8000$/)
    assert.ok(ok.bytesDown > 0 && ['a', 'b'].includes(ok.pair) && ok.family > 0)
    const metrics = await run('host-a', [
      ...['curl', '-sS', '--unix-socket', join(dir, 'host/metrics.sock'), 'http://x/metrics'],
    ])
    assert.match(metrics.stdout, /fairway_outbound_finished_total\{protocol="http"\} [1-9]/)
  })

  interface Ran {
    readonly code: number | null
    readonly stdout: string
    readonly stderr: string
  }

  /** A command at a place, where `outbound.fairway.test` is the proxy. */
  function run(
    place: string,
    argv: readonly string[],
    { env = {}, cwd }: { env?: Record<string, string>; cwd?: string } = {},
  ): Promise<Ran> {
    const hosts = join(dir, 'hosts')
    writeFileSync(hosts, `127.0.0.1 localhost\n${INGRESS.v4} outbound.fairway.test\n`)
    const script = `mount --bind ${hosts} /etc/hosts && exec "$@"`
    const words = at(place, ['unshare', '--mount', 'sh', '-c', script, 'sh', ...argv])
    const child = spawn(words[0]!, words.slice(1), { cwd, env: { ...process.env, ...env } })
    let [stdout, stderr] = ['', '']
    child.stdout.on('data', (data) => (stdout += data))
    child.stderr.on('data', (data) => (stderr += data))
    return new Promise((resolve) =>
      child.once('close', (code) => resolve({ code, stdout, stderr })),
    )
  }

  function ready(place: string, script: string, ...words: string[]): Promise<void> {
    const node = [process.execPath, join(import.meta.dirname, 'outbound', script), ...words]
    const argv = at(place, node)
    const child = spawn(argv[0]!, argv.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] })
    children.push(child)
    return new Promise((resolve, reject) => {
      child.stdout.once('data', () => resolve())
      child.once('exit', (code) => reject(new Error(`${script}: exit code ${code}`)))
    })
  }
}

const PYTHON = (host: string) =>
  `import socket;s=socket.create_connection(('${host}',8001),20);print(s.recv(99).decode())`

/** A repository that git can fetch from plain files, and a package with its registry entry. */
function makeFiles(www: string): void {
  const work = `${www}-work`
  mkdirSync(join(work, 'package'), { recursive: true })
  mkdirSync(join(www, 'tiny'), { recursive: true })
  const sh = (script: string) => {
    const { status, stderr } = spawnSync('sh', ['-ec', script], { encoding: 'utf8', cwd: work })
    assert.equal(status, 0, stderr)
  }
  sh(`git init -q repo && cd repo && echo 'from git' >file && git add file &&
    git -c user.name=x -c user.email=x@example.com commit -qm one &&
    git clone -q --bare . ${www}/repo.git && cd ${www}/repo.git && git update-server-info`)
  writeFileSync(join(work, 'package/package.json'), '{"name":"tiny","version":"1.0.0"}')
  writeFileSync(join(work, 'package/index.js'), "module.exports = 'tiny'\n")
  sh(`tar -czf ${www}/tiny-1.0.0.tgz package`)
  const tarball = `http://${PLACES.internet.v4}:8000/tiny-1.0.0.tgz`
  const version = { name: 'tiny', version: '1.0.0', dist: { tarball } }
  const entry = { name: 'tiny', 'dist-tags': { latest: '1.0.0' }, versions: { '1.0.0': version } }
  rmSync(join(www, 'tiny'), { recursive: true })
  writeFileSync(join(www, 'tiny.json'), JSON.stringify(entry))
}

/** host.ts at a place: one request per line, one answer per line. */
class Asked {
  readonly child: ChildProcess
  readonly #answers: ((line: string) => void)[] = []

  constructor(place: string, config: object) {
    const script = join(import.meta.dirname, 'outbound/host.ts')
    const node = [process.execPath, '--disable-warning=ExperimentalWarning', script]
    const argv = at(place, [...node, JSON.stringify(config)])
    this.child = spawn(argv[0]!, argv.slice(1), {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, FAIRWAY_LOG_LEVEL: 'error' },
    })
    createInterface({ input: this.child.stdout! }).on('line', (line) =>
      this.#answers.shift()?.(line),
    )
  }

  async ask(op: string, argument?: unknown): Promise<void> {
    const line = await new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${op}: no answer`)), 90_000)
      this.#answers.push((answer) => {
        clearTimeout(timer)
        resolve(answer)
      })
      this.child.stdin!.write(`${JSON.stringify({ op, argument })}\n`)
    })
    const { error } = JSON.parse(line)
    if (error) throw new Error(error)
  }
}
