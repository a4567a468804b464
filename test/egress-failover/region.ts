import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { systemExec } from '../../src/kernel/exec.ts'
import { meshAddress } from '../../src/model/wire.ts'
import {
  Agent,
  buildWorld,
  EGRESS,
  endWorld,
  PLACES,
  type Place,
  pings,
  routeMachines,
} from '../host-network/world.ts'
import { endFlows, Flows } from './flows.ts'

export type HostPlace = 'host-a' | 'host-b'

/**
 * A region of two hosts whose machines share one pair of addresses: slot 2 on host-a, slot 3 on host-b.
 * `enterAt` says where the router sends what comes back.
 */
export interface Region {
  readonly pair: { readonly v4: string; readonly v6: string }
  readonly far: { readonly v4: string; readonly v6: string }
  readonly a: Flows
  readonly b: Flows
  enterAt(place: HostPlace): Promise<void>
  agent(place: HostPlace): Agent
  close(): void
}

const PAIR = { v4: '198.51.100.1', v6: '2001:db8:e001::1' }
const FAR_PORT = 8_000
const MESH_UP_MS_MAX = 60_000

export async function buildRegion(): Promise<Region> {
  await buildWorld()
  await routeMachines()
  const dirs = [0, 1].map(() => mkdtempSync(join(tmpdir(), 'fairway-region-')))
  const agents = {
    'host-a': new Agent('host-a', dirs[0]!),
    'host-b': new Agent('host-b', dirs[1]!),
  }
  const places = ['host-a', 'host-b'] as const
  const keys = await Promise.all(
    places.map((place) => agents[place].ask<{ meshPublicKey: string }>('start')),
  )
  const hosts = places.map((place, i) => ({
    ...{ id: place.slice(5), region: 'iad', index: PLACES[place].index },
    ...{ underlayV4: PLACES[place].v4, underlayV6: PLACES[place].v6 },
    meshPublicKey: keys[i]!.meshPublicKey,
  }))
  await Promise.all(places.map((place) => agents[place].ask('hosts', hosts)))
  await Promise.all(
    places.map(async (place, i) => {
      await agents[place].ask('attach', machine(i + 1))
      const other = PLACES[places[1 - i]!].index
      const owners = Object.values(PAIR).map((address) => ({
        ...{ address, slot: 1 + other, count: 1, hostIndex: other },
      }))
      await agents[place].ask('steer', owners)
    }),
  )
  await enterAt('host-a')
  await meshUp()
  await Flows.far('internet', FAR_PORT)
  const [a, b] = await Promise.all([1, 2].map((n) => Flows.near(`m-${machine(n).id}`)))
  const { v4, v6 } = PLACES.internet
  return {
    ...{ pair: PAIR, far: { v4, v6 }, a: a!, b: b!, enterAt },
    agent: (place) => agents[place],
    close() {
      endFlows()
      endWorld()
      for (const dir of dirs) rmSync(dir, { recursive: true })
    },
  }
}

/** The machine of the host with index `n`. */
const machine = (n: number) => ({
  id: `aaaaaaaaaaaa0${n}`,
  v4: `172.16.${(n - 1) * 16}.2`,
  v6: `fdaa:0:1:a7b:${n}:0:1:2`,
  networkId: 1,
  hostSlotName: 'vm1',
  egress: { pair: 'p1', ...PAIR, slot: 1 + n, count: 1 },
})

const enterAt = (place: HostPlace): Promise<void> =>
  routes('router', [
    `route replace ${EGRESS[0]} via ${PLACES[place].v4}`,
    `route replace ${EGRESS[1]} via ${PLACES[place].v6}`,
  ])

export async function routes(place: Place | 'router', lines: readonly string[]): Promise<void> {
  await systemExec.run(['ip', '-n', place, '-batch', '-'], { stdin: `${lines.join('\n')}\n` })
}

async function meshUp(): Promise<void> {
  const end = Date.now() + MESH_UP_MS_MAX
  while (!(await pings('host-a', meshAddress(2)).catch(() => false))) {
    if (Date.now() > end) throw new Error('the mesh does not come up')
    await delay(50)
  }
}
