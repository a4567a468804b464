import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  EVENTS_MAX,
  type Machine,
  type MachineEvent,
  type MachineState,
} from '../model/resources.ts'

/**
 * What the host has done with a machine, kept in its folder. With the runtime's own state it says
 * everything that a new agent has to know. Replaced whole, never edited.
 */
export interface MachineRecord {
  readonly version: 1
  /** The machine as it was last acted upon. */
  readonly machine: Machine
  readonly state: MachineState
  /** The last generation that was brought to rest; -1 before the first. */
  readonly generation: number
  /** A generation whose stop is done and whose start is not: a restart is not begun twice. */
  readonly stoppedFor: number | null
  /** The sandbox that exists, as far as was noted. */
  readonly run: MachineRun | null
  readonly bundle: BundleStamp | null
  /** Automatic restarts since the machine last ran well, or was asked to start. */
  readonly restarts: number
  /** A start to come by itself; void once another generation is asked for. */
  readonly retry: { readonly atMs: number; readonly generation: number } | null
  /** Oldest first, at most EVENTS_MAX. */
  readonly events: readonly MachineEvent[]
}

export interface MachineRun {
  readonly instanceId: string
  /** Null from before the sandbox is made until its program runs. */
  readonly startedAtMs: number | null
  readonly stopRequested: boolean
}

/** From what the bundle on disk was made; an equal stamp means that it can start again as it is. */
export interface BundleStamp {
  readonly version: number
  readonly instanceId: string
  readonly secretsVersion: number
  readonly artifact: string
  /** In the environment: a machine whose source has changed starts from a new bundle. */
  readonly publicIp: string
  /** Name of the copy of the host's files that it mounts. */
  readonly system: string
}

export const newRecord = (machine: Machine): MachineRecord => ({
  version: 1,
  machine,
  state: 'created',
  generation: -1,
  stoppedFor: null,
  run: null,
  bundle: null,
  restarts: 0,
  retry: null,
  events: [],
})

export const withEvents = (
  record: MachineRecord,
  events: readonly MachineEvent[],
): MachineRecord => ({ ...record, events: [...record.events, ...events].slice(-EVENTS_MAX) })

const FILE = 'record.json'

/** Undefined when there is none, or none that can be read: the host then starts over with it. */
export async function readRecord(folder: string): Promise<MachineRecord | undefined> {
  try {
    const record = JSON.parse(await readFile(join(folder, FILE), 'utf8')) as MachineRecord
    return record.version === 1 && typeof record.machine?.id === 'string' ? record : undefined
  } catch {
    return undefined
  }
}

export async function writeRecord(folder: string, record: MachineRecord): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const temporary = join(folder, `${FILE}.new`)
  await writeFile(temporary, JSON.stringify(record), { mode: 0o600 })
  await rename(temporary, join(folder, FILE))
}
