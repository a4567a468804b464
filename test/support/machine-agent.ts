/**
 * One host's machine manager as a process of its own, so that a test can kill it: told what to do
 * and telling what it reports over the channel to its parent.
 */
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { createLogger } from '../../src/base/log.ts'
import { systemExec } from '../../src/kernel/exec.ts'
import { createMachineManager } from '../../src/machine/manager.ts'
import type { AttachedMachine, MachineNetwork } from '../../src/machine/network.ts'
import type { Machine } from '../../src/model/resources.ts'
import type { AgentCall, ExecLine, LogLine, MachineReport } from '../../src/model/wire.ts'

export interface AgentSettings {
  readonly stateDir: string
  readonly runDir: string
  readonly archive: string
  readonly cgroupRoot: string | null
}
export type ToAgent =
  | { readonly t: 'apply'; readonly machines: readonly Machine[] }
  | { readonly t: 'logs'; readonly app: string; readonly tail: number }
  | { readonly t: 'ps'; readonly machine: string }
  | {
      readonly t: 'exec'
      readonly id: number
      readonly call: Extract<AgentCall, { method: 'exec' }>
      /** The reader leaves then. */
      readonly leaveMs: number
    }
export type FromAgent =
  | { readonly t: 'ready' }
  | { readonly t: 'report'; readonly report: MachineReport; readonly atMs: number }
  | { readonly t: 'logs'; readonly lines: readonly LogLine[] }
  | { readonly t: 'ps'; readonly processes: unknown }
  | { readonly t: 'exec'; readonly id: number; readonly lines: readonly ExecLine[] }

export const DIGEST = 'a'.repeat(64)
export const SECRETS = { PASSWORD: 'hunter2' }

const settings = JSON.parse(process.argv[2] ?? '{}') as AgentSettings
const ip = (...args: string[]) => systemExec.run(['ip', ...args])
const batch = (netns: string[], lines: string[]) =>
  systemExec.run(['ip', ...netns, '-batch', '-'], { stdin: lines.join('\n') })
const tell = (message: FromAgent) => process.send?.(message)

/** Veth and addresses, nothing more: the mesh's own network has tests of its own. */
const network: MachineNetwork = {
  async namespace({ id }: AttachedMachine) {
    if (!existsSync(`/run/netns/${id}`)) await ip('netns', 'add', id)
    return { netnsPath: `/run/netns/${id}` }
  },
  async attach({ id, v4, v6, hostSlotName: device }: AttachedMachine) {
    const netnsPath = `/run/netns/${id}`
    const links = JSON.parse(await ip('-json', 'link', 'show')) as { ifname: string }[]
    if (links.some(({ ifname }) => ifname === device)) return { netnsPath }
    await batch(
      [],
      [
        `link add name ${device} type veth peer name eth0 netns ${id}`,
        `addr add 169.254.0.1/32 dev ${device}`,
        `link set dev ${device} up`,
        `route add ${v4}/32 dev ${device}`,
      ],
    )
    await batch(
      ['-n', id],
      [
        'link set dev lo up',
        `addr add ${v4}/32 dev eth0`,
        `addr add ${v6}/128 dev eth0 nodad`,
        'link set dev eth0 up',
        `route add 169.254.0.1 dev eth0 scope link src ${v4}`,
        'route add default via 169.254.0.1 dev eth0',
      ],
    )
    return { netnsPath }
  },
  async detach(id) {
    if (existsSync(`/run/netns/${id}`)) await ip('netns', 'del', id)
  },
  list: () => readdir('/run/netns'),
}

const manager = createMachineManager({
  host: {
    ...{ id: 'iad1', region: 'iad', index: 1, meshPublicKey: null },
    ...{ underlayV4: '10.0.0.1', underlayV6: '2001:db8::1' },
  },
  machinesV6: null,
  ...{ stateDir: settings.stateDir, runDir: settings.runDir, cgroupRoot: settings.cgroupRoot },
  ...{ exec: systemExec, network, log: createLogger('test'), nodePath: process.execPath },
  launch: async ({ id, instanceId }) => ({
    ...{ machine: id, instanceId, secrets: SECRETS, artifact: DIGEST },
  }),
  artifact: async () => settings.archive,
  ...{ appsDomain: 'fairway.test', region: 'iad', resolvers: ['fdaa::3'] },
})
manager.onReport((report) => tell({ t: 'report', report, atMs: Date.now() }))
await manager.start()
process.on('message', async (message: ToAgent) => {
  if (message.t === 'apply')
    manager.apply(new Map(message.machines.map((machine) => [machine.id, machine])))
  if (message.t === 'ps') tell({ t: 'ps', processes: await manager.ps(message.machine) })
  if (message.t === 'exec') {
    const lines = await Array.fromAsync(
      manager.exec(message.call, AbortSignal.timeout(message.leaveMs)),
    )
    tell({ t: 'exec', id: message.id, lines })
  }
  if (message.t === 'logs') {
    const { app, tail } = message
    const call = { method: 'logs' as const, app, tail, follow: false }
    const lines = await Array.fromAsync(manager.logs(call, new AbortController().signal))
    tell({ t: 'logs', lines })
  }
})
process.on('disconnect', () => process.exit(0))
tell({ t: 'ready' })
