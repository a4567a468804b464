import { invalid } from '../../base/errors.ts'
import { canonicalIp } from '../../base/ip.ts'
import { TEST_GROUP } from '../../model/fly-toml/test-machine.ts'
import { keys } from '../../model/keys.ts'
import type { MachineConfig } from '../../model/machine-config.ts'
import type { Endpoint } from '../../model/resources.ts'
import { readAll } from '../transact.ts'
import type { MachineControl } from './context.ts'
import { MACHINES_PER_APP_MAX } from './query.ts'

/** Variables that clients may give to the machines of TEST_GROUP alone (N17). */
export const TEST_ENV: ReadonlySet<string> = new Set(['FLY_TEST_COMMAND', 'FLY_TEST_MACHINE_IP'])

export const isTestMachine = ({
  metadata,
  env,
}: Pick<MachineConfig, 'metadata' | 'env'>): boolean =>
  (metadata?.fly_process_group ?? env?.FLY_PROCESS_GROUP) === TEST_GROUP

/** Where a machine check goes, and what it may reach there. */
export interface TestTarget {
  readonly v6: string
  readonly host: string
  readonly region: string
}

const NAME = 'config.env.FLY_TEST_MACHINE_IP'

/**
 * The machine that a machine check names: of the same app, or it would be a way past the firewall.
 * Undefined for all other machines.
 */
export async function testTargetOf(
  control: MachineControl,
  app: string,
  config: MachineConfig,
  region: string | undefined,
): Promise<TestTarget | undefined> {
  const text = config.env?.FLY_TEST_MACHINE_IP
  if (!text || !isTestMachine(config)) return undefined
  const v6 = canonicalIp(text)
  const prefix = keys.endpoint(app, '')
  const endpoints = await readAll<Endpoint>(control.store, prefix, MACHINES_PER_APP_MAX)
  const found = endpoints.find(({ value }) => canonicalIp(value.v6) === v6)?.value
  if (!found || v6 === undefined) {
    throw invalid(
      `${NAME}: "${text}" is not the private address of a machine of app "${app}"; ` +
        'take private_ip of the machine to test',
    )
  }
  if (region && region !== found.region) {
    throw invalid(
      `region: machine ${found.machine}, which is to be tested, is in "${found.region}", not in ` +
        `"${region}"; leave the region out`,
    )
  }
  return { v6, host: found.host, region: found.region }
}
