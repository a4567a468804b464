import type { MachineConfig } from '../model/machine-config.ts'
import type { LogLine } from '../model/wire.ts'
import { signalOfCode } from './events.ts'
import { type RestartPlan, retriesMax } from './restart.ts'
import type { SandboxExit } from './runtime.ts'
import { signalOf } from './signals.ts'

/** What an app's log says of an exit. */
export function exitLines(
  exit: SandboxExit,
  plan: RestartPlan,
  config: MachineConfig,
): (readonly [level: LogLine['level'], message: string])[] {
  const signal = signalOfCode(exit.code)
  const how = signal < 0 ? `normally with code: ${exit.code}` : `with signal ${signalOf(signal)}`
  const lines: [LogLine['level'], string][] = [
    [exit.code === 0 ? 'info' : 'warn', `Main child exited ${how}`],
  ]
  if (exit.oomKilled) lines.push(['error', 'Out of memory: the kernel killed the process'])
  if (plan.exhausted)
    lines.push(['error', `Machine has reached its max restart count of ${retriesMax(config)}`])
  if (plan.delayMs !== null) lines.push(['info', `Machine restarts in ${plan.delayMs}ms`])
  return lines
}
