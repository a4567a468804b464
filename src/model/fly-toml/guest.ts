import { DEFAULT_GUEST } from '../machine-config.ts'
import { DEFAULT_GROUP } from './groups.ts'
import type { AppConfig, Vm } from './schema.ts'

export interface GuestSize {
  readonly cpu_kind: string
  readonly cpus: number
  readonly memory_mb: number
}

/** Memory that comes with each CPU of a named size. */
const MEMORY_MB_PER_CPU: Record<string, number> = { shared: 256, performance: 2048 }
const CPUS: Record<string, readonly number[]> = {
  shared: [1, 2, 4, 6, 8],
  performance: [1, 2, 4, 8, 16, 32, 64, 128],
}

/** `shared-cpu-2x`, `performance-4x`; undefined when there is no such size. */
export function namedSize(name: string): GuestSize | undefined {
  const match = /^(?:(shared)-cpu|(performance))-(\d+)x$/.exec(name)
  const kind = match?.[1] ?? match?.[2]
  const cpus = Number(match?.[3])
  if (!kind || !CPUS[kind]!.includes(cpus)) return undefined
  return { cpu_kind: kind, cpus, memory_mb: cpus * MEMORY_MB_PER_CPU[kind]! }
}

const UNIT_MB: Record<string, number> = { '': 1, m: 1, mb: 1, mib: 1, g: 1024, gb: 1024, gib: 1024 }

/** `512`, `"512mb"`, `"1gb"` in MiB; undefined when it is no amount of memory. */
export function memoryMb(value: string | number): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(String(value))
  const unit = UNIT_MB[match?.[2]?.toLowerCase() ?? '?']
  if (!match || unit === undefined) return undefined
  const mb = Number(match[1]) * unit
  return Number.isInteger(mb) ? mb : undefined
}

/** The guest of a group: its own [[vm]], else the one without `processes`, else the default. */
export function guestOf(config: AppConfig, group: string): GuestSize {
  const vms = config.vm ?? []
  const vm = vms.find((v) => v.processes?.includes(group)) ?? vms.find((v) => !v.processes?.length)
  return vm ? guestOfVm(vm) : DEFAULT_GUEST
}

export function guestOfVm(vm: Vm): GuestSize {
  const base = (vm.size === undefined ? undefined : namedSize(vm.size)) ?? DEFAULT_GUEST
  const cpuKind = vm.cpu_kind ?? base.cpu_kind
  const cpus = vm.cpus ?? base.cpus
  const perCpu = MEMORY_MB_PER_CPU[cpuKind] ?? MEMORY_MB_PER_CPU.shared!
  const given = vm.memory_mb ?? (vm.memory === undefined ? undefined : memoryMb(vm.memory))
  const resized = vm.cpus !== undefined || vm.cpu_kind !== undefined
  const memory = given ?? (resized ? Math.max(base.memory_mb, cpus * perCpu) : base.memory_mb)
  return { cpu_kind: cpuKind, cpus, memory_mb: memory }
}

/** Whether an app's sections may name this group. */
export const isGroup = (config: AppConfig, name: string): boolean =>
  config.processes ? name in config.processes : name === DEFAULT_GROUP
