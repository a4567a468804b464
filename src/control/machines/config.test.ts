import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseMachineConfig, signalName } from './config.ts'
import { endpointServices } from './ports.ts'

const image = `sha256:${'a'.repeat(64)}`
const service = (changes: object = {}, port: object = { port: 80, handlers: ['http'] }) => ({
  protocol: 'tcp',
  internal_port: 8080,
  ports: [port],
  ...changes,
})
const services = (...list: object[]) => ({ services: list })

const refused: readonly [name: string, config: object, text: RegExp][] = [
  ['no image', { image: undefined }, /config\.image: is missing/],
  ['NUL in a command', { init: { cmd: ['a', 'b\0c'] } }, /init\.cmd: holds a NUL/],
  ['NUL in metadata', { metadata: { a: 'b\0c' } }, /metadata\.a: holds a NUL/],
  ['port 0', services(service({}, { port: 0 })), /services\[0\]\.ports\[0\]\.port: is 0/],
  ['port 70000', services(service({}, { port: 70_000 })), /ports\[0\]\.port: is 70000/],
  [
    'no internal_port',
    services(service({ internal_port: undefined })),
    /internal_port: is missing/,
  ],
  ['no ports (S3)', services(service({ ports: [] })), /ports: is empty/],
  ['no port in a port', services(service({}, { handlers: [] })), /names no port/],
  [
    'inverted range (S15)',
    services(service({}, { start_port: 90, end_port: 80 })),
    /start_port 90 is above end_port 80/,
  ],
  ['port and range', services(service({}, { port: 1, end_port: 2 })), /both port and a range/],
  ['unknown handler (S16)', services(service({}, { port: 80, handlers: ['h3'] })), /handlers\[0\]/],
  [
    'force_https without http (S10)',
    services(service({}, { port: 443, handlers: ['tls'], force_https: true })),
    /force_https: .*\[tls\]; it needs "http"/,
  ],
  [
    'duplicate ports',
    services(service(), service({ internal_port: 81 }, { start_port: 1, end_port: 100 })),
    /services\[1\]\.ports\[0\]: tcp port 1-100 overlaps services\[0\]\.ports\[0\]/,
  ],
  [
    'handlers on udp',
    services(service({ protocol: 'udp', internal_port: 80 })),
    /UDP has no handlers/,
  ],
  [
    'udp on another port (U3)',
    services(service({ protocol: 'udp' }, { port: 53 })),
    /is 53 but internal_port is 8080/,
  ],
  [
    'a rate of our own extension',
    services(service({ fairway: { rate_limit: { per_source: { requests_per_second: -1 } } } })),
    /services\[0\]\.fairway\.rate_limit\.per_source\.requests_per_second: -1 is out of range\. Use 0\.001/,
  ],
  [
    'the same of another type',
    services(service({ fairway: { slow_start: 5 } })),
    /services\[0\]\.fairway\.slow_start: is 5: /,
  ],
  ['protocol', services(service({ protocol: 'sctp' })), /protocol: is "sctp"/],
  [
    'soft above hard',
    services(service({ concurrency: { soft_limit: 9, hard_limit: 3 } })),
    /soft_limit: 9 is above hard_limit 3/,
  ],
  [
    'concurrency type',
    services(service({ concurrency: { type: 'x' } })),
    /concurrency\.type: is "x"/,
  ],
  ['service check type', services(service({ checks: [{}] })), /checks\[0\]\.type: is missing/],
  ['top check type (S37)', { checks: { up: { port: 80 } } }, /checks\.up\.type: is missing/],
  ['top check port', { checks: { up: { type: 'tcp' } } }, /checks\.up\.port: is missing/],
  [
    'top check interval',
    { checks: { up: { type: 'tcp', port: 1, interval: '1s' } } },
    /interval: is 1s; at least 2s/,
  ],
  [
    'top check timeout',
    { checks: { up: { type: 'tcp', port: 1, timeout: '2m' } } },
    /timeout: is 2m; at most 1m/,
  ],
  [
    'more checks than a host runs',
    {
      checks: { up: { type: 'tcp', port: 1 } },
      ...services(service({ checks: Array.from({ length: 64 }, () => ({ type: 'tcp' })) })),
    },
    /checks: the machine and its services have 65 in all; at most 64/,
  ],
  ['FLY_ names (N18)', { env: { FLY_REGION: 'x' } }, /env\.FLY_REGION: .*rename/],
  ['bad name', { env: { 'A=B': 'x' } }, /env\.A=B/],
  ['restart policy', { restart: { policy: 'sometimes' } }, /restart\.policy: is "sometimes"/],
  ['stop signal', { stop_config: { signal: 'SIGWHAT' } }, /"SIGWHAT" is no signal/],
  ['stop time-out', { stop_config: { timeout: '10m' } }, /stop_config\.timeout: is 10m/],
  ['mounts', { mounts: [{ volume: 'v', path: '/data' }] }, /mounts: is not supported yet/],
]

for (const [name, config, text] of refused) {
  test(`refused: ${name}`, () => {
    assert.throws(() => parseMachineConfig({ image, ...config }), text)
  })
}

test('several problems are told at once', () => {
  const config = { image, env: { FLY_A: '1' }, mounts: [{}] }
  assert.throws(() => parseMachineConfig(config), /mounts.*; config\.env\.FLY_A/)
})

test('what clients send passes, unknown keys are kept', () => {
  const config = parseMachineConfig({
    image,
    init: {},
    env: { FLY_PROCESS_GROUP: 'app', PRIMARY_REGION: 'iad' },
    mounts: [],
    services: [{ ...service(), force_instance_key: null, autostop: false }],
    dns: {},
  })
  assert.deepEqual(config.guest, { cpu_kind: 'shared', cpus: 1, memory_mb: 256 })
  assert.deepEqual(config.dns, {})
  assert.equal(config.services?.[0]?.force_instance_key, null)
})

test('services become routes with the documented defaults', () => {
  const config = parseMachineConfig({
    image,
    ...services(
      service({}, { port: 443, handlers: ['tls', 'http'], proxy_proto_options: { version: 'v2' } }),
      service(
        { concurrency: { type: 'requests', hard_limit: 10 }, checks: [{ type: 'tcp' }] },
        { start_port: 1000 },
      ),
    ),
  })
  const [first, second] = endpointServices(config.services)
  assert.deepEqual(first?.concurrency, { type: 'connections', soft: 20, hard: null })
  assert.deepEqual(first?.ports[0], {
    start: 443,
    end: 443,
    handlers: ['tls', 'http'],
    forceHttps: false,
    httpOptions: null,
    tlsOptions: null,
    proxyProtoVersion: 'v2',
  })
  assert.equal(first?.healthy, true)
  assert.deepEqual(second?.concurrency, { type: 'requests', soft: 10, hard: 10 })
  assert.equal(second?.healthy, false)
  assert.deepEqual([second?.ports[0]?.start, second?.ports[0]?.end], [1000, 65_535])
})

test('signals by name and number', () => {
  assert.equal(signalName('sigterm'), 'SIGTERM')
  assert.equal(signalName(9), 'SIGKILL')
  assert.equal(signalName('9'), 'SIGKILL')
  assert.equal(signalName('toString'), undefined)
})
