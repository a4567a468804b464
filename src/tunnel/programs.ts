import { spawn } from 'node:child_process'
import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { codeOf, textOf } from './failure.ts'

/** What an ordinary user's PATH may leave out, and where the tools are that we run. */
const SYSTEM_PATH = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin']

export type Found =
  | { readonly t: 'found'; readonly path: string }
  | { readonly t: 'missing' }
  | { readonly t: 'forbidden' }

/** Looks a command up as a shell does. */
export function findCommand(name: string, path: string = process.env.PATH ?? ''): Found {
  const candidates = name.includes('/')
    ? [name]
    : path.split(delimiter).map((folder) => join(folder || '.', name))
  let isForbidden = false
  for (const candidate of candidates) {
    try {
      if (!statSync(candidate).isFile()) continue
      accessSync(candidate, constants.X_OK)
      return { t: 'found', path: candidate }
    } catch (error) {
      isForbidden ||= codeOf(error) === 'EACCES'
    }
  }
  return { t: isForbidden ? 'forbidden' : 'missing' }
}

/** The path of a tool that the tunnel itself uses, or undefined. */
export function tool(name: string): string | undefined {
  const found = findCommand(name, [...SYSTEM_PATH, process.env.PATH ?? ''].join(delimiter))
  return found.t === 'found' ? found.path : undefined
}

export interface Tried {
  readonly ok: boolean
  readonly stdout: string
  /** What it said, in one line, when it failed. */
  readonly why: string
}

const OUTPUT_MAX = 65_536
const TOOL_MS = 10_000

/** Runs a tool to its end. Never rejects. */
export function tryTool(argv: readonly string[], input = ''): Promise<Tried> {
  const [file = '', ...args] = argv
  const child = spawn(file, args, { timeout: TOOL_MS, killSignal: 'SIGKILL' })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (text) => {
    if (stdout.length < OUTPUT_MAX) stdout += text
  })
  child.stderr.on('data', (text) => {
    if (stderr.length < OUTPUT_MAX) stderr += text
  })
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  return new Promise((resolve) => {
    child.on('error', (error) => resolve({ ok: false, stdout, why: textOf(error) }))
    child.on('close', (code, signal) => {
      const said = stderr.trim().split('\n').join('; ')
      const why = said || `${file} ended with ${signal ?? code}`
      resolve({ ok: code === 0, stdout, why: code === 0 ? '' : why })
    })
  })
}
