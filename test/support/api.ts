import type { TestWorld } from './world.ts'

const CALL_MS_MAX = 60_000

export class ApiError extends Error {
  readonly status: number
  constructor(status: number, text: string) {
    super(`${status} ${text}`)
    this.status = status
  }
}

/** Calls the API of a world as its operator; throws `ApiError`, or fetch's own error when it is away. */
export async function api<T>(
  world: TestWorld,
  method: string,
  path: string,
  body?: object,
): Promise<T> {
  const response = await fetch(`http://127.0.0.1:${world.apiPort}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${world.token}`,
      ...(body ? { 'content-type': 'application/json' } : {}),
    },
    body: body ? JSON.stringify(body) : null,
    signal: AbortSignal.timeout(CALL_MS_MAX),
  })
  const text = await response.text()
  if (!response.ok) throw new ApiError(response.status, text)
  return (text ? JSON.parse(text) : undefined) as T
}

export interface ApiMachine {
  readonly id: string
  readonly state: string
  readonly region: string
  readonly private_ip: string
  readonly config: { readonly image: string }
  readonly events: readonly {
    readonly type: string
    readonly request?: { readonly exit_event?: { readonly exit_code: number } }
  }[]
}

/** The exit code of a machine that ran once; undefined while there is none. */
export const exitCodeOf = (machine: ApiMachine): number | undefined =>
  machine.events.find((event) => event.type === 'exit')?.request?.exit_event?.exit_code
