import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseFlyToml } from './parse.ts'
import { problemText } from './problem.ts'
import { unsupported, validate } from './validate.ts'

const parsed = (text: string) => {
  const result = parseFlyToml(text)
  assert.ok(result.ok, result.ok ? '' : JSON.stringify(result.problems))
  return result.config
}
const found = (text: string) => validate(parsed(text), text)

const http = (rest: string) => `[http_service]\ninternal_port = 8080\n${rest}`
const port = (rest: string, service = '') =>
  `[[services]]\ninternal_port = 8080\n${service}\n[[services.ports]]\n${rest}`

/** name, fly.toml, severity, path, text that the message has */
const cases: readonly (readonly [string, string, 'error' | 'warning', string, RegExp])[] = [
  ['app name', 'app = "Hello_1"', 'error', 'app', /"Hello_1"/],
  ['N18', '[env]\nFLY_REGION = "x"', 'error', 'env.FLY_REGION', /platform/],
  ['env name', '[env]\n"a-b" = "x"', 'error', 'env.a-b', /name/],
  [
    'N16',
    'primary_region="iad"\n[env]\nPRIMARY_REGION = "x"',
    'warning',
    'env.PRIMARY_REGION',
    /N16/,
  ],
  ['S9 omitted', `[processes]\nweb="x"\n${http('')}`, 'error', 'http_service.processes', /missing/],
  [
    'S9 unknown',
    `[processes]\nweb="x"\n${http('processes=["wbe"]')}`,
    'error',
    'http_service.processes',
    /"wbe"/,
  ],
  [
    'unknown group without [processes]',
    http('processes=["web"]'),
    'error',
    'http_service.processes',
    /"web"/,
  ],
  [
    'a rate of our own extension',
    http('[http_service.fairway]\nrate_limit = { per_source = { requests_per_second = 0 } }'),
    'error',
    'http_service.fairway.rate_limit.per_source.requests_per_second',
    /^0 is out of range/,
  ],
  [
    'sticky without http',
    port('port=5432', '[services.fairway]\nsticky = { ttl = "1h" }'),
    'error',
    'services[0].fairway.sticky',
    /http handler/,
  ],
  ['vm of an unknown group', '[[vm]]\nprocesses=["x"]', 'error', 'vm[0].processes', /"x"/],
  [
    'S10',
    port('port=80\nhandlers=["tls"]\nforce_https=true'),
    'error',
    'services[0].ports[0].force_https',
    /http handler/,
  ],
  [
    'S34 short',
    http('[[http_service.checks]]\ninterval="500ms"'),
    'warning',
    'http_service.checks[0].interval',
    /raised to 1s/,
  ],
  [
    'S34 long',
    http('[[http_service.checks]]\ntimeout="2m"'),
    'warning',
    'http_service.checks[0].timeout',
    /lowered to 1m/,
  ],
  [
    'S34 grace',
    http('[[http_service.checks]]\ngrace_period="1ms"'),
    'warning',
    'http_service.checks[0].grace_period',
    /raised/,
  ],
  ['S37 no type', '[checks.a]\nport=1', 'error', 'checks.a.type', /missing/],
  ['S37 type', '[checks.a]\nport=1\ntype="ping"', 'error', 'checks.a.type', /"ping"/],
  ['S37 no port', '[checks.a]\ntype="tcp"', 'error', 'checks.a.port', /missing/],
  [
    'S37 interval',
    '[checks.a]\nport=1\ntype="tcp"\ninterval="1s"',
    'error',
    'checks.a.interval',
    /"1s"/,
  ],
  [
    'S37 timeout',
    '[checks.a]\nport=1\ntype="tcp"\ntimeout="61s"',
    'error',
    'checks.a.timeout',
    /"61s"/,
  ],
  [
    'bad duration',
    '[checks.a]\nport=1\ntype="tcp"\ninterval="soon"',
    'error',
    'checks.a.interval',
    /"soon"/,
  ],
  [
    'check path',
    http('[[http_service.checks]]\npath="health"'),
    'error',
    'http_service.checks[0].path',
    /"health"/,
  ],
  [
    'check method',
    http('[[http_service.checks]]\nmethod="G T"'),
    'error',
    'http_service.checks[0].method',
    /"G T"/,
  ],
  [
    'check protocol',
    http('[[http_service.checks]]\nprotocol="h2"'),
    'error',
    'http_service.checks[0].protocol',
    /"h2"/,
  ],
  [
    'no internal_port',
    '[http_service]\nforce_https=true',
    'error',
    'http_service.internal_port',
    /missing/,
  ],
  [
    'internal_port 0',
    '[http_service]\ninternal_port=0',
    'error',
    'http_service.internal_port',
    /0 is not a port/,
  ],
  [
    'internal_port high',
    '[http_service]\ninternal_port=70000',
    'error',
    'http_service.internal_port',
    /70000/,
  ],
  ['no ports', '[[services]]\ninternal_port=1', 'error', 'services[0].ports', /missing/],
  ['no port number', port('handlers=["http"]'), 'error', 'services[0].ports[0].port', /missing/],
  ['port high', port('port=65536'), 'error', 'services[0].ports[0].port', /65536/],
  [
    'range reversed',
    port('start_port=20\nend_port=10'),
    'error',
    'services[0].ports[0].start_port',
    /20 is above end_port 10/,
  ],
  ['S15', port('start_port=20'), 'warning', 'services[0].ports[0].end_port', /65535/],
  [
    'port and range',
    port('port=1\nstart_port=20\nend_port=30'),
    'error',
    'services[0].ports[0].port',
    /beside a range/,
  ],
  [
    'duplicate',
    `${http('')}\n${port('port=443\nhandlers=["tls"]')}`,
    'error',
    'services[0].ports[0]',
    /tcp port 443 is already taken by \[http_service\]/,
  ],
  [
    'overlap',
    `${port('start_port=10\nend_port=20')}\n${port('port=15')}`,
    'error',
    'services[1].ports[0]',
    /port 15/,
  ],
  [
    'S4',
    `[processes]\na="x"\nb="y"\n${port('port=1', 'processes=["a"]')}\n${port('port=1', 'processes=["b"]')}`,
    'warning',
    'services[1].ports[0]',
    /both groups/,
  ],
  [
    'handler',
    port('port=1\nhandlers=["htpt"]'),
    'error',
    'services[0].ports[0].handlers[0]',
    /"htpt"/,
  ],
  [
    'handler twice',
    port('port=1\nhandlers=["tls","tls"]'),
    'error',
    'services[0].ports[0].handlers[1]',
    /twice/,
  ],
  [
    'udp handlers',
    port('port=8080\nhandlers=["http"]', 'protocol="udp"'),
    'error',
    'services[0].ports[0].handlers[0]',
    /UDP/,
  ],
  [
    'udp port',
    port('port=53', 'protocol="udp"'),
    'warning',
    'services[0].ports[0].port',
    /differs/,
  ],
  ['protocol', port('port=1', 'protocol="sctp"'), 'error', 'services[0].protocol', /"sctp"/],
  [
    'concurrency type',
    http('[http_service.concurrency]\ntype="users"'),
    'error',
    'http_service.concurrency.type',
    /"users"/,
  ],
  [
    'soft above hard',
    http('[http_service.concurrency]\nsoft_limit=9\nhard_limit=3'),
    'error',
    'http_service.concurrency.soft_limit',
    /9 is above hard_limit 3/,
  ],
  [
    'limit 0',
    http('[http_service.concurrency]\nhard_limit=0'),
    'error',
    'http_service.concurrency.hard_limit',
    /0 is too small/,
  ],
  [
    'min machines',
    http('min_machines_running=-1'),
    'error',
    'http_service.min_machines_running',
    /-1/,
  ],
  [
    'tls version',
    http('[http_service.tls_options]\nversions=["TLSv1.1"]'),
    'error',
    'http_service.tls_options.versions[0]',
    /TLSv1.1/,
  ],
  [
    'alpn',
    http('[http_service.tls_options]\nalpn=[""]'),
    'error',
    'http_service.tls_options.alpn[0]',
    /""/,
  ],
  [
    'options without handler',
    port('port=1\n[services.ports.tls_options]\nalpn=["h2"]'),
    'warning',
    'services[0].ports[0].tls_options',
    /tls handler/,
  ],
  [
    'proxy_proto',
    port('port=1\nhandlers=["proxy_proto"]\n[services.ports.proxy_proto_options]\nversion="v3"'),
    'error',
    'services[0].ports[0].proxy_proto_options.version',
    /"v3"/,
  ],
  [
    'idle_timeout',
    http('[http_service.http_options]\nidle_timeout=-1'),
    'error',
    'http_service.http_options.idle_timeout',
    /-1/,
  ],
  [
    'access log',
    http('[http_service.fairway.access_log]\nsample_rate=10'),
    'error',
    'http_service.fairway.access_log.sample_rate',
    /10 is not a share/,
  ],
  [
    'response header',
    http('[http_service.http_options.response.headers]\n"a b"="c"'),
    'error',
    'http_service.http_options.response.headers.a b',
    /"a b"/,
  ],
  [
    'replay ttl',
    http(
      '[[http_service.http_options.replay_cache]]\npath_prefix="/"\nttl_seconds=5\ntype="cookie"\nname="s"',
    ),
    'error',
    'http_service.http_options.replay_cache[0].ttl_seconds',
    /5 is too short/,
  ],
  ['empty [processes]', '[processes]', 'error', 'processes', /no group/],
  ['open quote', `[processes]\napp="node 'x"`, 'error', 'processes.app', /quote/],
  ['empty command', '[processes]\napp=" "', 'error', 'processes.app', /empty/],
  ['vm size', '[[vm]]\nsize="large"', 'error', 'vm[0].size', /"large"/],
  ['vm memory', '[[vm]]\nmemory="lots"', 'error', 'vm[0].memory', /"lots"/],
  ['vm cpus', '[[vm]]\ncpus=0', 'error', 'vm[0].cpus', /0/],
  ['restart', '[[restart]]\npolicy="often"', 'error', 'restart[0].policy', /"often"/],
  ['strategy', '[deploy]\nstrategy="yolo"', 'error', 'deploy.strategy', /"yolo"/],
  [
    'canary with mounts',
    '[deploy]\nstrategy="canary"\n[[mounts]]\nsource="d"',
    'error',
    'deploy.strategy',
    /mounts/,
  ],
  [
    'machine check without a command',
    '[[machine_checks]]\nkill_timeout="5s"',
    'error',
    'machine_checks[0].command',
    /nothing would be checked/,
  ],
  [
    'machine check: kill_signal',
    http('[[http_service.machine_checks]]\ncommand=["x"]\nkill_signal="SIGNOPE"'),
    'error',
    'http_service.machine_checks[0].kill_signal',
    /"SIGNOPE"/,
  ],
  [
    'too many machine checks',
    '[[machine_checks]]\ncommand=["x"]\n'.repeat(9),
    'error',
    'machine_checks[8]',
    /9 machine checks are too many/,
  ],
  [
    'machine checks that no deploy runs',
    '[deploy]\nstrategy="immediate"\n[[machine_checks]]\ncommand=["x"]',
    'warning',
    'machine_checks',
    /"immediate" runs no machine checks/,
  ],
  ['kill_signal', 'kill_signal="SIGNOPE"', 'error', 'kill_signal', /"SIGNOPE"/],
  ['kill_timeout', 'kill_timeout="later"', 'error', 'kill_timeout', /"later"/],
]

