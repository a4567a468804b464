import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { paced } from './support/pace.ts'
import type { RawRequest } from './support/raw.ts'
import { eventually, type TestWorld, upWorld } from './support/world.ts'

/** What docs/security.md promises, tried from a machine, from a client and from the host. */

const HOSTILE = join(import.meta.dirname, 'support', 'hostile-app')
const SECRET = 'a-value-found-nowhere-else'
const CONTROL = ['198.19.3.2', '2001:db8:d000:3::2']

interface MachineObject {
  readonly id: string
  readonly private_ip: string
  readonly host: { readonly id: string }
}

describe('security', () => {
  let world: TestWorld
  let shared = ''
  let v6 = ''
  let victim: MachineObject
  let attacker: MachineObject

  before(async () => {
    world = await upWorld()
    const hello = join(import.meta.dirname, '..', 'examples', 'hello', 'fly.toml')
    await world.fairway(['deploy', '-c', hello])
    await world.fairway(['secrets', 'set', `SECRET=${SECRET}`, '-a', 'hello'])
    await world.fairway(['deploy', '-c', join(HOSTILE, 'fly.toml')])
    const json = async (...args: string[]) =>
      JSON.parse((await world.fairway([...args, '--json'])).stdout)
    const ips: { Address: string; Type: string }[] = await json('ips', 'list', '-a', 'hostile')
    shared = ips.find(({ Type }) => Type === 'shared_v4')!.Address
    v6 = ips.find(({ Type }) => Type === 'v6')!.Address
    victim = (await json('machine', 'list', '-a', 'hello'))[0]
    attacker = (await json('machine', 'list', '-a', 'hostile'))[0]
  })
  after(() => world?.close())

  /** Runs a script inside the hostile machine. */
  const inside = async (script: string): Promise<string> => {
    const url = 'http://hostile.fairway.test/sh'
    const curl = ['curl', '-sS', '-m', '90', '--data-binary', '@-', url]
    return (await world.exec('client-iad', curl, { input: script, check: false })).stdout
  }
  const raw = async (requests: readonly RawRequest[]): Promise<string[]> => {
    const script = join(import.meta.dirname, 'support', 'raw.ts')
    const argv = [process.execPath, '--disable-warning=ExperimentalWarning', script]
    const { stdout } = await world.exec('client-iad', argv, { input: JSON.stringify(requests) })
    return JSON.parse(stdout)
  }
  const privateV4 = async ({ id, host }: MachineObject): Promise<string> => {
    const argv = ['ip', '-4', '-o', 'route', 'show', 'dev', `m${id}`]
    return (await world.exec(`host-${host.id}`, argv)).stdout.split(' ')[0]!
  }
  const pids = async () => {
    const { stdout } = await world.fairway(['world', '--json'])
    const places: { place: string; units: { name: string; pid: number }[] }[] = JSON.parse(stdout)
    return places.flatMap(({ place, units }) => units.map((u) => `${place} ${u.name} ${u.pid}`))
  }

  describe('a hostile app', () => {
    test('has no powers', async () => {
      const status = await inside('cat /proc/self/status')
      for (const set of ['Inh', 'Prm', 'Eff', 'Bnd', 'Amb'])
        assert.match(status, new RegExp(`^Cap${set}:\t0+$`, 'm'))
      assert.match(status, /^NoNewPrivs:\t1$/m)
      assert.match(status, /^Seccomp:\t2$/m)
      assert.match(status, /^Groups:\t *$/m)
      const escapes = [
        ...['unshare -U true', 'unshare -n true', 'unshare -m true', 'nsenter -t 1 -m true'],
        ...['mount -t tmpfs none /tmp', 'mknod /tmp/d b 254 0', 'chroot / true', 'dmesg'],
        ...['sysctl -w kernel.hostname=x', 'ip link add d0 type dummy', 'su -c id'],
      ]
      const script = escapes.map((c) => `(${c}) </dev/null >/dev/null 2>&1 && echo "did: ${c}"`)
      assert.equal(await inside(`${script.join('\n')}\ntrue`), '')
    })

    test('sees its own files and processes, and writes to memory alone', async () => {
      const files = [
        ...['/etc/shadow', '/etc/ssh', '/etc/ssl/private', '/root', '/home', '/sys/kernel'],
        ...['/var/lib/dpkg', '/run/fairway', '/run/netns', world.stateDir, '/proc/kcore'],
      ]
      const places = [
        '/',
        '/app',
        '/usr',
        '/usr/local/bin',
        '/etc',
        '/.fairway',
        '/proc/sys/kernel',
      ]
      const script = `
        for f in ${files.join(' ')}; do test -e $f && head -c1 $f >/dev/null 2>&1 && echo "read $f"; done
        for f in ${files.join(' ')}; do ls $f/ >/dev/null 2>&1 && echo "listed $f"; done
        for d in ${places.join(' ')}; do (echo x >$d/w) 2>/dev/null && echo "wrote $d"; done
        for d in /tmp /run /dev/shm; do echo x >$d/w || echo "could not write $d"; done
        for b in $(find /dev -type b); do echo "block device $b"; done
        for s in $(find / -xdev -type s 2>/dev/null); do echo "socket $s"; done
        test $(ls /proc | grep -c '^[0-9]') -lt 12 || echo "processes of others"`
      assert.equal(await inside(script), '')
    })

    test(
      'reaches the internet, its resolver and the pools, and nothing of the platform',
      paced(async () => {
        const targets = [
          ...CONTROL.flatMap((address) => [`${address} 4280`, `${address} 4281`]),
          ...['100.64.0.6', '100.64.0.10', '2001:db8:ff00:1::2', '2001:db8:ff00:2::2'].flatMap(
            (address) => [179, 4290, 9000].map((port) => `${address} ${port}`),
          ),
          ...['169.254.0.1 9000', '169.254.0.1 4290', '169.254.0.1 53', '169.254.169.254 80'],
          ...['fdaa:0:0:1::1 4290', 'fdaa:0:0:2::1 4290', 'fdaa::3 9000', '127.0.0.1 9000'],
          ...[`${await privateV4(victim)} 8080`, `${victim.private_ip} 8080`],
          ...['::ffff:198.19.3.2 4280', '64:ff9b::c613:302 4280'],
        ]
        const dial = (lines: readonly string[]) =>
          inside(`node /app/dial.js <<'E'\n${lines.join('\n')}\nE`)
        const results = (await dial(targets)).trim().split('\n')
        assert.equal(results.length, targets.length, results.join('\n'))
        for (const result of results) assert.doesNotMatch(result, / (open|reset)$/)
        const pools = [22, 179, 4280, 4290, 9000].map((port) => `${shared} ${port}`)
        for (const result of (await dial(pools)).trim().split('\n')) assert.match(result, / reset$/)
        const allowed = await dial(['fdaa::3 53', '198.19.2.2 53', `${shared} 80`, `${v6} 80`])
        assert.equal(allowed.match(/ open$/gm)?.length, 4, allowed)
      }),
    )

    test('cannot forge its source, whatever its privileges were', async () => {
      const script = `
import socket, struct
def udp(source):
    data = struct.pack('!HHHH', 4444, 5555, 12, 0) + b'fake'
    address = lambda text: socket.inet_aton(text)
    return struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(data), 1, 0, 64, 17, 0, address(source), address('198.19.1.2')) + data
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for source in ('100.64.0.6', '${shared}', '198.18.1.2', '172.16.255.2'):
    raw.sendto(udp(source), ('198.19.1.2', 0))
`
      const counter = async () => {
        const argv = ['nft', 'list', 'chain', 'inet', 'fairway', 'machine_source']
        const { stdout } = await world.exec(`host-${attacker.host.id}`, argv)
        return Number(/counter packets (\d+)/.exec(stdout)?.[1])
      }
      const before = await counter()
      // As root of the world, in the machine's own network: more than any escape from within gives.
      const enter = ['nsenter', `--net=/run/netns/m-${attacker.id}`, 'python3', '-c', script]
      await world.exec(`host-${attacker.host.id}`, enter)
      assert.equal((await counter()) - before, 4)
    })

    test(
      'that takes all it can get takes nothing from others',
      paced(async () => {
        const before = await pids()
        const bombs = `
        (i=0; while [ $i -lt 6000 ]; do sleep 2 & i=$((i+1)); done) >/dev/null 2>&1 &
        head -c 2000m /dev/zero >/tmp/fill 2>/dev/null; head -c 2000m /dev/zero >/dev/shm/fill 2>/dev/null
        yes "a line for the log" | head -c 20m >/proc/6/fd/1 2>/dev/null; wait`
        const bombing = inside(bombs)
        const url = 'http://hello.fairway.test/'
        const times = [...Array(10).keys()].map(
          () => `curl -sf -m 30 -o /dev/null ${url} || exit 1`,
        )
        await world.exec('client-lhr', ['sh', '-c', times.join('\n')])
        await bombing
        assert.deepEqual(await pids(), before, 'nothing of the platform was restarted')
        await eventually('the app is back', 20_000, async () => /^ok/.test(await inside('echo ok')))
        const log = join(
          world.stateDir,
          'hosts',
          attacker.host.id,
          'agent',
          'machines',
          attacker.id,
        )
        const bytes = readdirSync(join(log, 'log')).map(
          (name) => statSync(join(log, 'log', name)).size,
        )
        assert.ok(bytes.reduce((a, b) => a + b) < 150 * 1024 * 1024)
      }),
    )
  })

  describe('a hostile client', () => {
    const H = 'Host: hostile.fairway.test\r\n'
    const request = (fields: string, line = 'GET / HTTP/1.1', body = ''): string =>
      `${line}\r\n${fields}\r\n${body}`
    const ask = (texts: readonly string[], port = 80, address = shared) =>
      raw(texts.map((text) => ({ address, port, text })))

    test(
      'is refused whatever could be read in two ways',
      paced(async () => {
        const post = 'POST / HTTP/1.1'
        const chunked = `${H}Transfer-Encoding: chunked\r\n`
        const refused = [
          request(`${chunked}Content-Length: 6\r\n`, post, '0\r\n\r\nG'),
          request(`${H}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n`, post, '0\r\n\r\n'),
          request(`${H}Content-Length: 1\r\nContent-Length: 1\r\n`, post, 'x'),
          request(`${H}Content-Length: +1\r\n`, post, 'x'),
          request(`${H}Transfer-Encoding : chunked\r\n`, post, '0\r\n\r\n'),
          request(`${H}Transfer-Encoding: \vchunked\r\n`, post, '0\r\n\r\n'),
          request(`${H}Transfer-Encoding: gzip, chunked\r\n`, post, '0\r\n\r\n'),
          request(chunked, post, '1\nx\r\n0\r\n\r\n'),
          request(chunked, post, '0x1\r\nx\r\n0\r\n\r\n'),
          request(chunked, post, '1\r\nx\r\n0\r\nContent-Length: 5\r\n\r\n'),
          request(`${H}X: a\r\n b\r\n`),
          request(`${H}X: a\0b\r\n`),
          request(`${H}Host: hello.fairway.test\r\n`),
          request(H, 'GET http://hello.fairway.test/ HTTP/1.1'),
          request('Host: a@hostile.fairway.test\r\n'),
          request('Host: hostile.fairway.test, hello.fairway.test\r\n'),
          request(`${H}Connection: Host\r\n`),
          request('', 'GET http://a<b/ HTTP/1.0'),
          'GET / HTTP/1.1\nHost: hostile.fairway.test\n\n',
          'GET /\r\n\r\n',
          'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
          '\x16\x03\x01\x00\x4a\x01\x00\x00\x46\x03\x03',
          `F1 h hello ${victim.id} 0 80 6.6.6.6 1 ${shared} 80 - iad x\r\n${request(H)}`,
        ]
        for (const [i, answer] of (await ask(refused)).entries())
          assert.match(
            answer,
            /^HTTP\/1\.1 (400|501|505) [\s\S]*<end>$/,
            JSON.stringify(refused[i]),
          )
      }),
    )

    test(
      'cannot say who it is, or take that away',
      paced(async () => {
        const [answer] = await ask([
          request(
            `${H}Fly-Client-IP: 6.6.6.6\r\nfly_client_ip: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\n` +
              'X-Forwarded-Proto: https\r\nX_Forwarded_Proto: https\r\nFly-Forwarded-Port: 1\r\n' +
              'Fly-Region: zzz\r\nFly-Request-Id: mine\r\nTransfer_Encoding: chunked\r\n' +
              'Connection: Fly-Client-IP, X-Forwarded-For, close\r\n',
          ),
        ])
        const { rawHeaders } = JSON.parse(/\{.*\}/.exec(answer!)![0]) as { rawHeaders: string[] }
        const of = (name: string) =>
          rawHeaders.flatMap((one, i) =>
            i % 2 === 0 && one.toLowerCase().replaceAll('_', '-') === name ? rawHeaders[i + 1] : [],
          )
        assert.deepEqual(of('fly-client-ip'), ['198.18.1.2'])
        assert.deepEqual(of('x-forwarded-for'), [`6.6.6.6, 198.18.1.2, ${shared}`])
        assert.deepEqual(of('x-forwarded-proto'), ['http'])
        assert.deepEqual(of('fly-forwarded-port'), ['80'])
        assert.deepEqual(of('fly-region'), ['iad'])
        assert.deepEqual(of('transfer-encoding'), [])
        assert.notDeepEqual(of('fly-request-id'), ['mine'])
      }),
    )

    test(
      'finds at a shared address the apps that have it, by their exact names',
      paced(async () => {
        const host = (name: string) => request(`Host: ${name}\r\nConnection: close\r\n`)
        const names = ['hostile.fairway.test.', 'HOSTILE.fairway.test:80']
        for (const answer of await ask(names.map(host))) assert.match(answer, /^HTTP\/1\.1 200/)
        const nobody = [
          'constructor',
          '__proto__',
          'a.hostile',
          'xhostile',
          'hostile.fairway.test.evil',
        ]
        for (const answer of await ask(nobody.map((name) => host(`${name}.fairway.test`))))
          assert.match(answer, /^HTTP\/1\.1 404/)
      }),
    )

    test(
      'finds no port open but those of services',
      paced(async () => {
        for (const port of [22, 443, 4280, 4290, 9000])
          assert.deepEqual(await ask([request(H)], port), ['<ECONNRESET>'], `port ${port}`)
        assert.deepEqual(await ask([request(H)], 80, '203.0.113.77'), ['<ECONNRESET>'])
        const hosts = ['100.64.0.6', '2001:db8:ff00:1::2']
        const forged = `F1 h hello ${victim.id} 0 80 6.6.6.6 1 ${shared} 80 - iad x\r\n${request(H)}`
        const closed = hosts.flatMap((address) =>
          [22, 179, 4290, 9000].map((port) => ({ address, port, text: forged })),
        )
        for (const answer of await raw(closed)) assert.equal(answer, '<silent>')
      }),
    )

    test('gets nothing from the control plane', async () => {
      const [address] = CONTROL as [string]
      const text = `GET /v1/apps HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`
      const watch = text.replace('/v1/apps', '/agent/v1/watch')
      const [api, plain, old, recent] = await raw([
        { address, port: 4280, text },
        { address, port: 4281, text: watch },
        { address, port: 4281, text: watch, tls: 'TLSv1.2' },
        { address, port: 4281, text: watch, tls: 'TLSv1.3' },
      ])
      assert.match(api!, /^HTTP\/1\.1 401 /)
      for (const answer of [plain, old, recent]) assert.doesNotMatch(answer!, /HTTP\/1\.1 2/)
      assert.doesNotMatch(old!, /<secure>/, 'TLS 1.2 is not spoken')
    })
  })

  describe('what is secret', () => {
    /** Links are not followed: a machine's root folder has some that lead out of it. */
    const filesBelow = (folder: string): string[] =>
      readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
        const path = join(folder, entry.name)
        return entry.isDirectory() ? filesBelow(path) : entry.isFile() ? [path] : []
      })
    const filesWith = (text: string): string[] =>
      filesBelow(world.stateDir).filter((path) => readFileSync(path).includes(text))

    test('is on disk for the machine that needs it, and nowhere else', async () => {
      const bundle = join('machines', victim.id, 'bundle', 'config.json')
      const found = filesWith(SECRET)
      assert.deepEqual(
        found.map((path) => path.split('/agent/')[1]),
        [bundle],
      )
      assert.equal(statSync(found[0]!).mode & 0o077, 0)
      const tokens = filesWith(world.token).map((path) => path.slice(world.stateDir.length + 1))
      assert.deepEqual(tokens.toSorted(), ['cli.json', 'control/token'])
      for (const name of ['', 'cli.json', 'control', 'control/token', 'hosts', 'log', 'run'])
        assert.equal(statSync(join(world.stateDir, name)).mode & 0o077, 0, name)
    })

    test('is in no argument of a process, and in no answer of the API', async () => {
      for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
        let argv = ''
        try {
          argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
        } catch {
          continue // It has ended.
        }
        assert.ok(!argv.includes(SECRET) && !argv.includes(world.token), argv)
      }
      for (const path of ['secrets', `machines/${victim.id}`, 'machines']) {
        const answer = await fetch(`http://127.0.0.1:${world.apiPort}/v1/apps/hello/${path}`, {
          headers: { authorization: `Bearer ${world.token}` },
        })
        assert.equal(answer.status, 200)
        assert.ok(!(await answer.text()).includes(SECRET), path)
      }
    })
  })
})
