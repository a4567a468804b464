import { type BirdFiles, hostRoutes } from './bird.ts'
import { type BirdFileDeps, createBirdFileWriter } from './bird-files.ts'

/** Announces single addresses from this host, beside the prefixes that hosts announce anyway. */
export interface Announcer {
  /** The whole sets; returns at once, BIRD follows. */
  apply(addresses: AnnouncedAddresses): void
}

export interface AnnouncedAddresses {
  /** Announced while the edge serves. */
  readonly anycast: Iterable<string>
  /** Announced always. */
  readonly egress: Iterable<string>
}

export type AnnouncerFiles = Omit<BirdFiles, 'serving'>

export function createAnnouncer(
  deps: BirdFileDeps & { readonly files: AnnouncerFiles },
): Announcer {
  const { files } = deps
  const writer = createBirdFileWriter(deps)
  return {
    apply({ anycast, egress }) {
      const [public_, sources] = [hostRoutes([...anycast].sort()), hostRoutes([...egress].sort())]
      writer.submit({
        [files.v4]: public_.v4,
        [files.v6]: public_.v6,
        [files.egress4]: sources.v4,
        [files.egress6]: sources.v6,
      })
    },
  }
}
