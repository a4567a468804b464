import type { Command } from 'commander'
import { memoryMb, namedSize } from '../model/fly-toml/guest.ts'
import { shellWords } from '../model/fly-toml/shell-words.ts'
import { DEFAULT_GUEST, type MachineConfig } from '../model/machine-config.ts'
import { usage } from './errors.ts'
import { keyValues } from './key-values.ts'
import { booleanFlag, repeated } from './options.ts'
import { parsePortFlag, withPorts } from './ports.ts'

/** Flags of `machine run`, `create` and `update` that change a machine's config. */
export interface MachineFlags {
  readonly env?: readonly string[]
  readonly port?: readonly string[]
  readonly metadata?: readonly string[]
  readonly autostart?: string | boolean
  readonly autostop?: string | boolean
  readonly restart?: string
  readonly vmSize?: string
  readonly vmMemory?: string
  readonly vmCpus?: string
  readonly vmCpuKind?: string
  readonly killSignal?: string
  readonly killTimeout?: string
  readonly command?: string
  readonly rm?: boolean
}

export const withMachineFlags = (command: Command): Command =>
  command
    .option('-e, --env <NAME=VALUE>', 'variable', repeated)
    .option('-p, --port <mapping>', 'edge[:internal][/proto[:handler...]]', repeated)
    .option('-m, --metadata <NAME=VALUE>', 'metadata; an empty value removes', repeated)
    .option('--autostart [bool]', 'start on a request')
    .option('--autostop [how]', 'off, stop or suspend when idle')
    .option('--restart <policy>', 'no, on-failure or always')
    .option('--vm-size <name>', 'such as shared-cpu-1x')
    .option('--vm-memory <size>', 'such as 512mb')
    .option('--vm-cpus <n>', 'number of CPUs')
    .option('--vm-cpu-kind <kind>', 'shared or performance')
    .option('--kill-signal <name>', 'signal that asks the process to end')
    .option('--kill-timeout <seconds>', 'how long it may take to')
    .option('--command <line>', 'command to run')
    .option('--rm', 'destroy it when it ends; run waits and ends with its exit code')

/** The config with the flags applied; what no flag names stays. */
export function applyFlags(base: MachineConfig, flags: MachineFlags): MachineConfig {
  const services = servicesWith(base, flags)
  return {
    ...base,
    ...(flags.env && { env: { ...base.env, ...keyValues(flags.env, '--env') } }),
    ...(flags.metadata && { metadata: metadataWith(base, flags.metadata) }),
    ...(services && { services }),
    ...(flags.restart && { restart: { ...base.restart, policy: restartPolicy(flags.restart) } }),
    ...(flags.rm !== undefined && { auto_destroy: flags.rm }),
    ...(flags.command !== undefined && { init: { ...base.init, cmd: words(flags.command) } }),
    guest: guestWith(base.guest ?? DEFAULT_GUEST, flags),
    ...stopWith(base, flags),
  }
}

const AUTOSTOP: Record<string, boolean | 'suspend'> = {
  true: true,
  stop: true,
  false: false,
  off: false,
  suspend: 'suspend',
}

function servicesWith(base: MachineConfig, flags: MachineFlags): MachineConfig['services'] {
  const { port, autostart, autostop } = flags
  if (!port && autostart === undefined && autostop === undefined) return undefined
  const services = withPorts(base.services ?? [], (port ?? []).map(parsePortFlag))
  const stop = autostop === undefined ? undefined : AUTOSTOP[String(autostop)]
  if (autostop !== undefined && stop === undefined) {
    throw usage(`--autostop "${autostop}" is not known. Use off, stop or suspend.`)
  }
  return services.map((service) => ({
    ...service,
    ...(autostart !== undefined && { autostart: booleanFlag(autostart) }),
    ...(stop !== undefined && { autostop: stop }),
  }))
}

function metadataWith(base: MachineConfig, items: readonly string[]): Record<string, string> {
  const merged = { ...base.metadata, ...keyValues(items, '--metadata') }
  return Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== ''))
}

function restartPolicy(text: string): 'no' | 'on-failure' | 'always' {
  if (text === 'no' || text === 'never') return 'no'
  if (text === 'on-failure' || text === 'on-fail') return 'on-failure'
  if (text === 'always') return 'always'
  throw usage(`--restart "${text}" is not a policy. Use no, on-failure or always.`)
}

function words(line: string): string[] {
  const split = shellWords(line)
  if (split.ok && split.words.length > 0) return [...split.words]
  throw usage(`--command "${line}" is not a command; check its quotes.`)
}

function guestWith(base: MachineConfig['guest'], flags: MachineFlags): MachineConfig['guest'] {
  const size = flags.vmSize === undefined ? undefined : namedSize(flags.vmSize)
  if (flags.vmSize !== undefined && !size) {
    throw usage(`--vm-size "${flags.vmSize}" is not a size. Use one such as shared-cpu-1x.`)
  }
  const memory = flags.vmMemory === undefined ? undefined : memoryMb(flags.vmMemory)
  if (flags.vmMemory !== undefined && !memory) {
    throw usage(`--vm-memory "${flags.vmMemory}" is no amount of memory. Use 512mb or 1gb.`)
  }
  const cpus = flags.vmCpus === undefined ? undefined : Number(flags.vmCpus)
  if (cpus !== undefined && !(Number.isInteger(cpus) && cpus >= 1)) {
    throw usage(`--vm-cpus "${flags.vmCpus}" is not a number of CPUs.`)
  }
  return {
    ...base,
    ...size,
    ...(memory && { memory_mb: memory }),
    ...(cpus && { cpus }),
    ...(flags.vmCpuKind && { cpu_kind: flags.vmCpuKind }),
  }
}

function stopWith(base: MachineConfig, flags: MachineFlags): Partial<MachineConfig> {
  if (flags.killSignal === undefined && flags.killTimeout === undefined) return {}
  const timeout = flags.killTimeout
  return {
    stop_config: {
      ...base.stop_config,
      ...(flags.killSignal && { signal: flags.killSignal }),
      ...(timeout && { timeout: /^\d+$/.test(timeout) ? `${timeout}s` : timeout }),
    },
  }
}
