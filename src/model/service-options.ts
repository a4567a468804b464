import { z } from 'zod'
import { durationMs, parseDuration } from './duration.ts'

/**
 * What a service may ask for beyond Fly's formats: the table `fairway` of a service, in fly.toml as in a
 * machine's config. Off unless it is there.
 */
const Rate = z.looseObject({ requests_per_second: z.number(), burst: z.number().optional() })
export type Rate = z.infer<typeof Rate>

export const ServiceExtension = z.looseObject({
  rate_limit: z
    .looseObject({ per_source: Rate.optional(), per_service: Rate.optional() })
    .optional(),
  slow_start: z.string().optional(),
  sticky: z.looseObject({ cookie: z.string().optional(), ttl: z.string().optional() }).optional(),
  access_log: z
    .looseObject({ sample_rate: z.number().optional(), query: z.boolean().optional() })
    .optional(),
})
export type ServiceExtension = z.infer<typeof ServiceExtension>

const RateLimit = z.object({ perSecond: z.number(), burst: z.number().int() })
export type RateLimit = z.infer<typeof RateLimit>

/** The same as edges read it. */
export const ServiceOptions = z.object({
  rateLimit: z
    .object({ perSource: RateLimit.nullable(), perService: RateLimit.nullable() })
    .nullable(),
  /** 0 is none; null is as usual. */
  slowStartMs: z.number().int().nullable(),
  /** Of the cookie; a `ttlSeconds` of null is until the client closes. */
  sticky: z.object({ cookie: z.string(), ttlSeconds: z.number().int().nullable() }).nullable(),
  /** Requests that the app's own log tells of (docs/observability.md). */
  accessLog: z.object({ sampleRate: z.number(), query: z.boolean() }).nullable(),
})
export type ServiceOptions = z.infer<typeof ServiceOptions>

/** A rule that is broken: where below `fairway`, what is wrong with the value, and what to write. */
export interface OptionProblem {
  readonly path: readonly string[]
  readonly message: string
  readonly fix: string
}

export const RATE_PER_SECOND_MIN = 0.001
export const RATE_PER_SECOND_MAX = 100_000
export const BURST_MAX = 1_000_000
/** In which a burst that was used up is there again. */
export const BURST_SECONDS_MAX = 3_600
export const SLOW_START_MS_MAX = 3_600_000
/** What browsers keep a cookie for at most. */
export const STICKY_TTL_MS_MAX = 400 * 24 * 3_600_000
const COOKIE_LENGTH_MAX = 64
export const STICKY_COOKIE = 'fairway-machine'

/** A token (RFC 6265, 4.1.1). */
const COOKIE_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

const KEYS = {
  '': ['rate_limit', 'slow_start', 'sticky', 'access_log'],
  rate_limit: ['per_source', 'per_service'],
  'rate_limit.per_source': ['requests_per_second', 'burst'],
  'rate_limit.per_service': ['requests_per_second', 'burst'],
  sticky: ['cookie', 'ttl'],
  access_log: ['sample_rate', 'query'],
} as const

/** `udp` and `http`: of the service. */
export function extensionProblems(
  extension: ServiceExtension,
  { udp, http }: { readonly udp: boolean; readonly http: boolean },
): OptionProblem[] {
  const problems = unknownKeys(extension)
  const add = (path: string[], message: string, fix: string) =>
    problems.push({ path, message, fix })
  if (udp) add([], 'has no effect on a udp service', 'Remove it: UDP does not pass the edge.')
  if (extension.rate_limit) checkRateLimit(extension.rate_limit, add)
  checkDuration(['slow_start'], extension.slow_start, 0, SLOW_START_MS_MAX, '"0s" to "1h"', add)
  checkAccessLog(extension.access_log, http, add)
  const { sticky } = extension
  if (!sticky) return problems
  if (!http) add(['sticky'], 'needs the http handler', 'Add "http" to handlers, or remove it.')
  const cookie = sticky.cookie ?? STICKY_COOKIE
  if (!COOKIE_NAME.test(cookie) || cookie.length > COOKIE_LENGTH_MAX) {
    const fix = `Use up to ${COOKIE_LENGTH_MAX} letters, digits and dashes, such as "${STICKY_COOKIE}".`
    add(['sticky', 'cookie'], `${shown(cookie)} is not a cookie's name`, fix)
  } else if (/^__(host|secure)-/i.test(cookie)) {
    const fix = 'Use another name: clients drop these over plain http.'
    add(['sticky', 'cookie'], `${shown(cookie)} has a prefix that needs https`, fix)
  }
  checkDuration(['sticky', 'ttl'], sticky.ttl, 1_000, STICKY_TTL_MS_MAX, '"1s" to "9600h"', add)
  return problems
}

