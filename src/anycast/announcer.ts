import { existsSync, renameSync, writeFileSync } from 'node:fs'
import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Exec } from '../kernel/exec.ts'
import { hostRoutes } from './bird.ts'

/** Announces single addresses from this host, beside the prefixes that every host announces. */
export interface Announcer {
  /** The whole set; returns at once, BIRD follows. */
  apply(addresses: Iterable<string>): void
}

export interface AnnouncerDeps {
  readonly exec: Exec
  readonly clock: Clock
  readonly log: Logger
  /** Files that BIRD's configuration includes. */
  readonly files: AnnounceFiles
  /** BIRD's control socket. */
  readonly control: string
}

export interface AnnounceFiles {
  readonly v4: string
  readonly v6: string
}

/** BIRD may be starting: it has read the files before them or will not answer yet. */
const ATTEMPTS = 5
const RETRY_MS = 300

/** Makes the files that BIRD's configuration needs; what an earlier agent wrote stays. */
export function createAnnounceFiles(files: AnnounceFiles): void {
  for (const path of [files.v4, files.v6]) if (!existsSync(path)) writeFileSync(path, '')
}

export function createAnnouncer(deps: AnnouncerDeps): Announcer {
  let written: string | undefined
  let wanted: { v4: string; v6: string } | undefined
  let running = false

  async function follow(): Promise<void> {
    running = true
    while (wanted && JSON.stringify(wanted) !== written) {
      const now = wanted
      replace(deps.files.v4, now.v4)
      replace(deps.files.v6, now.v6)
      written = JSON.stringify(now)
      await reload(deps)
    }
    running = false
  }

  return {
    apply(addresses) {
      wanted = hostRoutes([...addresses].sort())
      if (!running)
        void follow().catch((error) =>
          deps.log.error({ error: messageOf(error) }, 'announcements cannot be written'),
        )
    },
  }
}

/** A reader sees the old file or the new one, never a half. */
function replace(path: string, text: string): void {
  writeFileSync(`${path}.new`, text)
  renameSync(`${path}.new`, path)
}

async function reload({ exec, clock, log, control }: AnnouncerDeps): Promise<void> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    try {
      await exec.run(['birdc', '-s', control, 'configure'])
      return
    } catch (error) {
      // When BIRD is down it reads the files as it starts.
      if (attempt === ATTEMPTS)
        log.info(
          { error: messageOf(error) },
          'BIRD was not told; it reads its files when it starts',
        )
      else await clock.sleep(RETRY_MS)
    }
  }
}
