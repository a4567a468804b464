/** Codes that an error page and the app's log carry (docs/errors.md; rows L9, L14). */
export const CODES = {
  PR01: 'no machine of the app is started and healthy',
  PR02: 'the machine was gone when the request came to its host',
  PR03: 'no machine could take the request',
  PR04: 'no machine of the app can take the request',
  PC01: 'the app refused the connection on its port',
  PC03: 'the app reset the connection',
  PC04: 'the connection to the app was aborted',
  PC05: 'connecting to the app took too long',
  PC06: 'connecting to the app failed',
  PU02: 'the app closed or broke the exchange before it had answered',
  PU03: 'the host of the machine could not be reached',
  PL01: 'more connections than the service allows (rate_limit)',
  PL02: 'more requests than the service allows (rate_limit)',
} as const
export type ErrorCode = keyof typeof CODES

export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(CODES, code)

/** What a code means, and in this case. */
export function textOf(code: string, detail: string): string {
  const what = isErrorCode(code) ? CODES[code] : detail
  return detail === '' || what === detail ? what : `${what}: ${detail}`
}

export const ALL_FULL = 'all are at their hard limit'
export const TOO_MANY_WAIT = 'all are at their hard limit, and too many requests wait already'
export const NONE_SERVES = 'none is started, healthy and not cordoned'
export const NO_ANSWER = 'the app did not answer in time'
