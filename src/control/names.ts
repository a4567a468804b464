import { invalid } from '../base/errors.ts'

/** Which names apps, orgs and networks may have. They become keys, host names and DNS labels. */

export const APP_NAME_LENGTH_MAX = 63
const APP_NAME = /^[a-z0-9]([a-z0-9-]*[a-z0-9])$/
/** N5: starts with a letter; letters, digits and dashes after it. */
const NETWORK_NAME = /^[A-Za-z][A-Za-z0-9-]{0,62}$/
const ORG_SLUG = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/

/** Names under the apps domain, or in private DNS, that are the platform's own. */
export const RESERVED_APP_NAMES: ReadonlySet<string> = new Set([
  'whoami',
  'ip',
  'outbound',
  'api',
  'admin',
  'control',
  'dashboard',
  'internal',
  'fairway',
  'flycast',
  'localhost',
  'ns1',
  'ns2',
  'www',
])

export function checkAppName(name: string): string {
  if (name.length < 2 || name.length > APP_NAME_LENGTH_MAX || !APP_NAME.test(name)) {
    throw invalid(
      `name "${name}" is not usable for an app: it needs 2 to ${APP_NAME_LENGTH_MAX} characters a-z, 0-9 and -, and no dash at either end`,
    )
  }
  // RFC 5891 section 4.2.3.1: "--" in third and fourth place marks encoded names.
  if (name.slice(2, 4) === '--') {
    throw invalid(`name "${name}" has "--" in third and fourth place, which DNS keeps for itself`)
  }
  if (RESERVED_APP_NAMES.has(name)) {
    throw invalid(`name "${name}" is the platform's own; choose another name`)
  }
  return name
}

export function checkNetworkName(name: string): string {
  if (NETWORK_NAME.test(name)) return name
  throw invalid(
    `network "${name}" is not usable: it starts with a letter and has up to 63 letters, digits and dashes`,
  )
}

export function checkOrgSlug(slug: string): string {
  if (ORG_SLUG.test(slug)) return slug
  throw invalid(
    `org "${slug}" is not usable: 1 to 63 characters a-z, 0-9 and -, no dash at either end`,
  )
}
