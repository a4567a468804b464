import { randomBytes } from 'node:crypto'
import { FairwayError, invalid, notFound } from '../../base/errors.ts'
import { keys } from '../../model/keys.ts'
import type { Machine, MachineLease } from '../../model/resources.ts'
import { appFor } from '../access.ts'
import type { Actor } from '../context.ts'
import { del, put, readOne, transact } from '../transact.ts'
import type { MachineControl } from './context.ts'
import {
  belongs,
  leaseInForce,
  type MachineLocation,
  type MachineTarget,
  machineNotFound,
  refuseForeignLease,
} from './records.ts'

/**
 * Leases of machines, by which one client keeps others from changing a machine while it works on it.
 * A lease that has run out is simply not in force any more; its key is overwritten by the next one.
 */

export const LEASE_TTL_DEFAULT_S = 120
export const LEASE_TTL_MAX_S = 86_400
const DESCRIPTION_LENGTH_MAX = 256

export interface LeaseGrant {
  readonly lease: MachineLease
  /** The machine's version, so that a client knows whether what it read is current. */
  readonly instanceId: string
}

export function newLease(
  control: MachineControl,
  actor: Actor,
  ttlS: number,
  description = '',
): MachineLease {
  if (!Number.isInteger(ttlS) || ttlS < 1 || ttlS > LEASE_TTL_MAX_S)
    throw invalid(`ttl: ${ttlS} is not a number of seconds from 1 to ${LEASE_TTL_MAX_S}`)
  return {
    nonce: randomBytes(16).toString('hex'),
    owner: actor.token.user.email,
    description: description.slice(0, DESCRIPTION_LENGTH_MAX),
    expiresAtMs: control.clock.now() + ttlS * 1_000,
  }
}

/**
 * Takes the machine's lease, or with the nonce of the one in force renews it under the same nonce. A
 * nonce whose lease is over is refused (404): its holder has to hear that others may have come between.
 */
export async function acquireLease(
  control: MachineControl,
  actor: Actor,
  input: MachineTarget & {
    readonly ttlS?: number | undefined
    readonly description?: string | undefined
  },
): Promise<LeaseGrant> {
  const fresh = newLease(control, actor, input.ttlS ?? LEASE_TTL_DEFAULT_S, input.description)
  const at = await locate(control, actor, input)
  const { result } = await transact(control, async (read) => {
    const key = keys.lease(input.machine)
    const held = leaseInForce(control, await read.get<MachineLease>(key))
    refuseForeignLease(control, held, input.nonce)
    if (!held && input.nonce) throw leaseOver()
    const lease = held ? { ...held, expiresAtMs: fresh.expiresAtMs } : fresh
    // Only while the machine is there, or its lease would outlive it.
    const machine = await read.get<{ instanceId: string }>(keys.machine(at.host, input.machine))
    if (!machine) throw machineNotFound(input.machine)
    return { ops: [put(key, lease)], result: { lease, instanceId: machine.instanceId } }
  })
  return result
}

export async function getLease(
  control: MachineControl,
  actor: Actor,
  input: MachineTarget,
): Promise<LeaseGrant> {
  const at = await locate(control, actor, input)
  const [lease, machine] = await Promise.all([
    readOne<MachineLease>(control.store, keys.lease(input.machine)),
    readOne<{ instanceId: string }>(control.store, keys.machine(at.host, input.machine)),
  ])
  const held = leaseInForce(control, lease)
  if (!held || !machine) throw leaseNotFound()
  return { lease: held, instanceId: machine.instanceId }
}

/** Ends the lease whose nonce the caller shows. */
export async function releaseLease(
  control: MachineControl,
  actor: Actor,
  input: MachineTarget,
): Promise<void> {
  await locate(control, actor, input)
  await transact(control, async (read) => {
    const key = keys.lease(input.machine)
    const held = leaseInForce(control, await read.get<MachineLease>(key))
    if (!held) throw leaseNotFound()
    refuseForeignLease(control, held, input.nonce)
    return { ops: [del(key)], result: undefined }
  })
}

/** A destroyed machine has no lease; the text is one that clients look for. */
async function locate(
  control: MachineControl,
  actor: Actor,
  input: MachineTarget,
): Promise<MachineLocation> {
  const app = await appFor(control, actor, input.app)
  const at = await readOne<MachineLocation>(control.store, keys.machineId(input.machine))
  const machine =
    at && (await readOne<Machine>(control.store, keys.machine(at.host, input.machine)))
  if (machine && belongs(machine, app)) return at
  throw new FairwayError('not_found', `machine not found, so lease not found: "${input.machine}"`, {
    status: 404,
  })
}

const leaseOver = (): FairwayError =>
  notFound(
    'lease not found: the one with this nonce has run out or was given back; take a new one without a nonce',
  )

const leaseNotFound = (): FairwayError => notFound('lease not found: nobody holds this machine now')
