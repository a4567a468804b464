/**
 * `fairway tunnel` as the one file that it ships as, run by the machine's own Node where that is old
 * enough, through Fairway's outbound proxy to a PostgreSQL that admits the proxy's address alone.
 */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { tunnelFile } from '../src/cli/tunnel-file.ts'
import { BASIC, type Rig, SECRET, startRig } from '../src/outbound/testing.ts'
import { type Postgres, startPostgres } from './support/postgres.ts'
import { eventually, type Ran, run } from './support/world.ts'

/** Where the proxy sends from, the only address that the far side admits. */
const SOURCE = '127.0.0.9'
const NODE = existsSync('/usr/bin/node') ? '/usr/bin/node' : process.execPath
const isRoot = process.getuid?.() === 0
const PATH = '/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin'
const COPY_BYTES = 50_000_000
const LONG_MS = 480_000

const folder = mkdtempSync(join(tmpdir(), 'fairway-tunnel-test-'))
const file = join(folder, 'fairway-tunnel.mjs')
let rig: Rig
let postgres: Postgres
let web: Server
let webPort: number
let pgPort: number

before(async () => {
  chmodSync(folder, 0o755)
  writeFileSync(file, tunnelFile('test'), { mode: 0o755 })
  rig = await startRig({
    names: {
      'db.far.test': ['127.0.0.1'],
      'web.far.test': ['127.0.0.1'],
      'dead.far.test': ['127.0.0.1'],
    },
    // What the other tests of the proxy leave to the host: here each connection has the far side's address.
    connect: ({ address, port, onread }) =>
      connect({ host: address, port, onread, localAddress: SOURCE, allowHalfOpen: true }),
    change: {
      allow: ['web.far.test', 'db.far.test', 'dead.far.test', '127.0.0.0/8'],
    },
  })
  web = createServer((request, response) => {
    response.end(`${request.socket.remoteAddress} ${request.headers.host}`)
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => web.once('listening', resolve))
  webPort = (web.address() as AddressInfo).port
  pgPort = await freePort()
  postgres = await startPostgres({
    ...{ at: (argv) => argv, listen: ['127.0.0.1'], port: pgPort, tls: 'db.far.test' },
    hba: [`host postgres app ${SOURCE}/32 trust`],
  })
  await postgres.sql('create role app login')
})
after(async () => {
  await postgres?.close()
  web?.close()
  await rig?.[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

interface Options {
  readonly env?: Readonly<Record<string, string>>
  readonly asUser?: boolean
  readonly input?: string
}

const environment = (more: Readonly<Record<string, string>> = {}) => ({
  ...{ PATH, HOME: folder, LANG: 'C', PGCONNECT_TIMEOUT: '60' },
  FAIRWAY_OUTBOUND_URL: `http://u1:${SECRET}@127.0.0.1:${rig.http}`,
  ...more,
})

const as = (asUser: boolean | undefined): string[] =>
  asUser && isRoot ? ['runuser', '-u', 'nobody', '--'] : []

function tunnel(args: readonly string[], options: Options = {}): Promise<Ran> {
  return run([...as(options.asUser), NODE, file, ...args], {
    ...{ env: environment(options.env), cwd: folder, check: false, timeoutMs: LONG_MS },
    input: options.input ?? '',
  })
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0)
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

const psql = (host: string, port: number, sql: string, more = '') => [
  ...['psql', `host=${host} port=${port} user=app dbname=postgres ${more}`, '-XAtc', sql],
]

test('the far side admits the proxy alone', async () => {
  const ran = await run(psql('127.0.0.1', pgPort, 'select 1'), { check: false })
  assert.notEqual(ran.status, 0)
  assert.match(ran.stderr, /no pg_hba\.conf entry|rejects connection/)
})

describe('mapped ports', () => {
  test('psql over IPv4 and IPv6, with TLS, under the far name', async () => {
    const port = await freePort()
    const map = ['--map', `${port}:db.far.test:${pgPort}`, '--']
    const sql =
      'select inet_client_addr(), (select ssl from pg_stat_ssl where pid = pg_backend_pid())'
    const plain = await tunnel([...map, ...psql('127.0.0.1', port, sql, 'sslmode=disable')])
    assert.equal(plain.stdout, `${SOURCE}|f\n`, plain.stderr)
    assert.equal(plain.stderr, '')
    const v6 = await tunnel([...map, ...psql('::1', port, sql, 'sslmode=require')])
    assert.equal(v6.stdout, `${SOURCE}|t\n`, v6.stderr)
  })

  test('SOCKS5, and everything from a settings file', async () => {
    const port = await freePort()
    const url = `socks5://u1:${SECRET}@127.0.0.1:${rig.socks}`
    const settings = join(folder, 'other.json')
    writeFileSync(settings, JSON.stringify({ map: [`${port}:web.far.test:${webPort}`] }))
    const args = ['--config', settings, 'curl', '-sS', `http://127.0.0.1:${port}/`]
    const ran = await tunnel(args, { env: { FAIRWAY_OUTBOUND_URL: url } })
    assert.equal(ran.stdout, `${SOURCE} 127.0.0.1:${port}`, ran.stderr)
  })
})

for (const [who, asUser, way] of [
  ['root', false, 'a mount namespace'],
  ['an ordinary user', true, 'a user and mount namespace'],
] as const)
  describe(`by name, as ${who}`, { skip: who === 'root' && !isRoot && 'needs root' }, () => {
    const to = () => [
      '--to',
      `db.far.test:${pgPort}`,
      '--to',
      `web.far.test:${webPort}`,
      '--verbose',
      '--',
    ]

    test('psql verifies the certificate under the name', async () => {
      const pem = join(folder, 'server.crt')
      writeFileSync(pem, await run(['cat', postgres.certificate]).then(({ stdout }) => stdout))
      const strict = `sslmode=verify-full sslrootcert=${pem}`
      const ran = await tunnel(
        [...to(), ...psql('db.far.test', pgPort, 'select inet_client_addr()', strict)],
        { asUser },
      )
      assert.equal(ran.stdout, `${SOURCE}\n`, ran.stderr)
      assert.ok(ran.stderr.includes(`with a hosts file in ${way}`), ran.stderr)
      assert.doesNotMatch(ran.stderr, new RegExp(SECRET))
    })

    test('curl, and nothing of it is seen elsewhere; the command stays who it was', async () => {
      const curl = `curl -sS http://web.far.test:${webPort}/; echo; id -u; id -g; getent ahostsv6 web.far.test | head -1`
      const ran = await tunnel([...to(), 'sh', '-c', curl], { asUser })
      const [answer, uid, gid, v6] = ran.stdout.split('\n')
      assert.equal(answer, `${SOURCE} web.far.test:${webPort}`, ran.stderr)
      assert.match(v6!, /^(::ffff:127\.|$)/, 'no look-up goes round it')
      const self = await run([...as(asUser), 'sh', '-c', 'id -u; id -g'])
      assert.equal(`${uid}\n${gid}\n`, self.stdout)
      assert.notEqual(spawnSync('getent', ['hosts', 'web.far.test']).status, 0)
    })
  })

test('COPY of 50 MB each way arrives as it left', { timeout: LONG_MS }, async () => {
  const line = `${createHash('sha256').update('fairway').digest('hex')}${'x'.repeat(435)}\n`
  const input = line.repeat(COPY_BYTES / line.length)
  const sql = ['create temp table t (line text)', 'copy t from stdin', 'copy t to stdout'].flatMap(
    (one) => ['-c', one],
  )
  const ran = await tunnel(
    [
      '--to',
      `db.far.test:${pgPort}`,
      '--',
      'psql',
      '-XAtq',
      `host=db.far.test port=${pgPort} user=app dbname=postgres`,
      ...sql,
    ],
    { input },
  )
  assert.equal(ran.stderr, '')
  assert.equal(ran.stdout.length, input.length)
  assert.ok(ran.stdout === input)
})

describe('refusals, in plain words and at once', () => {
  const curl = (
    args: readonly string[],
    env: Record<string, string> = {},
    to = `web.far.test:${webPort}`,
  ) => tunnel([...args, '--to', to, '--', 'curl', '-sS', `http://${to}/`], { env })

  test('credentials, destination, dead destination, dead proxy', async () => {
    const wrong = await curl([], { FAIRWAY_OUTBOUND_URL: `http://u1:wrong@127.0.0.1:${rig.http}` })
    assert.match(wrong.stderr, /does not accept the credentials \(407\)/)
    assert.equal(wrong.status, 56, 'curl saw a reset')
    rig.put({ allow: ['db.far.test'] })
    const refused = await curl([])
    rig.put({ allow: ['*', '127.0.0.0/8'] })
    assert.match(refused.stderr, /does not allow this destination \(403\)/)
    const dead = await curl([], {}, `dead.far.test:${await freePort()}`)
    assert.match(dead.stderr, /cannot reach the destination \(502\)/)
    const gone = await curl([], { FAIRWAY_OUTBOUND_URL: `http://127.0.0.1:${await freePort()}` })
    assert.match(gone.stderr, /the proxy 127\.0\.0\.1:\d+ cannot be reached/)
  })

  test('settings that cannot be', async () => {
    const cases: readonly [args: string[], error: RegExp, env?: Record<string, string>][] = [
      [['true'], /set FAIRWAY_OUTBOUND_URL/, { FAIRWAY_OUTBOUND_URL: '' }],
      [['--map', '5432:db', 'true'], /give \[listen:\]port:host:port/],
      [['--proxy', 'http://u:hunter2@h:0', 'true'], /--proxy: /],
      [[], /no command/],
    ]
    for (const [args, error, env] of cases) {
      const ran = await tunnel(args, env ? { env } : {})
      assert.equal(ran.status, 125)
      assert.match(ran.stderr, error)
      assert.doesNotMatch(ran.stderr, /hunter2/)
    }
  })
})

describe('the command', () => {
  test('gets input, gives its exit code; 128 and more for a signal, 126 and 127', async () => {
    const port = await freePort()
    const map = ['--map', `${port}:web.far.test:1`, '--']
    const ran = await tunnel([...map, 'sh', '-c', 'cat; exit 7'], { input: 'hello' })
    assert.deepEqual([ran.stdout, ran.status, ran.stderr], ['hello', 7, ''])
    assert.equal((await tunnel([...map, 'sh', '-c', 'kill -9 $$'])).status, 137)
    assert.equal((await tunnel([...map, 'no-such-command'])).status, 127)
    assert.equal((await tunnel([...map, '/etc/passwd'])).status, 126)
  })

  test('gets signals, in a namespace too', async () => {
    // The second TERM is that of the tunnel's end, and its own.
    const script = `
      n=0
      for s in INT HUP USR1 USR2 WINCH; do trap "echo $s" $s; done
      trap 'echo TERM; n=$((n + 1)); [ $n -lt 2 ] || exit' TERM
      echo up
      for i in $(seq 600); do sleep 0.1; done`
    for (const way of [
      ['--map', `${await freePort()}:a.test:1`],
      ['--to', 'a.far.test:5432'],
    ]) {
      const child = spawn(NODE, [file, ...way, '--', 'sh', '-c', script], {
        env: environment(),
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      let said = ''
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        said += text
      })
      const says = (word: string) =>
        eventually(`it says ${word}`, 60_000, async () => said.includes(`${word}\n`))
      await says('up')
      for (const signal of ['TERM', 'INT', 'HUP', 'USR1', 'USR2', 'WINCH']) {
        child.kill(`SIG${signal}` as NodeJS.Signals)
        await says(signal)
      }
      // And when the tunnel is gone, it is told.
      said = ''
      child.kill('SIGKILL')
      await says('TERM')
      child.stdout.destroy()
    }
  })

  test('as process 1 it leaves no zombie', { skip: !isRoot && 'needs root' }, async () => {
    const map = ['--map', `${await freePort()}:a.test:1`]
    const script = '(sleep 0.3 &) ; sleep 2; cat /proc/[0-9]*/stat | grep -c " Z "; exit 3'
    const pid1 = ['unshare', '--pid', '--fork', '--mount-proc', '--', NODE, file, ...map]
    const ran = await run([...pid1, '--', 'sh', '-c', script], {
      env: environment(),
      check: false,
      timeoutMs: LONG_MS,
    })
    assert.deepEqual([ran.stdout, ran.status], ['0\n', 3], ran.stderr)
  })

  test('arguments and environment of what runs beside it hold no password that it was not given', async () => {
    const args = [
      '--proxy',
      `http://u1:${SECRET}@127.0.0.1:${rig.http}`,
      '--map',
      `${await freePort()}:a.test:1`,
      '--',
    ]
    const script = 'cat /proc/$PPID/cmdline | tr "\\0" " "; env'
    const ran = await tunnel([...args, 'sh', '-c', script], { env: { FAIRWAY_OUTBOUND_URL: '' } })
    assert.equal(ran.status, 0)
    assert.doesNotMatch(ran.stdout, new RegExp(`${SECRET}|${BASIC.slice(6)}`))
  })
})

const SERVER = `
const http = require('node:http')
http.createServer((q, s) => {
  http.get(process.argv[1], (far) => far.pipe(s)).on('error', (e) => s.end(String(e)))
}).listen(Number(process.argv[2]), () => console.log('up'))`

for (const [mode, asUser] of [
  ['names', false],
  ['names', true],
  ['group', false],
  ['network', false],
  ['network', true],
] as const)
  test(`--mode ${mode} as ${asUser ? 'an ordinary user' : 'root'}: a server under it stays reachable and reaches the far side`, {
    skip: !asUser && !isRoot && 'needs root',
  }, async () => {
    const port = await freePort()
    const far = `http://web.far.test:${webPort}/`
    const what = mode === 'names' ? ['--to', `web.far.test:${webPort}`] : ['--all']
    const server = [process.execPath, '-e', SERVER, '--', far, String(port)]
    const [command, ...args] = [
      ...as(asUser),
      NODE,
      file,
      '--mode',
      mode,
      ...what,
      '--verbose',
      '--',
      ...server,
    ]
    const child = spawn(command!, args, { env: environment(), stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text
      })
    const ended = new Promise((resolve) => child.on('exit', resolve))
    try {
      const answer = await eventually('the server answers', 60_000, async () => {
        if (child.exitCode !== null) throw new Error(said)
        return await (await fetch(`http://127.0.0.1:${port}/`)).text()
      })
      assert.equal(answer, `${SOURCE} web.far.test:${webPort}`, said)
      const many = await Promise.all(
        Array.from(
          { length: 50 },
          async () => await (await fetch(`http://127.0.0.1:${port}/`)).text(),
        ),
      )
      assert.deepEqual([...new Set(many)], [answer], said)
    } finally {
      child.kill('SIGTERM')
      await ended
    }
    if (mode === 'group') assertRemoved(said)
  })

function assertRemoved(said: string): void {
  const [, table] = /\(table (fairway_tunnel_\d+)\)/.exec(said)!
  assert.ok(!spawnSync('nft', ['list', 'tables']).stdout.toString().split(/\s/).includes(table!))
}

/** A network without ::1, in which 2001:db8::2 would be asked for on a wire where nobody is. */
const WITHOUT_LOOPBACK_V6 = `
ip link set lo up && ip addr del ::1/128 dev lo
ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up
ip addr add 2001:db8::1/64 dev v0 nodad
exec "$@"`
const CONNECT = (host: string) =>
  `require('node:net').connect(443, '${host}').on('error', ({ code }) => console.log(code))`

test('--mode group where ::1 cannot be listened at: IPv6 is refused, not let out', {
  skip: !isRoot && 'needs root',
}, async () => {
  const network = ['unshare', '--net', 'sh', '-c', WITHOUT_LOOPBACK_V6, 'sh']
  const args = ['--mode', 'group', '--to', '[2001:db8::2]:443', '--']
  const command = [NODE, '-e', CONNECT('2001:db8::2')]
  const ran = await run([...network, NODE, file, ...args, ...command], { env: environment() })
  assert.equal(ran.stdout, 'ECONNREFUSED\n', ran.stderr)
})

test('--mode group twice in one network, each with process ids of its own', {
  skip: !isRoot && 'needs root',
}, async () => {
  const url = `http://web.far.test:${webPort}/`
  const own = ['--pid', '--fork', '--kill-child', '--mount-proc', '--', NODE, file, '--verbose']
  const args = [...own, '--mode', 'group', '--to', `web.far.test:${webPort}`, '--']
  const script = `echo up; read go; exec curl -sS ${url}`
  const first = spawn('unshare', [...args, 'sh', '-c', script], {
    env: environment(),
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  let said = ''
  first.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const ended = new Promise((resolve) => first.on('close', resolve))
  try {
    await eventually('the first is up', 60_000, async () => said === 'up\n')
    const second = await run(['unshare', ...args, 'curl', '-sS', url], { env: environment() })
    assert.equal(second.stdout, `${SOURCE} web.far.test:${webPort}`, second.stderr)
    assertRemoved(second.stderr)
    first.stdin.end('go\n')
    await ended
    assert.equal(said, `up\n${SOURCE} web.far.test:${webPort}`)
  } finally {
    first.kill('SIGKILL')
  }
})

test('everything: address literals go through the proxy, unlisted ones of a list do not', async () => {
  const direct = await run(['curl', '-sS', `http://127.0.0.1:${webPort}/`])
  assert.equal(direct.stdout, `127.0.0.1 127.0.0.1:${webPort}`)
  const url = `http://192.0.2.1:${webPort}/`
  const ran = await tunnel(
    ['--mode', 'network', '--verbose', '--', 'curl', '-sS', '-m', '60', url],
    { asUser: true },
  )
  // Documentation addresses lead nowhere: what matters is who was asked.
  assert.ok(
    rig.lines.some(({ destination }) => destination.startsWith('192.0.2.1:')),
    ran.stderr,
  )
})
