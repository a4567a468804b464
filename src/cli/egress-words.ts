import { EGRESS_SLOT_PORTS } from '../model/resources.ts'
import type { ApiMachine } from './api-types.ts'
import type { EgressEffects, EgressHolder, EgressIp, EgressPin } from './egress-api.ts'
import { usage } from './errors.ts'
import type { Session } from './session.ts'

/** How egress is said to a person, and read from what one typed. */

/** `ports 3072-5119`; the first slot begins at 1, since there is no port 0. */
export function portsText(slot: number, count: number): string {
  const first = Math.max(1, slot * EGRESS_SLOT_PORTS)
  return `${first}-${(slot + count) * EGRESS_SLOT_PORTS - 1}`
}

/** Who may use it: `all machines`, `group web`, `machine m1`, `machine m1 (its own)`. */
export function usersText({ machine_id, pin }: EgressIp): string {
  if (machine_id) return `machine ${machine_id} (its own)`
  return pin ? pinText(pin) : 'all machines'
}

export const pinText = (pin: EgressPin): string =>
  'group' in pin ? `group ${pin.group}` : `machine ${pin.machine}`

export const regionsText = ({ region, regions }: EgressIp): string =>
  regions.length > 1 ? regions.join(',') : region

const NAMED_MAX = 3

/** `m1, m2, m3 +4`. */
export function machinesText(holders: readonly EgressHolder[]): string {
  return idsText(holders.filter((h) => h.state === 'use').flatMap((h) => h.id ?? []))
}

/** Each once, the first few by name. */
export function idsText(all: readonly string[]): string {
  const ids = [...new Set(all)]
  const more = ids.length > NAMED_MAX ? ` +${ids.length - NAMED_MAX}` : ''
  return ids.slice(0, NAMED_MAX).join(', ') + more
}

/** What a change did beside what was asked for; warnings go to stderr. */
export function sayEffects(session: Session, app: string, effects: EgressEffects): void {
  const { machines_moved: moved, machines_to_default: lost, waiting } = effects
  const elsewhere = moved.filter((id) => !lost.includes(id))
  if (elsewhere.length > 0) {
    session.print(`New connections of ${idsText(elsewhere)} leave from another source now.`)
  }
  if (lost.length > 0) {
    session.note(
      `Warning: new connections of ${idsText(lost)} of ${app} leave through addresses of their hosts now, which change.`,
    )
  }
  warnWaiting(session, waiting)
}

export function warnWaiting(session: Session, waiting: readonly string[]): void {
  if (waiting.length === 0) return
  session.note(`Warning: not in force yet on ${waiting.join(', ')}; it will be when they answer.`)
}

/** The addresses of one pair, v4 first. */
export const pairOf = (rows: readonly EgressIp[], id: string): readonly EgressIp[] =>
  rows.filter((row) => row.id === id).sort((a, b) => a.version - b.version)

/** `--group NAME` or `--machine ID`; undefined when neither is given. */
export function pinOf(flags: { group?: string; machine?: string }): EgressPin | undefined {
  if (flags.group !== undefined && flags.machine !== undefined) {
    throw usage('--group and --machine exclude each other. Give one of them.')
  }
  if (flags.group !== undefined) return { group: flags.group }
  return flags.machine === undefined ? undefined : { machine: flags.machine }
}

/** `iad,lhr` as a list; an error for none, an empty or a repeated one. */
export function regionList(text: string, field: string): readonly string[] {
  const codes = text.split(',').map((code) => code.trim())
  const wrong = codes.find((code) => !/^[a-z][a-z0-9-]*$/.test(code))
  if (wrong !== undefined) {
    throw usage(`${field} "${text}": "${wrong}" is no region code. Write them as iad,lhr.`)
  }
  if (new Set(codes).size !== codes.length) throw usage(`${field} "${text}" names a region twice.`)
  return codes
}

/** A whole number from `min` to `max`, as typed. */
export function wholeNumber(text: string, field: string, min: number, max: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (value >= min && value <= max) return value
  throw usage(`${field} "${text}" is not a whole number from ${min} to ${max}.`)
}

/** What a machine sends from, as rows of a list; none where the API does not say. */
export function egressLines({ egress }: ApiMachine): readonly (readonly [string, string])[] {
  if (!egress) return []
  const { v4, v6, slot, count, problem } = egress
  const fixed = v4 !== null || v6 !== null
  const ports = typeof slot === 'number' && typeof count === 'number' ? portsText(slot, count) : ''
  return [
    ['Egress IPv4', v4 ?? (fixed ? 'none' : "the host's")],
    ['Egress IPv6', v6 ?? (fixed ? 'none' : 'its own for now')],
    ...(fixed && ports ? [['Egress Ports', ports] as const] : []),
    ...(problem ? [['Egress Problem', problem] as const] : []),
  ]
}

/** Said of a machine whose packets are dropped rather than sent from another address. */
export const problemText = ({ id, egress }: ApiMachine): string | undefined =>
  egress?.problem
    ? `Machine ${id} reaches nothing outside: ${egress.problem}. Its packets are dropped rather than ` +
      'sent from another address.'
    : undefined