for (const [name, text, severity, path, message] of cases) {
  test(`validate: ${name}`, () => {
    const problems = found(text)
    const match = problems.find((p) => p.path === path && p.severity === severity)
    assert.ok(match, JSON.stringify(problems))
    assert.match(match.message, message)
    assert.match(match.fix, /\.$/)
    assert.ok(severity === 'warning' || match.line !== undefined, 'has no line')
  })
}

test('validate: a good file has no problems', () => {
  const text = `
app = "hello"
primary_region = "iad"
kill_signal = "SIGTERM"
kill_timeout = "5s"
[env]
  A = "b"
[processes]
  web = "node server.js"
  worker = "node worker.js"
[http_service]
  internal_port = 8080
  force_https = true
  processes = ["web"]
[[services]]
  protocol = "tcp"
  internal_port = 5432
  processes = ["worker"]
  [[services.ports]]
    port = 5432
    handlers = ["pg_tls"]
[checks.alive]
  type = "http"
  path = "/"
  processes = ["web"]
[[vm]]
  size = "shared-cpu-1x"
  memory = "1gb"
`
  assert.deepEqual(found(text), [])
})

test('validate: a problem as one line', () => {
  const text = 'app = "a"\n\n[http_service]\ninternal_port = 0\n'
  assert.equal(
    problemText(found(text)[0]!, 'fly.toml'),
    'fly.toml:4: http_service.internal_port: 0 is not a port. Use 1 to 65535.',
  )
})

