import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { hostConfig, hostRoutes, routerConfig, servingText } from './bird.ts'

const peer = {
  name: 'host_iad1',
  device: 'host1',
  localV4: '100.64.0.5',
  localV6: '2001:db8:ff00:1::1',
  remoteV4: '100.64.0.6',
  remoteV6: '2001:db8:ff00:1::2',
  remoteAs: 65101,
  distanceMs: 0,
  own: [],
} as const
const router = {
  routerId: '10.254.0.1',
  as: 65001,
  accept: ['203.0.113.0/24', '2001:db8:1::/48'],
  peers: [
    { ...peer, kind: 'host', own: ['2001:db8:a000:1::/64'] },
    { ...peer, name: 'router_lhr', kind: 'router', distanceMs: 76 },
  ],
} as const
const host = {
  routerId: '100.64.0.6',
  as: 65101,
  device: 'wan',
  localV4: '100.64.0.6',
  localV6: '2001:db8:ff00:1::2',
  routerV4: '100.64.0.5',
  routerV6: '2001:db8:ff00:1::1',
  routerAs: 65001,
  announce: ['203.0.113.0/24', '2001:db8:1::/48'],
  egress: ['198.51.100.0/26', '2001:db8:e001::/48'],
  files: {
    ...{ serving: '/dev/null', v4: '/dev/null', v6: '/dev/null' },
    ...{ egress4: '/dev/null', egress6: '/dev/null' },
  },
}

test('distance becomes AS path length: one prepend for each 10 ms', () => {
  const text = routerConfig(router)
  const session = text.slice(text.indexOf('router_lhr_4'))
  assert.equal(
    session.slice(0, session.indexOf('accept')).split('bgp_path.prepend(65001)').length - 1,
    8,
  )
})

test('hosts may announce what the operator gave them and nothing else', () => {
  const text = routerConfig(router)
  assert.match(text, /import where net ~ \[203\.0\.113\.0\/24\+\]; export none;/)
  assert.match(text, /net ~ \[2001:db8:1::\/48\+, 2001:db8:a000:1::\/64\]; export none;/)
})

test('a host learns no routes and announces its prefixes', () => {
  const text = hostConfig(host)
  assert.match(text, /route 203\.0\.113\.0\/24 blackhole;/)
  assert.match(text, /route 2001:db8:1::\/48 blackhole;/)
  assert.equal(text.split('import none;').length - 1, 2)
  assert.doesNotMatch(text, /protocol kernel/)
})

test('single addresses become host routes of their family', () => {
  assert.deepEqual(hostRoutes(['203.0.113.70', '2001:db8:1::7']), {
    v4: '  route 203.0.113.70/32 blackhole;\n',
    v6: '  route 2001:db8:1::7/128 blackhole;\n',
  })
})

test('the pools follow the edge, static sources do not', () => {
  const text = hostConfig({ ...host, files: { ...host.files, serving: '/run/serving.conf' } })
  const [, ...protocols] = text.split('protocol static ')
  const of = (name: string) => protocols.find((p) => p.startsWith(name))!
  assert.match(of('anycast4'), /include "\/run\/serving\.conf";[\s\S]*203\.0\.113\.0\/24/)
  assert.match(of('anycast6'), /include "\/run\/serving\.conf";[\s\S]*2001:db8:1::\/48/)
  assert.match(of('egress4'), /route 198\.51\.100\.0\/26 blackhole;/)
  assert.doesNotMatch(of('egress4'), /serving/)
  assert.doesNotMatch(of('egress6').split('protocol bgp')[0]!, /serving/)
  assert.equal(servingText(true), '')
  assert.match(servingText(false), /^ {2}disabled yes;$/m)
})

test('BIRD itself accepts both', { skip: hasBird() ? false : 'bird is not installed' }, () => {
  const dir = mkdtempSync(join(tmpdir(), 'fairway-bird-'))
  try {
    const serving = join(dir, 'serving.conf')
    writeFileSync(serving, servingText(false))
    for (const [name, text] of [
      ['host', hostConfig(host)],
      ['host without edge', hostConfig({ ...host, files: { ...host.files, serving } })],
      ['router', routerConfig(router)],
    ] as const) {
      const path = join(dir, name)
      writeFileSync(path, text)
      const checked = spawnSync('bird', ['-p', '-c', path], { encoding: 'utf8', env: pathEnv() })
      assert.equal(checked.status, 0, `${name}: ${checked.stderr}`)
    }
  } finally {
    rmSync(dir, { recursive: true })
  }
})

function pathEnv() {
  return { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` }
}

function hasBird() {
  return spawnSync('bird', ['--version'], { env: pathEnv() }).status === 0
}
