import assert from 'node:assert/strict'
import { type FakeApi, type Run, runAgainst } from './testing.ts'
import { type FakeState, fakeWorld } from './testing-world.ts'

/** Runs command lines, each against a fresh fake; `-a hello` unless the line says otherwise. */

export interface CommandOptions {
  readonly state?: Partial<FakeState>
  readonly stdin?: string
  /** Changes the fake's answers. */
  readonly api?: (api: FakeApi) => void
}

export async function run(
  line: string,
  options: CommandOptions = {},
): Promise<Run & { api: FakeApi; state: FakeState }> {
  const { api, state } = await fakeWorld(options.state)
  options.api?.(api)
  try {
    const args = line.split(' ')
    const result = await runAgainst(api, args, {
      ...(options.stdin !== undefined && { stdin: options.stdin }),
      env: line.includes(' -a ') ? {} : { FLY_APP: 'hello' },
    })
    return { ...result, api, state }
  } finally {
    await api.close()
  }
}

/** The same, for a command that must succeed. */
export async function ok(...args: Parameters<typeof run>) {
  const result = await run(...args)
  assert.equal(result.code, 0, result.stderr)
  return result
}

/** The same, for one that must fail with this text, having changed nothing. */
export async function refused(line: string, text: RegExp, options: CommandOptions = {}) {
  const result = await run(line, options)
  assert.equal(result.code, 1, `${line}: ${result.stdout}`)
  assert.match(result.stderr, text)
  const changes = result.api.requests.filter(({ method, path, body }) => {
    if (path === '/graphql') return /^\s*mutation/.test((body as { query: string }).query)
    return method !== 'GET' && method !== 'HEAD'
  })
  return { ...result, changes }
}

export const json = async (line: string, state?: Partial<FakeState>) =>
  JSON.parse((await ok(`${line} --json`, state ? { state } : {})).stdout)
