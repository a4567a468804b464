import assert from 'node:assert/strict'
import type { z } from 'zod'
import type { AnswerChecks } from '../../src/api/openapi/testing.ts'

/**
 * Replays what a client sends for a command, in its order, and looks at each answer: status, fields,
 * their types and values. `<name>` in a path, a header or a body is a value that was kept before.
 */
export interface Step {
  /** As flyctl's wire is described: `VIEWER`, `GET machines`. */
  readonly name: string
  readonly method: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
  /** 200 when it is not given. */
  readonly status?: number
  /** Also refuses keys that it does not name, where it is strict. Absent: any body, or none. */
  readonly answer?: z.ZodType
  /** Values for later steps: name, and where they are in the answer (`data.app.id`, `0.id`). */
  readonly keep?: Readonly<Record<string, string>>
  /** Values that must be what was kept of them before. */
  readonly same?: Readonly<Record<string, string>>
  /** The client asks again until the answer fits, as it does while checks are not passing. */
  readonly polls?: boolean
}

export interface Sequence {
  /** The command that a person gives. */
  readonly command: string
  readonly steps: readonly Step[]
}

export interface Target {
  readonly url: string
  readonly token: string
  readonly checks: AnswerChecks
}

export type Values = Record<string, string>

const STEP_TIMEOUT_MS = 70_000
const POLL_MS = 250
const POLLS_MAX = 400

export async function replay(target: Target, sequence: Sequence, values: Values): Promise<void> {
  for (const [i, step] of sequence.steps.entries()) {
    const where = `${sequence.command}, step ${i + 1} (${step.name})`
    for (let asked = 1; ; asked++) {
      const problem = await take(target, step, values).catch((error: Error) => error)
      if (!problem) break
      if (!step.polls || asked >= POLLS_MAX) throw new Error(`${where}: ${problem.message}`)
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
  }
}

/** Undefined when the answer is as it should be. */
async function take(target: Target, step: Step, values: Values): Promise<Error | undefined> {
  const path = filled(step.path, values)
  const body = step.body === undefined ? undefined : filled(JSON.stringify(step.body), values)
  const response = await fetch(`${target.url}${path}`, {
    method: step.method,
    signal: AbortSignal.timeout(STEP_TIMEOUT_MS),
    headers: {
      authorization: `Bearer ${target.token}`,
      'user-agent': 'flyctl/0.4.87 (interactive=false; parent=shell)',
      'fly-client-interactive': 'false',
      // The second REST API's client says so even when it sends none.
      ...(body || path.startsWith('/api/') ? { 'content-type': 'application/json' } : {}),
      ...JSON.parse(filled(JSON.stringify(step.headers ?? {}), values)),
    },
    ...(body === undefined ? {} : { body }),
  })
  const text = await response.text()
  const contentType = response.headers.get('content-type') ?? undefined
  const { method } = step
  target.checks.check({ method, path, status: response.status, contentType, text })
  const shown = `${response.status} ${text.slice(0, 2_000)}`
  if (response.status !== (step.status ?? 200)) return new Error(`status: ${shown}`)
  const json: unknown = text === '' ? undefined : JSON.parse(text)
  const seen = step.answer?.safeParse(json)
  if (seen && !seen.success) {
    const issues = seen.error.issues.map((one) => `${one.path.join('.')}: ${one.message}`)
    return new Error(`${issues.join('; ')} in ${shown}`)
  }
  for (const [name, at] of Object.entries(step.same ?? {}))
    assert.equal(valueAt(json, at), values[name], `${at} in ${shown}`)
  for (const [name, at] of Object.entries(step.keep ?? {})) {
    const value = valueAt(json, at)
    assert.ok(value !== undefined && value !== null, `${at} is not in ${shown}`)
    values[name] = String(value)
  }
  return undefined
}

const valueAt = (json: unknown, at: string): unknown =>
  at.split('.').reduce<unknown>((inside, key) => (inside as Values | undefined)?.[key], json)

function filled(text: string, values: Values): string {
  return text.replace(/<(\w+)>/g, (_, name: string) => {
    assert.ok(values[name] !== undefined, `nothing was kept as ${name}`)
    return values[name]
  })
}
