/**
 * An error that a person will read. `code` is stable (docs/errors.md), `message` names the field,
 * the value and the fix, `status` is the HTTP status when an API answers with it.
 */
export class FairwayError extends Error {
  readonly code: string
  readonly status: number
  constructor(code: string, message: string, options: { status?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'FairwayError'
    this.code = code
    this.status = options.status ?? 422
  }
}

export const notFound = (what: string) => new FairwayError('not_found', what, { status: 404 })
export const invalid = (message: string) => new FairwayError('invalid', message, { status: 422 })
export const conflict = (message: string) => new FairwayError('conflict', message, { status: 409 })

/** Whether its text is for whoever called: what fails inside the store is for the log alone. */
export const isForCaller = (error: unknown): error is FairwayError =>
  error instanceof FairwayError && (error.code === 'store_busy' || !error.code.startsWith('store_'))

/** The text of anything that was thrown. */
export const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error)
