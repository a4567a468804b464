import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { MachineReport } from '../model/wire.ts'
import { InstanceMetrics } from './instance-metrics.ts'

const DEVICES = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  m4e6e:   1001    1002 1003 1004 1005     6       1007         8     2001    2002 2003 2004 2005    16      17       2008
`
const report = (machine: string, more: Partial<MachineReport> = {}): MachineReport => ({
  ...{ machine, app: 'hello', instanceId: 'i', generation: 1, state: 'started' },
  ...{ checks: [], services: [], egressProblem: null, events: [], gone: false },
  ...more,
})

const metrics = (text = DEVICES) =>
  new InstanceMetrics({
    ...{ host: 'iad1', region: 'iad', deviceOf: (machine) => `m${machine}` },
    readDevices: async () => text,
  })

test('what the host sends is what the machine receives', async () => {
  const own = metrics()
  own.report(report('4e6e'))
  own.report(report('stopped', { state: 'stopped' }))
  const text = await own.render()
  const labels = 'app="hello",region="iad",host="iad1",instance="4e6e"'
  const net = `{${labels},device="eth0"}`
  for (const sample of [
    `fly_instance_up{${labels}} 1`,
    'fly_instance_up{app="hello",region="iad",host="iad1",instance="stopped"} 0',
    ...[`fly_instance_net_recv_bytes${net} 2001`, `fly_instance_net_sent_bytes${net} 1001`],
    ...[`fly_instance_net_recv_packets${net} 2002`, `fly_instance_net_sent_packets${net} 1002`],
    ...[`fly_instance_net_recv_drop${net} 2004`, `fly_instance_net_sent_drop${net} 1004`],
    ...[`fly_instance_net_recv_fifo${net} 2005`, `fly_instance_net_sent_compressed${net} 1007`],
    `fly_instance_net_recv_compressed${net} 2008`,
  ])
    assert.ok(text.includes(`${sample}\n`), `${sample} in\n${text}`)
  assert.ok(!/net.*instance="stopped"/.test(text))
})

test('a machine that is gone is not told any more', async () => {
  const own = metrics()
  own.report(report('4e6e'))
  own.report(report('4e6e', { gone: true }))
  assert.ok(!(await own.render()).includes('4e6e'))
})

test('the kernel writes what is read here', async () => {
  const own = metrics(readFileSync('/proc/net/dev', 'utf8').replace(/^ *lo:/m, ' m1:'))
  own.report(report('1'))
  assert.match(await own.render(), /^fly_instance_net_recv_bytes\{.*instance="1".*\} \d+$/m)
})
