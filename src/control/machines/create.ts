import { isoTime } from '../../base/clock.ts'
import { conflict, FairwayError } from '../../base/errors.ts'
import { machineId, machineName, ulid } from '../../base/ids.ts'
import { keys } from '../../model/keys.ts'
import type { MachineConfig } from '../../model/machine-config.ts'
import type {
  App,
  AppSecrets,
  Machine,
  MachineLease,
  MachineStatus,
} from '../../model/resources.ts'
import type { Op } from '../../store/store.ts'
import { appNotFound, mayAct } from '../access.ts'
import { artifactOf } from '../artifacts.ts'
import type { Actor } from '../context.ts'
import { seatOf } from '../egress/law.ts'
import { claimBlock } from '../egress/machines.ts'
import { egressLane } from '../egress/records.ts'
import type { SlotClaim } from '../fleet.ts'
import { put, type Read, readOne, transact } from '../transact.ts'
import { machineV4, machineV6 } from './addresses.ts'
import { parseMachineConfig } from './config.ts'
import type { MachineControl } from './context.ts'
import { parseImage } from './image.ts'
import { newLease } from './leases.ts'
import { endpointServices } from './ports.ts'
import { mayBeShown } from './query.ts'
import { type MachineRecord, precondition, projectEndpoint, userEvent } from './records.ts'
import { testTargetOf } from './test-target.ts'

/** The Machines API's launch request, as it came. */
export interface LaunchInput {
  readonly config: unknown
  readonly region?: string | undefined
  readonly name?: string | undefined
  readonly skip_launch?: boolean | undefined
  readonly skip_service_registration?: boolean | undefined
  readonly skip_secrets?: boolean | undefined
  readonly min_secrets_version?: number | undefined
  readonly lease_ttl?: number | undefined
}

const CREATE_ATTEMPTS_MAX = 16
const MACHINE_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/

/**
 * Makes a machine on a live host of the region. One transaction claims its slot (and with it its
 * addresses), its id and its name, and writes the record that the host follows.
 */
export async function createMachine(
  control: MachineControl,
  actor: Actor,
  input: LaunchInput & { readonly app: string },
): Promise<MachineRecord> {
  const config = parseMachineConfig(input.config)
  if (input.name) checkMachineName(input.name)
  for (let attempt = 0; attempt < CREATE_ATTEMPTS_MAX; attempt++) {
    const app = await appWithRevision(control, actor, input.app)
    const [secretsVersion] = await Promise.all([
      secretsVersionFor(control, app.value.name, input),
      requireArtifact(control, app.value, config),
    ])
    const target = await testTargetOf(control, app.value.name, config, input.region)
    const region = target?.region ?? (input.region || defaultRegion(control, config))
    const lease = input.lease_ttl ? newLease(control, actor, input.lease_ttl) : undefined
    // From here on nothing may fail before `commit`, which settles the claim.
    const claim = control.fleet.claim(region, app.value.name, target?.host)
    const name = input.name || machineName()
    const draft = draftMachine(control, {
      app: app.value,
      config,
      name,
      claim,
      input,
      secretsVersion,
      testTarget: target?.v6 ?? null,
    })
    const outcome = await commit(control, app, draft, lease, claim)
    if (outcome) return outcome
    if (input.name) await refuseTakenName(control, app.value, input.name)
  }
  throw conflict('others keep changing the same app at the same time; try again')
}

/** Where a machine goes that names no region: the app's primary one, else the first with a live host. */
export function defaultRegion(control: MachineControl, config: MachineConfig): string {
  const primary = config.env?.PRIMARY_REGION
  if (primary) return primary
  const live = new Set(control.fleet.liveRegions())
  const codes = control.config.regions.map((region) => region.code)
  return codes.find((code) => live.has(code)) ?? codes[0] ?? ''
}

/** The version of the app's secrets that a launch gets; 0 is none. */
export async function secretsVersionFor(
  control: MachineControl,
  app: string,
  input: Pick<LaunchInput, 'skip_secrets' | 'min_secrets_version'>,
): Promise<number> {
  if (input.skip_secrets) return 0
  const secrets = await readOne<AppSecrets>(control.store, keys.secrets(app))
  const version = secrets?.version ?? 0
  if ((input.min_secrets_version ?? 0) <= version) return version
  throw precondition(
    `min_secrets_version: ${input.min_secrets_version} is newer than the app's secrets, which are at ${version}; set them first`,
  )
}

/** An image must be an artifact of the app that the control plane has. */
export async function requireArtifact(
  control: MachineControl,
  app: App,
  config: MachineConfig,
): Promise<void> {
  const { digestHex } = parseImage(config.image, app.name)
  if (await artifactOf(control, app.name, digestHex)) return
  throw new FairwayError(
    'image_not_found',
    `config.image: app "${app.name}" has no artifact sha256:${digestHex}; deploy it with "fairway deploy", or upload it to /v1/apps/${app.name}/artifacts`,
  )
}

interface Draft {
  readonly machine: Machine
  readonly status: MachineStatus
}

interface DraftInput {
  readonly app: App
  readonly config: MachineConfig
  readonly name: string
  readonly claim: SlotClaim
  readonly input: LaunchInput
  readonly secretsVersion: number
  readonly testTarget: string | null
}

