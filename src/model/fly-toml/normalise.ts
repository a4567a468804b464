import { shellWords } from './shell-words.ts'

/**
 * Turns the spellings that fly.toml has had over the years into today's (flyctl-api 7.2). What it does
 * not recognise it leaves alone: the schema then says what is wrong with it.
 */
export type Table = Record<string, unknown>

export const isTable = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** `ms` as a Go duration. */
export const goDuration = (ms: number): string => (ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`)

const list = (value: unknown): unknown => (isTable(value) ? [value] : value)

const each = (value: unknown, change: (table: Table) => Table): unknown =>
  Array.isArray(value) ? value.map((item) => (isTable(item) ? change(item) : item)) : value

const number = (value: unknown): unknown =>
  typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value

/** Applies changes to the keys that are there; drops those that become undefined. */
function withKeys(table: Table, changes: Record<string, (value: unknown) => unknown>): Table {
  const result: Table = { ...table }
  for (const [key, change] of Object.entries(changes)) {
    if (key in table) result[key] = change(table[key])
  }
  return result
}

/** Numbers are milliseconds in every check (S33), also where flyctl's code takes nanoseconds. */
const checkDuration = (value: unknown): unknown =>
  typeof value === 'number' ? goDuration(value) : value

function headers(value: unknown): unknown {
  if (!Array.isArray(value)) return value
  const pairs = value.map((item) =>
    isTable(item) ? [String(item.name), item.value ?? (item.values as unknown[])?.[0]] : undefined,
  )
  return pairs.some((pair) => pair === undefined)
    ? value
    : Object.fromEntries(pairs as [string, unknown][])
}

const check = (table: Table): Table =>
  withKeys(table, {
    interval: checkDuration,
    timeout: checkDuration,
    grace_period: checkDuration,
    port: number,
    headers,
  })

/** flyctl once took a line where it now takes words. */
const machineChecks = (value: unknown): unknown =>
  each(list(value), (table) =>
    withKeys(table, { command: words, entrypoint: words, kill_timeout: seconds }),
  )

/** `"20,25"` is soft and hard limit of type requests. */
function concurrency(value: unknown): unknown {
  const match = typeof value === 'string' ? /^\s*(\d+)\s*,\s*(\d+)\s*$/.exec(value) : null
  if (!match) return value
  return { type: 'requests', soft_limit: Number(match[1]), hard_limit: Number(match[2]) }
}

const AUTOSTOP: Record<string, string> = { true: 'stop', false: 'off' }
const autostop = (value: unknown): unknown =>
  typeof value === 'boolean' ? AUTOSTOP[String(value)] : value

const port = (table: Table): Table =>
  withKeys(table, {
    port: number,
    start_port: number,
    end_port: number,
    handlers: (value) => (typeof value === 'string' ? [value] : value),
  })

const service = (table: Table): Table =>
  withKeys(table, {
    internal_port: number,
    concurrency,
    auto_stop_machines: autostop,
    ports: (value) => each(list(value), port),
    checks: (value) => each(list(value), check),
    tcp_checks: (value) => each(list(value), check),
    http_checks: (value) => each(list(value), check),
    machine_checks: machineChecks,
    processes: (value) => (typeof value === 'string' ? [value] : value),
  })

const words = (value: unknown): unknown => {
  if (typeof value !== 'string') return value
  const split = shellWords(value)
  return split.ok ? split.words : value
}

const env = (value: unknown): unknown =>
  isTable(value)
    ? Object.fromEntries(
        Object.entries(value).map(([name, v]) => [
          name,
          typeof v === 'number' || typeof v === 'boolean' ? String(v) : v,
        ]),
      )
    : value

/** Old names of sections; the first that is there wins. */
const SECTION_NAMES: readonly (readonly [string, readonly string[]])[] = [
  ['vm', ['compute', 'computes']],
  ['mounts', ['mount']],
  ['metrics', ['metric']],
]

function renameSections(source: Table): Table {
  const result = { ...source }
  for (const [name, olds] of SECTION_NAMES) {
    for (const old of olds) {
      if (!(old in result)) continue
      result[name] ??= result[old]
      delete result[old]
    }
  }
  return result
}

/** A bare number is one of seconds. */
function seconds(value: unknown): unknown {
  const count = number(value)
  return typeof count === 'number' ? `${count}s` : value
}

export function normalise(source: Table): Table {
  return withKeys(renameSections(source), {
    kill_timeout: seconds,
    env,
    deploy: (value) =>
      isTable(value)
        ? withKeys(value, { release_command_timeout: seconds, wait_timeout: seconds })
        : value,
    http_service: (value) => (isTable(value) ? service(value) : value),
    services: (value) => each(list(value), service),
    checks: (value) =>
      isTable(value)
        ? Object.fromEntries(
            Object.entries(value).map(([name, c]) => [name, isTable(c) ? check(c) : c]),
          )
        : value,
    machine_checks: machineChecks,
    vm: list,
    restart: list,
    mounts: list,
    metrics: list,
    files: list,
    statics: list,
    experimental: (value) =>
      isTable(value) ? withKeys(value, { cmd: words, entrypoint: words, exec: words }) : value,
  })
}
