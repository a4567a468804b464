import { memoryMb, namedSize } from './guest.ts'
import { type Path, shown } from './problem.ts'
import { checkGroups, type Report } from './report.ts'
import type { AppConfig, Vm } from './schema.ts'

export function checkVm(config: AppConfig, report: Report): void {
  for (const [i, vm] of (config.vm ?? []).entries()) {
    const path = ['vm', i]
    checkGroups(config, [...path, 'processes'], vm.processes, report)
    checkSize(path, vm, report)
  }
}

export function checkSize(path: Path, vm: Vm, report: Report): void {
  if (vm.size !== undefined && !namedSize(vm.size)) {
    const fix = 'Use shared-cpu-1x, -2x, -4x, -6x, -8x or performance-1x ... -128x.'
    report.error([...path, 'size'], `${shown(vm.size)} is not a size`, fix)
  }
  if (vm.memory !== undefined && !(memoryMb(vm.memory) ?? 0)) {
    const fix = 'Use megabytes or a unit, such as "512mb" or "1gb".'
    report.error([...path, 'memory'], `${shown(vm.memory)} is no amount of memory`, fix)
  }
  if (vm.cpus !== undefined && (vm.cpus < 1 || vm.cpus > 128)) {
    report.error([...path, 'cpus'], `${vm.cpus} is out of range`, 'Use 1 to 128.')
  }
}
