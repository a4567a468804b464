import type { MachineControl } from '../control/machines/context.ts'
import type { AgentCalls } from './agent-calls.ts'
import type { ControlMetrics } from './metrics.ts'

/** What the API's routes work with. */
export interface ApiContext extends MachineControl {
  readonly calls: AgentCalls
  readonly metrics: ControlMetrics
}
