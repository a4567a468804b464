import { FairwayError } from '../../base/errors.ts'

/** What a machine runs: an artifact of its own app. */
export interface ImageRef {
  readonly registry: string
  readonly repository: string
  readonly tag: string
  /** 64 hexadecimal digits. */
  readonly digestHex: string
}

const NO_REGISTRY = 'fairway'
const DIGEST = '[0-9a-f]{64}'
// A client that appends the digest to a reference which has it already repeats it: `ref@d@d`.
const BARE = new RegExp(`^sha256:(${DIGEST})(?:@sha256:\\1)?$`)
const FULL = new RegExp(
  `^(?:([a-z0-9.-]+(?::[0-9]+)?)/)?([a-z0-9-]+)(?::([A-Za-z0-9_.-]{1,128}))?@sha256:(${DIGEST})(?:@sha256:\\4)?$`,
)

/** `[<registry>/]<app>[:tag]@sha256:<hex>` or `sha256:<hex>`; anything else is `unsupported_image`. */
export function parseImage(image: string, app: string): ImageRef {
  const bare = BARE.exec(image)
  if (bare) return { registry: NO_REGISTRY, repository: app, tag: '', digestHex: bare[1]! }
  const full = FULL.exec(image)
  if (!full) {
    throw unsupported(image, 'it names no artifact (a name that ends in @sha256:<64 hex digits>)')
  }
  const [, registry = NO_REGISTRY, repository = '', tag = '', digestHex = ''] = full
  if (repository !== app) throw unsupported(image, `it belongs to app "${repository}"`)
  return { registry, repository, tag, digestHex }
}

const unsupported = (image: string, why: string): FairwayError =>
  new FairwayError(
    'unsupported_image',
    `config.image: "${image}" cannot be run: ${why}. Only artifacts that "fairway deploy" made for the app are supported now; images of other registries are not yet`,
  )
