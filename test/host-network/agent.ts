import { createInterface } from 'node:readline'
import { systemClock } from '../../src/base/clock.ts'
import { createLogger } from '../../src/base/log.ts'
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
const machines = createMachineNetwork({ exec: systemExec, nft })

const operations: Record<string, (argument: never) => unknown> = {
  start: () => network.start(),
  hosts: (hosts) => network.applyHosts(hosts),
  attach: (machine) => machines.attach(machine),
  namespace: (machine) => machines.namespace!(machine),
  silence: (id) => machines.silence!(id),
  detach: (id) => machines.detach(id),
  list: () => machines.list(),
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
await network.close()
nft.close()
