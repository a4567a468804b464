import { FairwayError } from '../base/errors.ts'

/** Exit codes of flyctl (flyctl-api 2.4). */
export const EXIT = { ok: 0, error: 1, deadline: 126, cancelled: 127 } as const

export const usage = (message: string) => new FairwayError('usage', message)

export const deadline = (message: string) => new FairwayError('deadline', message)

export const cancelled = () => new FairwayError('cancelled', 'Cancelled.')

/** A command that ran elsewhere ended so; the CLI ends with the same code and says no more. */
export class CommandEnd extends Error {
  readonly exitCode: number
  constructor(exitCode: number) {
    super(`exit code ${exitCode}`)
    this.name = 'CommandEnd'
    this.exitCode = exitCode
  }
}

export function exitCodeOf(error: unknown): number {
  const code = error instanceof FairwayError ? error.code : ''
  if (code === 'deadline') return EXIT.deadline
  if (code === 'cancelled') return EXIT.cancelled
  return EXIT.error
}

/** An answer of the API that is not a success. */
export class ApiError extends FairwayError {
  readonly requestId: string | undefined
  constructor(
    message: string,
    options: { status: number; code?: string | undefined; requestId?: string | undefined },
  ) {
    super(options.code || `http_${options.status}`, message, { status: options.status })
    this.name = 'ApiError'
    this.requestId = options.requestId
  }
}

export const isNotFound = (error: unknown): boolean =>
  error instanceof FairwayError && error.status === 404
