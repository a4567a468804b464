import { isoTime } from '../../base/clock.ts'
import { invalid } from '../../base/errors.ts'
import { ulid } from '../../base/ids.ts'
import type { Machine } from '../../model/resources.ts'
import { appFor } from '../access.ts'
import type { Actor } from '../context.ts'
import { METADATA_MAX, metadataProblems, parseMachineConfig } from './config.ts'
import type { MachineControl } from './context.ts'
import { type LaunchInput, requireArtifact, secretsVersionFor } from './create.ts'
import {
  asking,
  changeMachine,
  type MachineRecord,
  type MachineTarget,
  precondition,
  userEvent,
} from './records.ts'
import { shownState } from './state.ts'

/**
 * Gives a machine another config: a new version on the same host, launched at once unless
 * `skip_launch`.
 */
export async function updateMachine(
  control: MachineControl,
  actor: Actor,
  input: MachineTarget & LaunchInput,
): Promise<MachineRecord> {
  const config = parseMachineConfig(input.config)
  const app = await appFor(control, actor, input.app)
  const [secretsVersion] = await Promise.all([
    secretsVersionFor(control, app.name, input),
    requireArtifact(control, app, config),
  ])
  return changeMachine(control, actor, input, { leased: true }, (current) => {
    const state = shownState(current.machine, current.status)
    if (state === 'destroying' || state === 'destroyed')
      throw precondition(`unable to update machine from current state: '${state}'`)
    refuseMoves(current.machine, input)
    const neverStarted = current.machine.desired === 'created'
    const desired = input.skip_launch ? (neverStarted ? 'created' : 'stopped') : 'started'
    const changed: Machine = {
      ...current.machine,
      config,
      secretsVersion,
      instanceId: ulid(control.clock.now()),
      cordoned: input.skip_service_registration || current.machine.cordoned,
    }
    return {
      machine: asking(control, changed, desired),
      event: userEvent(control.clock.now(), 'update', 'replacing'),
    }
  })
}

function refuseMoves(machine: Machine, input: LaunchInput): void {
  if (input.region && input.region !== machine.region) {
    throw invalid(
      `region: machine ${machine.id} is in "${machine.region}" and cannot move to "${input.region}"; create one there and destroy this one`,
    )
  }
  if (input.name && input.name !== machine.name)
    throw invalid(`name: machine ${machine.id} is "${machine.name}"; a name cannot be changed`)
}

/** Sets (string) or removes (null) one key of the metadata, without a restart or a new version. */
export async function setMetadata(
  control: MachineControl,
  actor: Actor,
  input: MachineTarget & { readonly key: string; readonly value: string | null },
): Promise<MachineRecord> {
  const { key, value } = input
  const [problem] = metadataProblems({ [key]: value ?? '' })
  if (problem) throw invalid(`${problem.field}: ${problem.message}`)
  return changeMachine(control, actor, input, { leased: false }, ({ machine }) => {
    const { [key]: before, ...others } = machine.config.metadata ?? {}
    if (before === (value ?? undefined)) return null
    const metadata = value === null ? others : { ...others, [key]: value }
    if (Object.keys(metadata).length > METADATA_MAX)
      throw invalid(`metadata.${key}: the machine already has ${METADATA_MAX} keys; remove one`)
    const updatedAt = isoTime(control.clock.now())
    return { machine: { ...machine, config: { ...machine.config, metadata }, updatedAt } }
  })
}
