import type { Machine } from '../model/resources.ts'
import type { Prepared } from './prepare.ts'
import type { MachineRecord } from './record.ts'
import type { WorkerHost } from './worker-host.ts'

/** `wanted`: the network is kept, the sandbox is to be made. `over`: both are to be taken away. */
export type StandbyState = 'none' | 'wanted' | 'made' | 'over'

/**
 * The sandbox of a machine that is down, made ahead of its next start, which then only has to let
 * the program run. It waits before the first instruction, in a namespace whose packets the host's
 * firewall drops until then. Whatever is odd about it, a start without it does.
 */
export class Standby {
  readonly #id: string
  readonly #host: WorkerHost
  readonly #wake: () => void
  #state: StandbyState = 'none'
  /** What the sandbox was made from. */
  #key = ''

  constructor(host: WorkerHost, id: string, wake: () => void) {
    this.#host = host
    this.#id = id
    this.#wake = wake
  }

  get state(): StandbyState {
    return this.#state
  }

  /** The machine has come to rest. False when it is not to stand by, and keeps nothing. */
  want(machine: Machine): boolean {
    if (!standsBy(machine)) return false
    if (this.#state === 'made' && this.#key === keyOf(machine)) return true
    const entered = this.#host.standbys.enter(this.#id, {
      wake: this.#wake,
      lost: () => this.end(),
    })
    if (entered) this.#state = 'wanted'
    return entered
  }

  /** It has died, or lost its place, or the machine is another. */
  end(): void {
    if (this.#state === 'none') return
    this.#state = 'over'
    this.#wake()
  }

  /** Makes the sandbox; false when it is not its turn. `save` keeps the bundle's stamp. */
  make(
    record: MachineRecord,
    save: (change: Pick<MachineRecord, 'bundle'>) => Promise<void>,
  ): Promise<boolean> {
    const { standbys, runtime } = this.#host
    return standbys.make(this.#id, async () => {
      try {
        const prepared: Prepared = await this.#host.prepare(record.machine, record)
        if (prepared.record.bundle !== record.bundle) await save({ bundle: prepared.record.bundle })
        await runtime.create({ id: this.#id, folder: this.#host.folder(this.#id) })
        await prepared.inForce
        await this.#host.silence(this.#id)
        this.#key = keyOf(record.machine)
        if (this.#state === 'wanted') this.#state = 'made'
      } catch (error) {
        this.end()
        throw error
      }
    })
  }

  /** Whether the sandbox is there and as this machine needs it; nobody else counts on it then. */
  take(machine: Machine): boolean {
    if (this.#state !== 'made' || this.#key !== keyOf(machine)) return false
    this.#leave()
    return true
  }

  /** Takes the sandbox away, if any. */
  async drop(): Promise<void> {
    if (this.#state === 'none') return
    this.#state = 'over'
    await this.#host.runtime.delete(this.#id)
    this.#leave()
  }

  #leave(): void {
    this.#state = 'none'
    this.#host.standbys.leave(this.#id)
  }
}

/** Of machines that end by themselves, those with services are wanted again: by a request. */
const standsBy = ({ config, desired }: Machine): boolean =>
  !config.auto_destroy && (desired === 'stopped' || (config.services?.length ?? 0) > 0)

/** What a bundle and a network are made from. */
const keyOf = ({ instanceId, secretsVersion, v4, v6, networkId, egress }: Machine): string =>
  JSON.stringify([instanceId, secretsVersion, v4, v6, networkId, egress])
