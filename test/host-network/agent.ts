import { createInterface } from 'node:readline'
import { systemClock } from '../../src/base/clock.ts'
import { createLogger } from '../../src/base/log.ts'
import { readCounters } from '../../src/egress/counters.ts'
import { applyGuard } from '../../src/egress/guard.ts'
import { createEgressTable } from '../../src/egress/kernel-egress.ts'
import { createOverlay } from '../../src/egress/overlay.ts'
import { systemExec } from '../../src/kernel/exec.ts'
import { openTransparentListeners } from '../../src/kernel/listener.ts'
import { openNftSession } from '../../src/kernel/nft.ts'
import { createHostNetwork } from '../../src/mesh/host-network.ts'
import { createMachineNetwork } from '../../src/mesh/machine-network.ts'

/** An agent's network half alone: one JSON request per line, one answer per line. */
const config = JSON.parse(process.argv[2]!)
const log = createLogger('agent')
const network = createHostNetwork({ ...config, exec: systemExec, clock: systemClock, log })
const nft = openNftSession({ log })
const egress = createEgressTable({
  ...{ exec: systemExec, nft, clock: systemClock, log, wanDevice: config.wanInterface },
  ...{ hostV4: config.host.underlayV4, hostV6: config.host.underlayV6 },
  publicPrefix6: config.publicPrefix6,
})
const overlay = createOverlay({
  ...{ exec: systemExec, hostIndex: config.host.index, wanDevice: config.wanInterface },
  egressPrefixes: [...config.egressPrefixes, config.publicPrefix6],
})
const machines = createMachineNetwork({
  ...{ exec: systemExec, nft, egress, publicPrefix6: config.publicPrefix6 },
})

const operations: Record<string, (argument: never) => unknown> = {
  start: async () => {
    if (config.guard) await applyGuard(systemExec, config.guard)
    const answer = await network.start()
    await egress.start()
    await overlay.apply([])
    return answer
  },
  hosts: async (hosts: { index: number }[]) => {
    network.applyHosts(hosts as never)
    await overlay.apply(hosts.map(({ index }) => index))
  },
  steer: (owners) => egress.steer(owners),
  attach: (machine: { fresh?: boolean }) => machines.attach(machine as never, machine),
  namespace: (machine) => machines.namespace!(machine),
  silence: (id) => machines.silence!(id),
  detach: (id) => machines.detach(id),
  list: () => machines.list(),
  hold: (addresses: string[]) => {
    egress.hold(addresses)
    return egress.letGo()
  },
  look: () => egress.look(),
  repairs: () => egress.repairs,
  drained: (blocks) => egress.drained(blocks),
  counters: () => readCounters(systemExec, Date.now()),
  listen: ({ port, count }) => openTransparentListeners(port, count).length,
}

for await (const line of createInterface({ input: process.stdin })) {
  const { op, argument } = JSON.parse(line)
  try {
    const result = await operations[op]!(argument as never)
    console.log(JSON.stringify({ ok: result ?? null }))
  } catch (error) {
    console.log(JSON.stringify({ error: String((error as Error).stack) }))
  }
}
await egress.close()
await network.close()
nft.close()
