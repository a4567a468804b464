import { parse as parseToml, TomlError } from 'smol-toml'
import type { z } from 'zod'
import { messageOf } from '../../base/errors.ts'
import { locate } from './locate.ts'
import { isTable, normalise, type Table } from './normalise.ts'
import { type Path, type Problem, pathText, shown } from './problem.ts'
import { AppConfig } from './schema.ts'
import { unknownKeys } from './unknown-keys.ts'

export type ParsedFlyToml =
  | { readonly ok: true; readonly config: AppConfig }
  | { readonly ok: false; readonly problems: readonly Problem[] }

/** A fly.toml is written by hand; what is larger is something else. */
export const FLY_TOML_BYTES_MAX = 1024 * 1024
const INLINE_DEPTH_MAX = 32

export interface ParseOptions {
  /** Unknown keys are errors (S47). */
  readonly strict?: boolean
  readonly format?: 'toml' | 'json'
}

/** Reads a fly.toml (or its JSON form) into today's spelling, types checked; see validate.ts. */
export function parseFlyToml(text: string, options: ParseOptions = {}): ParsedFlyToml {
  if (Buffer.byteLength(text) > FLY_TOML_BYTES_MAX) {
    return fail({ message: `larger than ${FLY_TOML_BYTES_MAX} bytes`, fix: 'Shorten it.' })
  }
  const read = options.format === 'json' ? readJson(text) : readToml(text)
  if ('problem' in read) return fail(read.problem)
  const table = normalise(read.table)
  const parsed = AppConfig.safeParse(table)
  if (!parsed.success) {
    return {
      ok: false,
      problems: parsed.error.issues.map((issue) => typeProblem(issue, table, text)),
    }
  }
  const unknown = options.strict ? unknownKeys(AppConfig, table) : []
  if (unknown.length > 0)
    return { ok: false, problems: unknown.map((p) => unknownProblem(p, text)) }
  return { ok: true, config: parsed.data }
}

type FileProblem = Pick<Problem, 'message' | 'fix' | 'line'>
const fail = (problem: FileProblem): ParsedFlyToml => ({
  ok: false,
  problems: [{ severity: 'error', path: '', ...problem }],
})

function readToml(text: string): { table: Table } | { problem: FileProblem } {
  try {
    return { table: parseToml(text, { maxDepth: INLINE_DEPTH_MAX, unsafeKeyBehaviour: 'throw' }) }
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    const [what = 'not valid TOML'] = error.message
      .replace(/^Invalid TOML document: /, '')
      .split('\n')
    return {
      problem: {
        message: `not valid TOML at column ${error.column}: ${what}`,
        fix: 'Correct the line; https://toml.io has the format.',
        line: error.line,
      },
    }
  }
}

function readJson(text: string): { table: Table } | { problem: FileProblem } {
  try {
    const value: unknown = JSON.parse(text)
    if (isTable(value)) return { table: value }
    return { problem: { message: 'not a JSON object', fix: 'Use the keys of fly.toml.' } }
  } catch (error) {
    return { problem: { message: messageOf(error), fix: 'Correct the JSON.' } }
  }
}

const at = (root: unknown, path: Path): unknown =>
  path.reduce<unknown>(
    (value, key) => (value as Record<string | number, unknown> | undefined)?.[key],
    root,
  )

/** What to write instead, by the type that the schema wants. */
const TYPE_FIX: Record<string, string> = {
  string: 'Write a text in quotes.',
  number: 'Write a number without quotes.',
  int: 'Write a whole number without quotes.',
  boolean: 'Write true or false, without quotes.',
  array: 'Write a list in brackets, such as ["app"].',
  object: 'Write a table.',
  record: 'Write a table of names and values.',
}

function typeProblem(issue: z.core.$ZodIssue, table: Table, text: string): Problem {
  const path = issue.path as Path
  const line = locate(text, path)
  const value = at(table, path)
  const base = { severity: 'error', path: pathText(path), ...(line && { line }) } as const
  if (issue.code === 'invalid_type') {
    const fix = TYPE_FIX[issue.expected] ?? `Write a ${issue.expected}.`
    if (value === undefined) return { ...base, message: 'is missing', fix }
    return { ...base, message: `${shown(value)} is not of type ${issue.expected}`, fix }
  }
  if (issue.code === 'invalid_value') {
    const fix = `Use one of ${issue.values.map((v) => shown(v)).join(', ')}.`
    return { ...base, message: `${shown(value)} is not known`, fix }
  }
  return { ...base, message: `${shown(value)}: ${issue.message}`, fix: 'Change the value.' }
}

function unknownProblem(path: Path, text: string): Problem {
  const line = locate(text, path)
  return {
    severity: 'error',
    path: pathText(path),
    message: 'unknown key',
    fix: 'Remove it or correct its spelling, or leave out --strict.',
    ...(line && { line }),
  }
}
