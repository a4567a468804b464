import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  type Destination,
  type Mapping,
  parseDestination,
  parseDestinations,
  parseMapping,
} from './destinations.ts'
import { codeOf, TunnelError, textOf } from './failure.ts'
import { type Flags, MODES, type Mode } from './flags.ts'
import { type OutboundProxy, parseProxyUrl } from './proxy-url.ts'

export interface Settings {
  readonly proxy: OutboundProxy
  /** Where the proxy's URL stood. */
  readonly proxyFrom: string
  readonly mappings: readonly Mapping[]
  readonly destinations: readonly Destination[]
  /** Carry every connection, not only those to `destinations`. */
  readonly everything: boolean
  readonly mode: Mode
  readonly verbose: boolean
}

type Environment = Readonly<Record<string, string | undefined>>

export const SETTINGS_FILE = 'fairway-tunnel.json'
const FILE_MAX_BYTES = 65_536
const PROXY_VARIABLES = ['FAIRWAY_OUTBOUND_URL', 'QUOTAGUARDSTATIC_URL']
/** What other programs use for HTTP: taken only when nothing says more. */
const COMMON_VARIABLES = ['HTTPS_PROXY', 'https_proxy']

/** Flags go before environment, environment before the file. What is carried is not mixed of two. */
export function readSettings(flags: Flags, env: Environment, folder: string): Settings {
  const file = readSettingsFile(flags.config, folder)
  const proxy = findProxy(flags, env, file)
  const carried = findCarried(flags, env, file)
  const everything =
    carried.everything || (carried.mappings.length === 0 && carried.destinations.length === 0)
  const mode = flags.mode ?? file.mode ?? 'auto'
  if (mode === 'ports' && (everything || carried.destinations.length > 0))
    throw new TunnelError(
      '--mode ports carries mapped ports only; give --map, and neither --to nor --all',
    )
  if (mode === 'names' && everything)
    throw new TunnelError('--mode names needs the names; give --to host:port')
  return {
    ...proxy,
    ...carried,
    everything,
    mode,
    verbose: flags.verbose || file.verbose === true || isTrue(env.QGTUNNEL_DEBUG),
  }
}

type Carried = Pick<Settings, 'mappings' | 'destinations' | 'everything'>

function findCarried(flags: Flags, env: Environment, file: SettingsFile): Carried {
  if (flags.all || flags.map.length > 0 || flags.to.length > 0)
    return {
      mappings: flags.map.map((text) => parseMapping(text, '--map')),
      destinations: flags.to.map((text) => parseDestination(text, '--to')),
      everything: flags.all,
    }
  const listed = env.QGTUNNEL_DESTINATIONS
  if (listed?.trim())
    return {
      mappings: [],
      destinations: parseDestinations(listed, 'QGTUNNEL_DESTINATIONS'),
      everything: false,
    }
  return {
    mappings: (file.map ?? []).map((text) => parseMapping(text, `${SETTINGS_FILE}: map`)),
    destinations: (file.to ?? []).map((text) => parseDestination(text, `${SETTINGS_FILE}: to`)),
    everything: file.all === true,
  }
}

function findProxy(
  flags: Flags,
  env: Environment,
  file: SettingsFile,
): Pick<Settings, 'proxy' | 'proxyFrom'> {
  const found =
    first([['--proxy', flags.proxy]]) ??
    first(PROXY_VARIABLES.map((name) => [name, env[name]])) ??
    first([[`${SETTINGS_FILE}: proxy`, file.proxy]]) ??
    first(COMMON_VARIABLES.map((name) => [name, env[name]]))
  if (!found)
    throw new TunnelError(
      `no proxy: set ${PROXY_VARIABLES[0]} to its URL (fairway outbound create gives one), or give --proxy`,
    )
  const [proxyFrom, url] = found
  return { proxy: parseProxyUrl(url, proxyFrom), proxyFrom }
}

const first = (
  places: readonly (readonly [from: string, url: string | undefined])[],
): readonly [from: string, url: string] | undefined => {
  for (const [from, url] of places) if (url?.trim()) return [from, url.trim()]
  return undefined
}

const isTrue = (text: string | undefined): boolean => /^(1|true|yes)$/i.test(text ?? '')

/** The file's content: JSON, since that needs no library. */
interface SettingsFile {
  readonly proxy?: string
  readonly map?: readonly string[]
  readonly to?: readonly string[]
  readonly all?: boolean
  readonly mode?: Mode
  readonly verbose?: boolean
}

const isText = (value: unknown): boolean => typeof value === 'string'
const isTexts = (value: unknown): boolean => Array.isArray(value) && value.every(isText)
const isFlag = (value: unknown): boolean => typeof value === 'boolean'

const FIELDS: Readonly<
  Record<keyof SettingsFile, readonly [is: (value: unknown) => boolean, what: string]>
> = {
  proxy: [isText, 'a URL'],
  map: [isTexts, 'a list of "[listen:]port:host:port"'],
  to: [isTexts, 'a list of "host:port"'],
  all: [isFlag, 'true or false'],
  mode: [(value) => MODES.includes(value as Mode), `one of ${MODES.join(', ')}`],
  verbose: [isFlag, 'true or false'],
}

/** `path`, else the file in `folder` if there is one. */
function readSettingsFile(path: string | undefined, folder: string): SettingsFile {
  const from = path ?? join(folder, SETTINGS_FILE)
  let text: string
  try {
    text = readFileSync(from, 'utf8')
  } catch (error) {
    if (path === undefined && codeOf(error) === 'ENOENT') return {}
    throw new TunnelError(`${from}: cannot be read (${codeOf(error) ?? textOf(error)})`)
  }
  return parseSettingsFile(text, from)
}

/** Exact: a key that is not known, or a value of another kind, is an error that names it. */
export function parseSettingsFile(text: string, from: string): SettingsFile {
  if (text.length > FILE_MAX_BYTES)
    throw new TunnelError(`${from}: larger than ${FILE_MAX_BYTES} bytes`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // Not the parser's message, which quotes the text: it may hold the proxy's password.
    throw new TunnelError(`${from}: not JSON`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new TunnelError(`${from}: must be an object, such as {"to": ["db.example.com:5432"]}`)
  for (const [key, field] of Object.entries(value)) {
    const known = Object.hasOwn(FIELDS, key) ? FIELDS[key as keyof SettingsFile] : undefined
    if (!known)
      throw new TunnelError(
        `${from}: unknown key ${key}; there are ${Object.keys(FIELDS).join(', ')}`,
      )
    const [is, what] = known
    if (!is(field)) throw new TunnelError(`${from}: ${key} must be ${what}`)
  }
  return value as SettingsFile
}
