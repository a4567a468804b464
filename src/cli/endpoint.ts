import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { FairwayError, messageOf } from '../base/errors.ts'
import type { Io } from './io.ts'

/** Which API to talk to, and as whom. */
export interface Endpoint {
  /** Base URLs without a slash at the end. */
  readonly graphql: string
  readonly machines: string
  readonly uiex: string
  readonly token: string
  /** For messages: where the token came from. */
  readonly tokenSource: string
  /** Loopback port that leads to the apps, where the API is that of a world on this machine. */
  readonly appsPort: number | undefined
}

/** What `up` writes for the CLI, in the world's state directory. */
const WorldFile = z.looseObject({
  apiUrl: z.url(),
  token: z.string().min(1),
  appsPort: z.number().int().optional(),
})
type WorldFile = z.infer<typeof WorldFile>

const WORLD_FILE_BYTES_MAX = 64 * 1024

export const stateDir = (env: Io['env']): string =>
  env.FAIRWAY_STATE || join(env.XDG_STATE_HOME || join(homedir(), '.local/state'), 'fairway')

/**
 * The environment first, as flyctl does (flyctl-api 1.1); else the world that runs on this machine.
 * One URL given stands for all three: one listener serves them.
 */
export function resolveEndpoint(env: Io['env'], tokenFlag: string | undefined): Endpoint {
  const given = [env.FLY_API_BASE_URL, env.FLY_FLAPS_BASE_URL, env.FLY_UIEX_BASE_URL]
  const first = given.find((url) => url)
  const world = readWorldFile(join(stateDir(env), 'cli.json'))
  const base = first ?? world?.apiUrl
  if (!base) throw noWorld()
  const url = (text: string | undefined) => (text || base).replace(/\/+$/, '')
  const token = tokenOf(env, tokenFlag, first ? undefined : world)
  if (!token) {
    const fix = `Set FLY_API_TOKEN to a token of ${base}, or give --access-token.`
    throw new FairwayError('no_token', `No token for ${base}. ${fix}`)
  }
  return {
    graphql: url(env.FLY_API_BASE_URL),
    machines: url(env.FLY_FLAPS_BASE_URL),
    uiex: url(env.FLY_UIEX_BASE_URL),
    token: token.value,
    tokenSource: token.source,
    appsPort: first ? undefined : world?.appsPort,
  }
}

/** A world's token goes to that world alone, so it is no fallback for a URL of the environment. */
function tokenOf(env: Io['env'], flag: string | undefined, world: WorldFile | undefined) {
  const candidates = [
    ['--access-token', flag],
    ['FLY_ACCESS_TOKEN', env.FLY_ACCESS_TOKEN],
    ['FLY_API_TOKEN', env.FLY_API_TOKEN],
    ['the running world', world?.token],
  ] as const
  const found = candidates.find(([, value]) => value)
  if (!found) return undefined
  return { source: found[0], value: found[1]!.replace(/^(Bearer|FlyV1) /, '').trim() }
}

function readWorldFile(path: string): WorldFile | undefined {
  let text: string
  try {
    text = readFileSync(path, 'utf8').slice(0, WORLD_FILE_BYTES_MAX)
  } catch {
    return undefined
  }
  try {
    return WorldFile.parse(JSON.parse(text))
  } catch (cause) {
    const why = messageOf(cause)
    const fix = 'Run `npm run up` to write it anew.'
    throw new FairwayError('bad_world_file', `${path} cannot be read (${why}). ${fix}`, { cause })
  }
}

const noWorld = () =>
  new FairwayError(
    'no_world',
    'No Fairway to talk to: no world runs on this machine and FLY_API_BASE_URL is not set. ' +
      'Run `npm run up` first.',
  )
