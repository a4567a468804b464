import type { Command } from 'commander'
import type { Io } from '../io.ts'
import { type GlobalOptions, Session } from '../session.ts'
import { LOOKUPS } from './sources.ts'
import { type Candidate, type Wanted, wantedAt } from './wanted.ts'

/**
 * What the shells' scripts ask for: a line that says how to go on (`words`, `list` where no space
 * follows, or `files`), then a candidate a line, its description after a tab.
 */

/** Somebody waits with a finger on the key. */
export const LOOKUP_TIMEOUT_MS = 2_000
export const CANDIDATES_MAX = 500
/** Others are not offered: a shell would put them on the line as they are. */
const PLAIN = /^[\w@%+:,./-]+$/
const DESCRIPTION_CHARS_MAX = 80

export async function completionOf(
  program: Command,
  io: Io,
  words: readonly string[],
): Promise<string> {
  const wanted = wantedAt(program, words)
  if (wanted.source === 'files') return 'files\n'
  const { before, typed, isList } = wanted
  const lines = (await lookedUp(wanted, io))
    .filter(({ value }) => value.startsWith(typed) && PLAIN.test(value))
    .slice(0, CANDIDATES_MAX)
    .map(({ value, description }) => `${before}${value}\t${shown(description)}\n`)
  return `${isList ? 'list' : 'words'}\n${lines.join('')}`
}

async function lookedUp(wanted: Wanted, io: Io): Promise<readonly Candidate[]> {
  const { source, candidates, given } = wanted
  if (!source || source === 'files') return candidates
  const signal = AbortSignal.any([io.signal, AbortSignal.timeout(LOOKUP_TIMEOUT_MS)])
  const quiet = { ...io, signal, env: { ...io.env, FLY_VERBOSE: '' } }
  try {
    return await LOOKUPS[source](new Session(quiet, optionsOf(given)))
  } catch {
    // Nobody asked for an error in the middle of a line: there is nothing to offer.
    return []
  }
}

const optionsOf = ({ app, org, config, accessToken }: Wanted['given']): GlobalOptions => ({
  ...(app ? { app } : {}),
  ...(org ? { org } : {}),
  ...(config ? { config } : {}),
  ...(accessToken ? { accessToken } : {}),
})

/** Without what a terminal would obey. */
const shown = (description: string): string =>
  description.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ').slice(0, DESCRIPTION_CHARS_MAX)
