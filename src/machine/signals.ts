import { constants } from 'node:os'
import { invalid } from '../base/errors.ts'

/** A9, X9: the signal that asks a machine to stop, when its config names none. */
export const DEFAULT_STOP_SIGNAL = 'SIGINT'

/**
 * The signal's name with its SIG prefix, from `SIGTERM`, `term` or `15`. Throws `invalid` for one
 * that the kernel does not know.
 */
export function signalName(text: string): NodeJS.Signals {
  const name = lookUp(text)
  if (name) return name
  throw invalid(`signal "${text}" is unknown: use a name such as SIGTERM`)
}

export const isSignal = (text: string): boolean => lookUp(text) !== undefined

function lookUp(text: string): NodeJS.Signals | undefined {
  const signals: Readonly<Record<string, number>> = constants.signals
  const names = Object.keys(signals) as NodeJS.Signals[]
  if (/^\d+$/.test(text)) return names.find((name) => signals[name] === Number(text))
  const upper = text.toUpperCase()
  return names.find((name) => name === upper || name === `SIG${upper}`)
}

/** The name of a signal's number, for log lines; the number itself when it has none. */
export function signalOf(number: number): string {
  const entry = Object.entries(constants.signals).find(([, value]) => value === number)
  return entry ? entry[0] : String(number)
}
