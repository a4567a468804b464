import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { parseFlags } from './flags.ts'
import { parseSettingsFile, readSettings, SETTINGS_FILE } from './settings.ts'

const folder = mkdtempSync(join(tmpdir(), 'fairway-tunnel-test-'))
after(() => rmSync(folder, { recursive: true }))
const PROXY = { FAIRWAY_OUTBOUND_URL: 'http://u:p@one.test:1' }
const read = (args: readonly string[], env: Record<string, string> = PROXY) =>
  readSettings(parseFlags(args), env, folder)

test('flags end where the command begins', () => {
  const flags = parseFlags(['--map=1:a:2', '--map', '3:b:4', '--verbose', '--', '--odd', '--all'])
  assert.deepEqual(flags.map, ['1:a:2', '3:b:4'])
  assert.deepEqual(flags.command, ['--odd', '--all'])
  assert.deepEqual(parseFlags(['--all', 'psql', '--help']).command, ['psql', '--help'])
  for (const [args, error] of [
    [['--nothing'], /unknown flag --nothing/],
    [['--constructor', 'x'], /unknown flag --constructor/],
    [['-p'], /unknown flag -p/],
    [['--all=x'], /unknown flag --all/],
    [['--map'], /--map needs a value/],
    [['--mode', 'magic'], /there are auto, ports/],
    [['--proxy', 'a', '--proxy', 'b'], /given once/],
  ] as const)
    assert.throws(() => parseFlags(args), error)
})

test('the proxy: flag, then environment, then file, then what is common', () => {
  const env = {
    ...{ HTTPS_PROXY: 'http://four.test:4', QUOTAGUARDSTATIC_URL: 'http://u:p@two.test:2' },
    ...PROXY,
  }
  const host = (args: string[], env: Record<string, string>) => read(args, env).proxy.host
  assert.equal(host(['--proxy', 'http://zero.test:0001'], env), 'zero.test')
  assert.equal(host([], env), 'one.test')
  assert.equal(host([], { ...env, FAIRWAY_OUTBOUND_URL: ' ' }), 'two.test')
  assert.equal(host([], { HTTPS_PROXY: env.HTTPS_PROXY }), 'four.test')
  writeFileSync(join(folder, SETTINGS_FILE), '{"proxy": "http://three.test:3", "to": ["x.test:9"]}')
  assert.equal(host([], { HTTPS_PROXY: env.HTTPS_PROXY }), 'three.test')
  assert.deepEqual(read([]).destinations, [{ host: 'x.test', port: 9 }])
  rmSync(join(folder, SETTINGS_FILE))
  assert.throws(() => read([], {}), /set FAIRWAY_OUTBOUND_URL/)
})

test('what is carried comes from one place', () => {
  const env = { ...PROXY, QGTUNNEL_DESTINATIONS: 'a.test:1, b.test:2', QGTUNNEL_DEBUG: 'true' }
  assert.equal(read([], env).destinations.length, 2)
  assert.equal(read([], env).verbose, true)
  const flags = read(['--map', '1:c.test:2'], env)
  assert.equal(flags.destinations.length, 0)
  assert.equal(flags.everything, false)
  assert.equal(read([]).everything, true)
  assert.throws(() => read(['--mode', 'ports']), /mapped ports only/)
  assert.throws(() => read(['--mode', 'names']), /needs the names/)
})

test('a settings file is exact, and an error never quotes it', () => {
  assert.deepEqual(parseSettingsFile('{"map": ["1:a:2"], "all": true}', 'f'), {
    map: ['1:a:2'],
    all: true,
  })
  for (const [text, error] of [
    ['{"proxy": "http://u:hunter2@h:1"', /f: not JSON$/],
    ['[]', /must be an object/],
    ['null', /must be an object/],
    ['{"maps": []}', /unknown key maps; there are proxy, map/],
    ['{"__proto__": 1}', /unknown key __proto__/],
    ['{"map": "1:a:2"}', /map must be a list/],
    ['{"mode": "x"}', /mode must be one of/],
    [`"${'x'.repeat(70_000)}"`, /larger than/],
  ] as const)
    assert.throws(() => parseSettingsFile(text, 'f'), error)
})
