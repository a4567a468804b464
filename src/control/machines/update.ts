import { isoTime } from '../../base/clock.ts'
import { invalid } from '../../base/errors.ts'
import { ulid } from '../../base/ids.ts'
import { canonicalIp } from '../../base/ip.ts'
import { keys } from '../../model/keys.ts'
import type { MachineConfig } from '../../model/machine-config.ts'
import type { App, Machine } from '../../model/resources.ts'
import type { Op } from '../../store/store.ts'
import { appFor } from '../access.ts'
import type { Actor } from '../context.ts'
import { seatOf } from '../egress/law.ts'
import { regroupOps } from '../egress/machines.ts'
import type { AppEgress } from '../egress/records.ts'
import { finishEgressMoves } from '../egress/settle.ts'
import { type Read, readOne } from '../transact.ts'
import { METADATA_MAX, metadataProblems, parseMachineConfig } from './config.ts'
import type { MachineControl } from './context.ts'
import { type LaunchInput, requireArtifact, secretsVersionFor } from './create.ts'
import { endpointServices } from './ports.ts'
import {
  asking,
  changeMachine,
  changeRecord,
  groupOf,
  type MachineRecord,
  type MachineTarget,
  precondition,
  projectEndpoint,
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
  const record = await changeMachine(
    control,
    actor,
    input,
    { leased: true },
    async (current, read) => {
      const state = shownState(current.machine, current.status)
      if (state === 'destroying' || state === 'destroyed')
        throw precondition(`unable to update machine from current state: '${state}'`)
      refuseMoves(current.machine, input)
      refuseOtherTarget(current.machine, config)
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
        ops: await regrouped(control, read, app, current, changed),
      }
    },
  )
  return settled(control, record)
}

/** An egress address may be kept for one process group: who leaves or enters it moves. */
async function regrouped(
  control: MachineControl,
  read: Read,
  app: App,
  { machine, status }: MachineRecord,
  changed: Machine,
): Promise<Op[]> {
  if (groupOf(machine) === groupOf(changed)) return []
  const services = endpointServices(changed.config.services)
  const endpoint = projectEndpoint(changed, status, services, control.clock.now())
  return regroupOps(control, read, app, seatOf(endpoint))
}

/** The record once its egress is where its group wants it. */
async function settled(control: MachineControl, record: MachineRecord): Promise<MachineRecord> {
  const { machine } = record
  const set = await readOne<AppEgress>(control.store, keys.appEgress(machine.app))
  if (!set || !(machine.id in set.moves)) return record
  await finishEgressMoves(control, machine.app)
  const moved = await readOne<Machine>(control.store, keys.machine(machine.host, machine.id))
  return { ...record, machine: moved ?? machine }
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

/** What a machine may reach is decided when it is placed. */
function refuseOtherTarget({ id, testTarget }: Machine, { env }: MachineConfig): void {
  const wanted = env?.FLY_TEST_MACHINE_IP || null
  if (wanted === null || canonicalIp(wanted) === testTarget) return
  throw invalid(
    `config.env.FLY_TEST_MACHINE_IP: machine ${id} cannot come to test "${wanted}"; create a machine for it`,
  )
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
  const app = await appFor(control, actor, input.app)
  const record = await changeRecord(
    control,
    app,
    input,
    { leased: false },
    async (current, read) => {
      const { machine } = current
      const { [key]: before, ...others } = machine.config.metadata ?? {}
      if (before === (value ?? undefined)) return null
      const metadata = value === null ? others : { ...others, [key]: value }
      if (Object.keys(metadata).length > METADATA_MAX)
        throw invalid(`metadata.${key}: the machine already has ${METADATA_MAX} keys; remove one`)
      const updatedAt = isoTime(control.clock.now())
      const changed = { ...machine, config: { ...machine.config, metadata }, updatedAt }
      return { machine: changed, ops: await regrouped(control, read, app, current, changed) }
    },
  )
  return settled(control, record)
}
