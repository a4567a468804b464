import assert from 'node:assert/strict'
import { test } from 'node:test'
import { procfileWeb, withProcfile } from './command.ts'
import { ipPlan } from './ip-plan.ts'
import { type ConversionInput, toMachineConfigs } from './machine-config.ts'
import { parseFlyToml } from './parse.ts'

const parsed = (text: string) => {
  const result = parseFlyToml(text)
  assert.ok(result.ok, result.ok ? '' : JSON.stringify(result.problems))
  return result.config
}
const input: ConversionInput = {
  image: 'registry.fairway.test/hello@sha256:00',
  release: { id: 'r1', version: 3 },
  clientVersion: '0.1.0',
}
const configs = (text: string, procfile?: string) =>
  toMachineConfigs(withProcfile(parsed(text), procfile), input)

test('http_service becomes the first service; force_https is of port 80 alone', () => {
  const { app } = configs(`
primary_region = "lhr"
kill_signal = "SIGTERM"
kill_timeout = 10
[env]
  A = "1"
[processes]
  app = "node 'my server.js'"
[[services]]
  internal_port = 9000
  processes = ["app"]
  [[services.ports]]
    start_port = 9000
  [[services.tcp_checks]]
    interval = 15000
  [[services.http_checks]]
    method = "get"
    path = "/x"
[http_service]
  internal_port = 8080
  force_https = true
  auto_stop_machines = true
  processes = ["app"]
  [http_service.http_options]
    h2_backend = true
  [http_service.tls_options]
    alpn = ["h2"]
  [[http_service.checks]]
    path = "/health"
    headers = { Host = "x" }
[[restart]]
  policy = "never"
[[vm]]
  size = "shared-cpu-2x"
  memory = "1gb"
[checks.deep]
  type = "http"
  method = "head"
  processes = ["app"]
`)
  assert.deepEqual(app, {
    image: input.image,
    env: { A: '1', FLY_PROCESS_GROUP: 'app', PRIMARY_REGION: 'lhr' },
    init: { cmd: ['node', 'my server.js'] },
    guest: { cpu_kind: 'shared', cpus: 2, memory_mb: 1024 },
    metadata: {
      fly_flyctl_version: '0.1.0',
      fly_platform_version: 'v2',
      fly_process_group: 'app',
      fly_release_id: 'r1',
      fly_release_version: '3',
    },
    services: [
      {
        protocol: 'tcp',
        internal_port: 8080,
        autostop: true,
        autostart: true,
        ports: [
          { port: 80, handlers: ['http'], force_https: true, http_options: { h2_backend: true } },
          {
            port: 443,
            handlers: ['http', 'tls'],
            http_options: { h2_backend: true },
            tls_options: { alpn: ['h2'] },
          },
        ],
        checks: [{ type: 'http', path: '/health', headers: [{ name: 'Host', values: ['x'] }] }],
      },
      {
        protocol: 'tcp',
        internal_port: 9000,
        autostart: true,
        ports: [{ start_port: 9000, end_port: 65535 }],
        checks: [
          { type: 'tcp', interval: '15s' },
          { type: 'http', method: 'GET', path: '/x' },
        ],
      },
    ],
    checks: { deep: { type: 'http', method: 'HEAD', port: 8080 } },
    restart: { policy: 'no' },
    stop_config: { signal: 'SIGTERM', timeout: '10s' },
  })
})

test('what only this platform has goes on to the machines', () => {
  const { app } = configs(`
[processes]
  app = "x"
[http_service]
  internal_port = 8080
  [http_service.fairway]
    slow_start = "30s"
    sticky = { ttl = "1h" }
    rate_limit = { per_source = { requests_per_second = 10, burst = 20 } }
`)
  assert.deepEqual(app?.services?.[0]?.fairway, {
    slow_start: '30s',
    sticky: { ttl: '1h' },
    rate_limit: { per_source: { requests_per_second: 10, burst: 20 } },
  })
})

test('sections are of their group; those without one, of the default group', () => {
  const { web, worker } = configs(`
[processes]
  web = "a"
  worker = "b"
[http_service]
  internal_port = 1
  processes = ["web"]
[[vm]]
  size = "performance-1x"
  processes = ["worker"]
[checks.c]
  type = "tcp"
  port = 5
`)
  assert.equal(web?.services?.length, 1)
  assert.equal(worker?.services, undefined)
  assert.deepEqual(worker?.guest, { cpu_kind: 'performance', cpus: 1, memory_mb: 2048 })
  assert.deepEqual(web?.guest, { cpu_kind: 'shared', cpus: 1, memory_mb: 256 })
  assert.deepEqual([Object.keys(web?.checks ?? {}), worker?.checks], [['c'], undefined])
})

test('where a command comes from', () => {
  assert.throws(() => configs(''), /\[processes\] with app = "node server.js", or a Procfile/)
  assert.deepEqual(configs('', 'node a.js').app?.init, { cmd: ['node', 'a.js'] })
  assert.deepEqual(configs('', 'node a.js $PORT').app?.init, {
    cmd: ['/bin/sh', '-c', 'node a.js $PORT'],
  })
  assert.deepEqual(configs('[experimental]\nexec=["x","y"]', 'z').app?.init, {
    exec: ['x', 'y'],
  })
  assert.equal(procfileWeb('worker: x\nweb:  node a.js \n'), 'node a.js')
  assert.equal(procfileWeb('worker: x\nweb:\n'), undefined)
})

test('machine_config is merged in first', () => {
  const { app } = configs(`machine_config = '{"dns":{"skip_registration":true},"image":"no"}'`, 'x')
  assert.deepEqual([app?.dns, app?.image], [{ skip_registration: true }, input.image])
})

const http = '[http_service]\ninternal_port=1\n'
const service = (rest: string) => `[[services]]\ninternal_port=1\n${rest}`
for (const [name, text, want] of [
  ['no services', '', 'none'],
  ['http_service', http, 'shared'],
  [
    '80 and 443 by hand',
    service('[[services.ports]]\nport=443\nhandlers=["tls","http"]'),
    'shared',
  ],
  ['plain TCP', service('[[services.ports]]\nport=443'), 'dedicated'],
  ['odd port', http + service('[[services.ports]]\nport=8443\nhandlers=["tls"]'), 'dedicated'],
  [
    'range',
    service('[[services.ports]]\nstart_port=80\nend_port=81\nhandlers=["http"]'),
    'dedicated',
  ],
  ['udp', service('protocol="udp"\n[[services.ports]]\nport=1'), 'dedicated'],
] as const) {
  test(`addresses of a first deploy: ${name}`, () => {
    const plan = ipPlan(parsed(text))
    assert.equal(plan.kind, want)
    if (plan.kind === 'dedicated') assert.equal(plan.v6, name !== 'udp')
  })
}
