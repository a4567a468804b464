import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ParseOptions, parseFlyToml } from './parse.ts'
import { problemText } from './problem.ts'

const config = (text: string, options?: ParseOptions) => {
  const parsed = parseFlyToml(text, options)
  assert.ok(parsed.ok, parsed.ok ? '' : JSON.stringify(parsed.problems))
  return parsed.config
}

const problems = (text: string, options?: ParseOptions) => {
  const parsed = parseFlyToml(text, options)
  assert.ok(!parsed.ok)
  return parsed.problems.map((p) => problemText(p, 'fly.toml'))
}

test('an ordinary file', () => {
  const parsed = config(`
app = "hello"
primary_region = "lhr"
kill_signal = "SIGTERM"
kill_timeout = 30

[env]
  LOG = "debug"
  WORKERS = 4
  FAST = true

[http_service]
  internal_port = 8080
  force_https = true
  auto_stop_machines = "suspend"
  [http_service.concurrency]
    type = "requests"
    soft_limit = 20
  [[http_service.checks]]
    interval = "10s"
    path = "/health"
    headers = { X-Probe = "yes" }
`)
  assert.equal(parsed.kill_timeout, '30s')
  assert.deepEqual(parsed.env, { LOG: 'debug', WORKERS: '4', FAST: 'true' })
  assert.equal(parsed.http_service?.checks?.[0]?.headers?.['X-Probe'], 'yes')
})

test('spellings of older files', () => {
  const parsed = config(`
[services]
  internal_port = "8080"
  concurrency = "20,25"
  auto_stop_machines = true
  processes = "app"
  [services.ports]
    port = "80"
    handlers = ["http"]
  [[services.http_checks]]
    interval = 10000
    timeout = 2500
    headers = [{ name = "Host", value = "a" }]
  [services.tcp_checks]
    interval = 15000

[compute]
  size = "shared-cpu-2x"

[mount]
  source = "data"

[restart]
  policy = "always"

[experimental]
  cmd = "node 'a b.js'"
`)
  assert.deepEqual(parsed.services, [
    {
      internal_port: 8080,
      concurrency: { type: 'requests', soft_limit: 20, hard_limit: 25 },
      auto_stop_machines: 'stop',
      processes: ['app'],
      ports: [{ port: 80, handlers: ['http'] }],
      http_checks: [{ interval: '10s', timeout: '2500ms', headers: { Host: 'a' } }],
      tcp_checks: [{ interval: '15s' }],
    },
  ])
  assert.deepEqual(parsed.vm, [{ size: 'shared-cpu-2x' }])
  assert.deepEqual(parsed.mounts, [{ source: 'data' }])
  assert.deepEqual(parsed.restart, [{ policy: 'always' }])
  assert.deepEqual(parsed.experimental?.cmd, ['node', 'a b.js'])
})

test('unknown keys are kept, and errors when strict', () => {
  const text = 'app = "a"\nfuture = 1\n[http_service]\ninternal_port = 80\nforce_htps = true\n'
  assert.equal(config(text).future, 1)
  assert.deepEqual(problems(text, { strict: true }), [
    'fly.toml:2: future: unknown key. Remove it or correct its spelling, or leave out --strict.',
    'fly.toml:5: http_service.force_htps: unknown key. Remove it or correct its spelling, or leave out --strict.',
  ])
})

test('a wrong type names key, value, line and fix', () => {
  const text =
    '[[services]]\ninternal_port = 1\n[[services]]\ninternal_port = "web"\n[[services.ports]]\nport = 80\n[[services.ports]]\nport = true\n'
  assert.deepEqual(problems(text), [
    'fly.toml:4: services[1].internal_port: "web" is not of type number. Write a number without quotes.',
    'fly.toml:8: services[1].ports[1].port: true is not of type number. Write a number without quotes.',
  ])
  assert.deepEqual(problems('[http_service.fairway.rate_limit]\nper_source = { per_second = 5 }'), [
    'fly.toml:2: http_service.fairway.rate_limit.per_source.requests_per_second: is missing. Write a number without quotes.',
  ])
  assert.match(
    problems('[http_service]\nauto_stop_machines = "maybe"')[0]!,
    /fly.toml:2: http_service.auto_stop_machines: "maybe" is not known. Use one of "off"/,
  )
})

test('what is not TOML has a line', () => {
  assert.match(
    problems('app = "a"\nregion = \n')[0]!,
    /^fly.toml:2: not valid TOML at column \d+: /,
  )
  assert.match(problems('__proto__ = 1')[0]!, /not valid TOML/)
})

test('JSON with the same keys', () => {
  assert.equal(config('{"app":"a","services":{"internal_port":1}}', { format: 'json' }).app, 'a')
  assert.match(problems('[]', { format: 'json' })[0]!, /not a JSON object/)
  assert.match(problems('{', { format: 'json' })[0]!, /Correct the JSON/)
})

test('a huge file is refused', () => {
  assert.match(problems('#'.repeat(1024 * 1024 + 1))[0]!, /larger than/)
})
