import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { paced } from './support/pace.ts'
import { eventually, ROOT, type RunOptions, type TestWorld, upWorld } from './support/world.ts'

const HOST = 'clients.fairway.test'
const URL = `http://${HOST}`
const PLACE = 'client-iad'
const FOLDER = join(import.meta.dirname, 'edge-clients')
const NODE = [process.execPath, '--disable-warning=ExperimentalWarning']
const BROWSERS = ['chromium-headless-shell', 'chromium']
const FILE_BYTES = 1 << 20
const UPLOAD = Buffer.alloc(2_000_000, 'upload ')
const LOAD_SECONDS = 2
const NGINX_PORT = 8088

/** Clients as people have them, each with the features that it is used for. */
describe('clients', () => {
  let world: TestWorld
  const scratch = mkdtempSync(join(tmpdir(), 'fairway-clients-'))

  before(async () => {
    const app = join(scratch, 'app')
    cpSync(join(FOLDER, 'app'), app, { recursive: true })
    cpSync(join(ROOT, 'node_modules/ws'), join(app, 'node_modules/ws'), { recursive: true })
    writeFileSync(join(scratch, 'upload'), UPLOAD)
    chmodSync(scratch, 0o755)
    world = await upWorld()
    await world.fairway(['deploy', '-c', app])
    await eventually('the app answers', 10_000, () => curl(`${URL}/json`))
  })
  after(async () => {
    await world?.close()
    rmSync(scratch, { recursive: true, force: true })
  })

  const at = async (command: readonly string[], options?: RunOptions) =>
    (await world.exec(PLACE, command, { timeoutMs: 30_000, ...options })).stdout
  const curl = (...args: string[]) => at(['curl', '-sSf', '-m', '10', ...args])

  describe('curl', () => {
    const DIGEST = {
      bytes: UPLOAD.length,
      sha256: createHash('sha256').update(UPLOAD).digest('hex'),
    }
    const upload = `@${join(scratch, 'upload')}`

    test('several requests, a HEAD among them, on one connection', async () => {
      const info = ['-w', '%{num_connects} %{http_code}\n', '-o', '/dev/null']
      const one = [...info, `${URL}/json`]
      const next = ['--next', '-sS', '-m', '10']
      const text = await curl(...one, ...next, '-I', ...info, `${URL}/file`, ...next, ...one)
      assert.deepEqual(text.trim().split('\n'), ['1 200', '0 200', '0 200'])
      const head = await curl('-I', `${URL}/file`)
      assert.match(head, new RegExp(`^content-length: ${FILE_BYTES}\r$`, 'mi'))
    })

    test('uploads: with a length, in chunks, and after 100 (Continue)', async () => {
      const ways = [
        ['Expect:'],
        ['Expect:', 'Transfer-Encoding: chunked'],
        ['Expect: 100-continue'],
        ['Expect: 100-continue', 'Transfer-Encoding: chunked'],
      ]
      const asked = ways.map((headers) => [
        ...['-sSf', '-m', '10', '--data-binary', upload, '-w', '%{time_total} %{num_connects}\n'],
        // So that a body that waits for a 100 which does not come is late.
        ...['--expect100-timeout', '8', ...headers.flatMap((header) => ['-H', header])],
        `${URL}/digest`,
      ])
      const text = await curl(...asked.flatMap((way, i) => (i ? ['--next', ...way] : way)))
      const seen = text.trim().split('\n')
      for (const [i, headers] of ways.entries()) {
        assert.deepEqual(JSON.parse(seen[2 * i]!), DIGEST, headers.join(', '))
        const [seconds, connects] = seen[2 * i + 1]!.split(' ').map(Number)
        assert.ok(seconds! < 7, `${headers}: no 100 came`)
        assert.equal(connects, i === 0 ? 1 : 0)
      }
    })

    test('an upload that the app refuses is never sent', async () => {
      const flags = ['-H', 'Expect: 100-continue', '--expect100-timeout', '8']
      const info = ['-o', '/dev/null', '-w', '%{http_code} %{size_upload}']
      const text = await at([
        ...['curl', '-sS', '-m', '10', ...flags, ...info],
        ...['--data-binary', upload, `${URL}/refuse`],
      ])
      assert.equal(text, '413 0')
    })

    test('a range, HTTP/1.0, trailers', async () => {
      assert.equal(await curl('-r', '8-17', `${URL}/file`), '0123456789')
      const old = await curl('--http1.0', '-i', `${URL}/echo`, '-d', 'old')
      assert.match(old, /^HTTP\/1\.[01] 200 /)
      assert.doesNotMatch(old, /^transfer-encoding:/im, 'RFC 9112 6.1: it would not understand')
      assert.match(old, /\r\n\r\nold$/)
      const raw = await curl('--raw', '-i', `${URL}/trailers`)
      assert.match(raw, /^trailer: x-digest\r$/im)
      assert.match(raw, /\r\n0\r\nx-digest: sum\r\n\r\n$/i)
    })

    test(
      'events come as they are sent',
      paced(async () => {
        const now = 'while read -r line; do echo "$line $(date +%s%3N)"; done'
        const text = await at(['sh', '-c', `curl -sN -m 10 ${URL}/events | ${now}`])
        const lates = [...text.matchAll(/^data: (\d+) (\d+)$/gm)].map(
          ([, sent, seen]) => Number(seen) - Number(sent),
        )
        assert.equal(lates.length, 3)
        // The last one is sent 600 ms after the first: buffering would show as that.
        assert.ok(lates[0]! < 500, `${lates} ms`)
      }),
    )
  })

  test('Chromium: fetch, upload, range, WebSocket and EventSource of a page', async () => {
    const browser = await at(['sh', '-c', `command -v ${BROWSERS.join(' || command -v ')}`])
    const page = await at([
      ...[browser.trim(), '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
      ...['--disable-features=HttpsUpgrades', `--user-data-dir=${join(scratch, 'profile')}`],
      ...['--timeout=20000', '--dump-dom', `${URL}/page`],
    ])
    const [, text = ''] = /<pre id="results">(.*?)<\/pre>/.exec(page) ?? []
    assert.deepEqual(JSON.parse(text || '"the page has no results"'), {
      fetch: { method: 'GET', url: '/json?a=1' },
      upload: 300_000,
      range: [206, '0123456789'],
      socket: ['hello', FILE_BYTES, 4001, true, 'permessage-deflate'],
      events: ['1', '2', '3'],
    })
  })

  const WS_SEEN = (extensions: string) => ({
    text: ['hello', false],
    big: [true, true],
    fragments: 'fragments',
    pong: 'middle',
    code: 4003,
    extensions,
  })
  const WS_ALL = {
    plain: WS_SEEN(''),
    deflate: WS_SEEN('permessage-deflate'),
    push: [FILE_BYTES, 'pong app'],
    closed: [4002, 'enough'],
  }
  const wsClient = async (url: string): Promise<unknown> =>
    JSON.parse(await at([...NODE, join(FOLDER, 'ws-client.ts'), url]))

  test('ws: both directions, fragments, pings, close codes, 1 MB, permessage-deflate', async () => {
    assert.deepEqual(await wsClient(`ws://${HOST}`), WS_ALL)
    const { stdout } = await world.fairway(['logs', '-a', 'clients', '--no-tail'])
    for (const code of [4003, 4002, 1006]) assert.match(stdout, new RegExp(`closed with ${code}`))
  })

  test('Python: http.client on one connection, urllib, websockets', async () => {
    const text = await at(['/usr/bin/python3', join(FOLDER, 'client.py'), HOST])
    assert.deepEqual(JSON.parse(text), {
      'http.client': {
        get: { method: 'GET', url: '/json?a=1' },
        head: [200, 0, String(FILE_BYTES)],
        chunked: [200, 300_000],
        range: [206, '0123456789'],
        missing: 404,
        'same connection': true,
      },
      urllib: 2_000_000,
      websockets: ['hello', FILE_BYTES, 4004, 4002, 'enough'],
    })
  })

  test(
    'wrk: no error at all',
    paced(async (t) => {
      const text = await at(['wrk', '-t2', '-c32', `-d${LOAD_SECONDS}s`, `${URL}/json`])
      const [, requests = '0'] = /(\d+) requests in/.exec(text) ?? []
      t.diagnostic(`${requests} requests`)
      assert.ok(Number(requests) > 100, text)
      assert.doesNotMatch(text, /Non-2xx|Socket errors/)
    }),
  )

  for (const pipelining of [1, 4])
    test(
      `autocannon: no error at all, ${pipelining} on a connection at once`,
      paced(async (t) => {
        const tool = join(ROOT, 'node_modules/autocannon/autocannon.js')
        const flags = ['-j', '-c', '16', '-d', String(LOAD_SECONDS), '-p', String(pipelining)]
        const text = await at([...NODE, tool, ...flags, `${URL}/json`])
        const result = JSON.parse(text) as Record<'errors' | 'timeouts' | 'non2xx' | '2xx', number>
        const { errors, timeouts, non2xx } = result
        assert.deepEqual({ errors, timeouts, non2xx }, { errors: 0, timeouts: 0, non2xx: 0 })
        assert.ok(result['2xx'] > 100, text)
        t.diagnostic(`${result['2xx']} requests`)
      }),
    )

  test('nginx before it: keep-alive upstream, uploads, and WebSocket', async () => {
    const nginx = startNginx()
    const front = `127.0.0.1:${NGINX_PORT}`
    try {
      await eventually('nginx answers', 5_000, () => curl(`http://${front}/json`))
      for (let i = 0; i < 3; i++) await curl(`http://${front}/json?i=[1-10]`)
      const upload = ['--data-binary', `@${join(scratch, 'upload')}`]
      const { bytes } = JSON.parse(await curl(...upload, `http://${front}/digest`))
      assert.equal(bytes, UPLOAD.length)
      assert.equal((await curl(`http://${front}/file`)).length, FILE_BYTES)
      const open = await at(['ss', '-Htn', 'state', 'established', 'dport', '=', ':80'])
      const peers = open
        .trim()
        .split('\n')
        .map((line) => line.trim().split(/\s+/).at(-1))
      // The name has an IPv4 and an IPv6, which nginx takes in turns.
      assert.equal(peers.length, new Set(peers).size, `one connection to each address: ${open}`)
      assert.deepEqual(await wsClient(`ws://${front}`), WS_ALL)
    } finally {
      await nginx.stop()
    }
  })

  /** In the foreground at the client's place, with everything that it writes in the scratch folder. */
  function startNginx() {
    const folder = join(scratch, 'nginx')
    mkdirSync(folder)
    writeFileSync(join(folder, 'nginx.conf'), nginxConfig(folder))
    const argv = ['nginx', '-e', join(folder, 'error.log'), '-c', join(folder, 'nginx.conf')]
    const child = spawn(join(ROOT, 'bin', 'fairway'), ['world', 'exec', PLACE, '--', ...argv], {
      env: { ...process.env, FAIRWAY_STATE: world.stateDir },
      stdio: ['ignore', 'inherit', 'inherit'],
    })
    const ended = new Promise((resolve) => child.on('close', resolve))
    return {
      stop: async () => {
        await at(['sh', '-c', `kill -QUIT $(cat ${join(folder, 'pid')})`], { check: false })
        await ended
      },
    }
  }
})

const nginxConfig = (folder: string): string => `
daemon off;
worker_processes 1;
user root;
pid ${join(folder, 'pid')};
error_log ${join(folder, 'error.log')};
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path ${join(folder, 'body')};
  proxy_temp_path ${join(folder, 'proxy')};
  fastcgi_temp_path ${join(folder, 'fastcgi')};
  uwsgi_temp_path ${join(folder, 'uwsgi')};
  scgi_temp_path ${join(folder, 'scgi')};
  client_max_body_size 8m;
  map $http_upgrade $upgrade { default upgrade; '' ''; }
  upstream fairway { server ${HOST}:80; keepalive 4; }
  server {
    listen 127.0.0.1:${NGINX_PORT};
    location / {
      proxy_pass http://fairway;
      proxy_http_version 1.1;
      proxy_set_header Host ${HOST};
      proxy_set_header Connection $upgrade;
      proxy_set_header Upgrade $http_upgrade;
    }
  }
}
`
