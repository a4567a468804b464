import { isoTime } from '../../base/clock.ts'
import { keys } from '../../model/keys.ts'
import { HOST_INDEX_MAX, type Host } from '../../model/resources.ts'
import { HOST_LEASE_MS } from '../../model/wire.ts'
import type { Control } from '../context.ts'
import { put, readAll, readOne, transact } from '../transact.ts'

/** WireGuard public keys: base64 of 32 bytes. */
const MESH_KEY = /^[A-Za-z0-9+/]{43}=$/

/**
 * Which hosts report. A host is live while its lease is; the lease's id is found again from the
 * store after a restart of the control plane, so that nobody flaps because of it.
 */
export class HostLiveness {
  readonly #control: Control
  readonly #leases = new Map<string, string>()

  constructor(control: Control) {
    this.#control = control
  }

  /** A sign of life: keeps the host live for HOST_LEASE_MS more. */
  async renew(host: string): Promise<void> {
    const { leases } = this.#control.store
    const lease = this.#leases.get(host) ?? (await this.#stored(host))
    if (lease !== undefined && (await leases.renew(lease))) {
      this.#leases.set(host, lease)
      return
    }
    const fresh = await leases.grant(HOST_LEASE_MS)
    const live = { id: host, since: isoTime(this.#control.clock.now()) }
    await this.#control.store.txn({
      then: [{ put: keys.hostLive(host), value: JSON.stringify(live), lease: fresh }],
    })
    this.#leases.set(host, fresh)
    this.#control.log.info({ host }, 'host is live')
  }

  async #stored(host: string): Promise<string | undefined> {
    return (await this.#control.store.get(keys.hostLive(host)))?.lease
  }
}

/** Keeps the public key of the host's end of the mesh, as the host itself said it. */
export async function rememberMeshKey(
  control: Control,
  host: string,
  meshPublicKey: string,
): Promise<void> {
  if (!MESH_KEY.test(meshPublicKey)) return
  const known = await readOne<Host>(control.store, keys.host(host))
  if (!known || known.meshPublicKey === meshPublicKey) return
  const hosts = await readAll<Host>(control.store, 'host/', HOST_INDEX_MAX)
  const owner = hosts.find(({ value }) => value.meshPublicKey === meshPublicKey)?.value.id
  if (owner !== undefined) {
    // Peers are told apart by their keys: two hosts with one would take each other's traffic.
    control.log.warn({ host, owner }, 'mesh key of host is another host’s; not taken')
    return
  }
  await transact(control, async (read) => {
    const current = await read.get<Host>(keys.host(host))
    if (!current || current.meshPublicKey === meshPublicKey) return { ops: [], result: undefined }
    return { ops: [put(keys.host(host), { ...current, meshPublicKey })], result: undefined }
  })
  control.log.info({ host }, 'mesh key of host changed')
}
