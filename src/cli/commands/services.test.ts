import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Port } from '../../model/machine-config.ts'
import { FakeApi, fakeMachine, runAgainst } from '../testing.ts'

const service = (ports: Port[]) => ({ protocol: 'tcp' as const, internal_port: 8080, ports })
const machine = (id: string, region: string, ports: Port[]) => {
  const { config } = fakeMachine(id)
  return fakeMachine(id, { region, config: { ...config, services: [service(ports)] } })
}

async function list(machines: readonly object[], ...flags: string[]) {
  const api = await new FakeApi().listen()
  api.on('GET /v1/apps/hello/machines', () => machines)
  const ran = await runAgainst(api, ['services', 'list', '-a', 'hello', ...flags])
  await api.close()
  assert.equal(ran.code, 0, ran.stderr)
  return ran.stdout
}

const WEB: Port[] = [
  { port: 80, handlers: ['http'], force_https: true },
  { port: 443, handlers: ['tls', 'http'] },
]

test('services list: equal ports of a group’s machines are one line', async () => {
  const two = [machine('m1', 'nrt', WEB), machine('m2', 'iad', WEB)]
  assert.equal(
    await list(two),
    [
      'PROTOCOL  PORTS        HANDLERS   FORCE HTTPS  PROCESS GROUP  REGIONS   MACHINES',
      'TCP       80 => 8080   http       yes          app            iad, nrt  2',
      'TCP       443 => 8080  tls, http  no           app            iad, nrt  2',
      '\n',
    ].join('\n'),
  )
  const [first] = JSON.parse(await list(two, '--json'))
  assert.deepEqual(
    [first.Ports, first.ForceHTTPS, first.Regions],
    ['80 => 8080', true, ['iad', 'nrt']],
  )
})

test('services list: ranges, and none', async () => {
  const ranged = await list([machine('m1', 'iad', [{ start_port: 5000, end_port: 5010 }])])
  assert.match(ranged, /5000-5010 => 8080/)
  assert.match(await list([]), /No services: no machine of hello has any/)
})