/** Expects an extension without problems. */
export function serviceOptions(
  extension: ServiceExtension | null | undefined,
): ServiceOptions | null {
  if (!extension) return null
  const { rate_limit: rates, slow_start: slowStart, sticky, access_log: log } = extension
  return {
    rateLimit: rates
      ? { perSource: rateOf(rates.per_source), perService: rateOf(rates.per_service) }
      : null,
    slowStartMs: slowStart === undefined ? null : Math.round(durationMs(slowStart, 0)),
    sticky: sticky
      ? {
          cookie: sticky.cookie ?? STICKY_COOKIE,
          ttlSeconds:
            sticky.ttl === undefined ? null : Math.round(durationMs(sticky.ttl, 0) / 1000),
        }
      : null,
    accessLog: log ? { sampleRate: log.sample_rate ?? 1, query: log.query ?? false } : null,
  }
}

/** A burst that is not given is what comes in a second. */
const rateOf = (rate: Rate | undefined): RateLimit | null =>
  rate
    ? {
        perSecond: rate.requests_per_second,
        burst: rate.burst ?? Math.max(1, Math.ceil(rate.requests_per_second)),
      }
    : null

type Add = (path: string[], message: string, fix: string) => void

function checkRateLimit(limits: NonNullable<ServiceExtension['rate_limit']>, add: Add): void {
  const { per_source: source, per_service: service } = limits
  if (!source && !service) {
    const fix = 'Add per_source or per_service, such as per_source = { requests_per_second = 10 }.'
    add(['rate_limit'], 'names no limit', fix)
  }
  for (const [key, rate] of Object.entries({ per_source: source, per_service: service })) {
    if (!rate) continue
    const { requests_per_second: perSecond, burst } = rate
    const at = ['rate_limit', key]
    if (!(perSecond >= RATE_PER_SECOND_MIN && perSecond <= RATE_PER_SECOND_MAX)) {
      const fix = `Use ${RATE_PER_SECOND_MIN} to ${RATE_PER_SECOND_MAX}; 0.5 is one in two seconds.`
      add([...at, 'requests_per_second'], `${perSecond} is out of range`, fix)
    } else if (burst === undefined) continue
    else if (!Number.isInteger(burst) || burst < 1 || burst > BURST_MAX) {
      const fix = `Use 1 to ${BURST_MAX}: how many may come at once.`
      add([...at, 'burst'], `${burst} is out of range`, fix)
    } else if (burst / perSecond > BURST_SECONDS_MAX) {
      const max = Math.max(1, Math.floor(perSecond * BURST_SECONDS_MAX))
      const message = `${burst} at ${perSecond} a second takes more than an hour to come back`
      add([...at, 'burst'], message, `Use at most ${max}.`)
    }
  }
}

function checkAccessLog(log: ServiceExtension['access_log'], http: boolean, add: Add): void {
  if (!log) return
  if (!http) add(['access_log'], 'needs the http handler', 'Add "http" to handlers, or remove it.')
  const { sample_rate: rate = 1 } = log
  if (rate >= 0 && rate <= 1) return
  const fix = 'Use a number from 0 (none) to 1 (all requests), such as 0.1.'
  add(['access_log', 'sample_rate'], `${rate} is not a share`, fix)
}

function checkDuration(
  path: string[],
  value: string | undefined,
  minMs: number,
  maxMs: number,
  range: string,
  add: Add,
): void {
  if (value === undefined) return
  const ms = parseDuration(value) ?? -1
  if (ms >= minMs && ms <= maxMs) return
  add(path, `${shown(value)} is not a duration of that range`, `Use ${range}.`)
}

function unknownKeys(extension: ServiceExtension): OptionProblem[] {
  return Object.entries(KEYS).flatMap(([at, keys]) => {
    const path = at === '' ? [] : at.split('.')
    const table = path.reduce<unknown>(
      (value, key) => (value as Record<string, unknown> | undefined)?.[key],
      extension,
    )
    return Object.keys((table as object | undefined) ?? {})
      .filter((key) => !(keys as readonly string[]).includes(key))
      .map((key) => ({
        path: [...path, key],
        message: 'is not known',
        fix: `Use ${keys.join(', ')}.`,
      }))
  })
}

const shown = (value: string): string => JSON.stringify(value.slice(0, COOKIE_LENGTH_MAX))
