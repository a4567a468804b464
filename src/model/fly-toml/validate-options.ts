import type { z } from 'zod'
import { type Path, shown } from './problem.ts'
import type { Report } from './report.ts'
import type { HttpOptions, TlsOptions } from './schema.ts'

const UINT32_MAX = 2 ** 32 - 1
/** One octet holds the length of a protocol's name (RFC 7301, 3.1). */
const ALPN_BYTES_MAX = 255
const TLS_VERSIONS = ['TLSv1.2', 'TLSv1.3']
const REPLAY_TTL_SECONDS_MIN = 10

export function checkTlsOptions(
  options: z.infer<typeof TlsOptions> | undefined,
  path: Path,
  { error }: Report,
): void {
  for (const [i, version] of (options?.versions ?? []).entries()) {
    if (TLS_VERSIONS.includes(version)) continue
    const fix = `Use ${TLS_VERSIONS.map(shown).join(' and ')}.`
    error([...path, 'versions', i], `${shown(version)} is not offered`, fix)
  }
  for (const [i, name] of (options?.alpn ?? []).entries()) {
    if (name !== '' && Buffer.byteLength(name) <= ALPN_BYTES_MAX) continue
    const fix = 'Use names such as "h2" and "http/1.1".'
    error([...path, 'alpn', i], `${shown(name)} is not a protocol's name`, fix)
  }
}

export function checkHttpOptions(
  options: z.infer<typeof HttpOptions> | undefined,
  path: Path,
  report: Report,
): void {
  if (!options) return
  for (const key of ['idle_timeout', 'headers_read_timeout'] as const) {
    const value = options[key]
    if (value === undefined || (value >= 0 && value <= UINT32_MAX)) continue
    report.error([...path, key], `${value} is out of range`, 'Use seconds, 0 or more.')
  }
  for (const name of Object.keys(options.response?.headers ?? {})) {
    if (/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) continue
    const at = [...path, 'response', 'headers', name]
    report.error(at, `${shown(name)} is not a header's name`, 'Use letters, digits and dashes.')
  }
  checkReplayCache(options, [...path, 'replay_cache'], report)
}

/** S26. */
function checkReplayCache(
  options: z.infer<typeof HttpOptions>,
  path: Path,
  { error }: Report,
): void {
  for (const [i, rule] of (options.replay_cache ?? []).entries()) {
    const at = [...path, i]
    if (!rule.path_prefix?.startsWith('/')) {
      const message = `${shown(rule.path_prefix ?? '')} is not a path`
      error([...at, 'path_prefix'], message, 'Begin it with /, such as "/".')
    }
    if ((rule.ttl_seconds ?? 0) < REPLAY_TTL_SECONDS_MIN) {
      const message = `${rule.ttl_seconds ?? 'nothing'} is too short`
      error([...at, 'ttl_seconds'], message, `Use ${REPLAY_TTL_SECONDS_MIN} or more.`)
    }
    if (rule.type !== 'cookie' && rule.type !== 'header') {
      const message = `${shown(rule.type ?? '')} is not known`
      error([...at, 'type'], message, 'Use "cookie" or "header".')
    }
    if (!rule.name) {
      error([...at, 'name'], 'is missing', `Add the name of the ${rule.type ?? 'cookie'} to read.`)
    }
  }
}