test('unsupported sections are named, an empty [build] is not', () => {
  const paths = (text: string) => unsupported(parsed(text)).map((p) => p.path)
  assert.deepEqual(paths('[build]'), [])
  assert.deepEqual(
    paths('image="x"\n[build]\nimage="y"\n[deploy]\nstrategy="canary"\n[[mounts]]\nsource="d"'),
    ['build', 'image', 'mounts'],
  )
  assert.match(unsupported(parsed('[build]\nimage="nginx"'))[0]!.fix, /folder of fly.toml/)
})

test('[deploy]: times, numbers, sizes and the release command', () => {
  const bad = `
[deploy]
release_command = "echo 'open"
release_command_timeout = "soon"
wait_timeout = "0"
max_unavailable = 1.5
release_command_vm = { size = "huge" }
`
  assert.deepEqual(
    found(bad).map((p) => p.path),
    [
      'deploy.release_command',
      'deploy.release_command_timeout',
      'deploy.wait_timeout',
      'deploy.release_command_vm.size',
      'deploy.max_unavailable',
    ],
  )
  const good = `
[deploy]
release_command = "npm run migrate"
release_command_timeout = 600
wait_timeout = "10m"
max_unavailable = 0.5
`
  assert.deepEqual(found(good), [])
})

test('bluegreen needs a check and cannot have volumes (S39)', () => {
  const blue = '[deploy]\nstrategy = "bluegreen"\n'
  assert.match(found(blue)[0]!.message, /at least one check/)
  const checked = `${blue}[http_service]\ninternal_port = 80\n[[http_service.checks]]\npath = "/"\n`
  assert.deepEqual(found(checked), [])
  assert.match(found(`${checked}[[mounts]]\nsource = "d"\n`)[0]!.message, /does not work with/)
})