function draftMachine(control: MachineControl, given: DraftInput): Draft {
  const { app, claim, input } = given
  const nowMs = control.clock.now()
  const now = isoTime(nowMs)
  const machine: Machine = {
    id: machineId(),
    name: given.name,
    app: app.name,
    org: app.org,
    networkId: app.networkId,
    host: claim.host.id,
    region: claim.host.region,
    v4: machineV4(claim.host.index, claim.slot),
    v6: machineV6(app.networkId, claim.host.index, claim.slot),
    instanceId: ulid(nowMs),
    config: given.config,
    desired: input.skip_launch ? 'created' : 'started',
    // A machine that is only created asks nothing of its host.
    generation: input.skip_launch ? 0 : 1,
    action: null,
    cordoned: input.skip_service_registration ?? false,
    secretsVersion: given.secretsVersion,
    egress: null,
    testTarget: given.testTarget,
    createdAt: now,
    updatedAt: now,
  }
  const status: MachineStatus = {
    machine: machine.id,
    app: app.name,
    instanceId: machine.instanceId,
    generation: 0,
    state: 'created',
    checks: [],
    events: [userEvent(nowMs, 'launch', 'created')],
    egressProblem: null,
    updatedAt: now,
  }
  return { machine, status }
}

interface Versioned<T> {
  readonly value: T
  readonly modRevision: number
}

async function appWithRevision(
  control: MachineControl,
  actor: Actor,
  name: string,
): Promise<Versioned<App>> {
  const kv = await control.store.get(keys.app(name))
  const value = kv && (JSON.parse(kv.value) as App)
  if (!kv || !value || !mayAct(actor, value.org)) throw appNotFound(name)
  return { value, modRevision: kv.modRevision }
}

/** Undefined: something else changed meanwhile, decide anew. */
async function commit(
  control: MachineControl,
  app: Versioned<App>,
  draft: Draft,
  lease: MachineLease | undefined,
  claim: SlotClaim,
): Promise<MachineRecord | undefined> {
  const { name } = app.value
  let outcome: 'taken' | 'free' = 'free'
  try {
    // Those of one app take their blocks of its egress addresses one after the other.
    const lane = (await control.store.get(keys.appEgress(name))) ? { lane: egressLane(name) } : {}
    const plan = (read: Read) => planCreate(control, read, app, draft, lease, claim)
    const { result } = await transact(control, plan, lane)
    if (result !== 'again') outcome = 'taken'
    return typeof result === 'string' ? undefined : result
  } finally {
    claim.settle(outcome)
  }
}

/** `taken`: another one has the slot. `again`: the app, the name or the id is not as it was. */
async function planCreate(
  control: MachineControl,
  read: Read,
  app: Versioned<App>,
  draft: Draft,
  lease: MachineLease | undefined,
  claim: SlotClaim,
): Promise<{ ops: Op[]; result: MachineRecord | 'taken' | 'again' }> {
  const { status } = draft
  const { id, name } = draft.machine
  const appKey = keys.app(app.value.name)
  const slotKey = keys.slot(claim.host.id, claim.slot)
  const nameKey = keys.machineName(app.value.name, name)
  const [, slot, ...names] = await Promise.all(
    [appKey, slotKey, nameKey, keys.machineId(id)].map((key) => read.get(key)),
  )
  if (slot !== undefined) return { ops: [], result: 'taken' }
  const isSame = read.revisionOf(appKey) === app.modRevision
  if (!isSame || names.some((taken) => taken !== undefined)) return { ops: [], result: 'again' }
  const services = endpointServices(draft.machine.config.services)
  const endpoint = projectEndpoint(draft.machine, status, services, control.clock.now())
  const block = await claimBlock(control, read, app.value, seatOf(endpoint))
  const machine: Machine = { ...draft.machine, egress: block.egress }
  const ops: Op[] = [
    put(slotKey, { app: machine.app, machine: id }),
    put(nameKey, id),
    put(keys.machineId(id), { app: machine.app, host: machine.host }),
    put(keys.machine(machine.host, id), machine),
    put(keys.status(id), status),
    put(keys.endpoint(machine.app, id), endpoint),
    ...(lease ? [put(keys.lease(id), lease)] : []),
    ...block.ops,
  ]
  return { ops, result: { machine, status, endpoint, lease } }
}
function checkMachineName(name: string): void {
  if (MACHINE_NAME.test(name)) return
  const message = `name: "${name}" is not usable; 1 to 63 letters, digits and any of _ . -`
  throw new FairwayError('invalid', message)
}

async function refuseTakenName(control: MachineControl, app: App, name: string): Promise<void> {
  const id = await readOne<string>(control.store, keys.machineName(app.name, name))
  if (id === undefined) return
  // One of an older app of the name is no business of this one's.
  const holder = (await mayBeShown(control, app, id))
    ? `machine ID ${id} already exists`
    : 'a machine that is still being taken away exists'
  throw new FairwayError(
    'already_exists',
    `already_exists: unique machine name violation, ${holder} with name "${name}"; choose another name`,
    { status: 409 },
  )
}
