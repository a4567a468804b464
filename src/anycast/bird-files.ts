import { existsSync, renameSync, writeFileSync } from 'node:fs'
import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Exec } from '../kernel/exec.ts'
import { type BirdFiles, servingText } from './bird.ts'

/** Keeps included files of BIRD's configuration as they should be, and BIRD as the files are. */
export interface BirdFileWriter {
  /** The whole content by path; returns at once. What was overtaken meanwhile is never written. */
  submit(files: Readonly<Record<string, string>>): void
}

export interface BirdFileDeps {
  readonly exec: Exec
  readonly clock: Clock
  readonly log: Logger
  /** BIRD's control socket. */
  readonly control: string
  /** How often BIRD is asked; it may be starting: it has read the files before them or cannot answer. */
  readonly attempts?: number
  /** BIRD did not take the files that it has: it is down, or it hangs. */
  readonly onUntold?: () => void
}

const ATTEMPTS = 5
const RETRY_MS = 300
/** BIRD answers in 10 ms; one that hangs must not keep announcing for longer. */
const ANSWER_MS_MAX = 1_000

/**
 * Makes what BIRD's configuration includes. What an earlier agent wrote stays, but no edge serves
 * before it has said so.
 */
export function createBirdFiles(files: BirdFiles): void {
  const { serving, ...routes } = files
  writeFileSync(serving, servingText(false))
  for (const path of Object.values(routes)) if (!existsSync(path)) writeFileSync(path, '')
}

export function createBirdFileWriter(deps: BirdFileDeps): BirdFileWriter {
  let written: string | undefined
  let wanted: Readonly<Record<string, string>> | undefined
  let running = false

  async function follow(): Promise<void> {
    running = true
    try {
      while (wanted && JSON.stringify(wanted) !== written) {
        const now = wanted
        for (const [path, text] of Object.entries(now)) replace(path, text)
        written = JSON.stringify(now)
        await reload(deps)
      }
    } finally {
      running = false
    }
  }

  return {
    submit(files) {
      wanted = files
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

async function reload(deps: BirdFileDeps): Promise<void> {
  const { exec, clock, log, control, attempts = ATTEMPTS, onUntold } = deps
  for (let attempt = 1; attempt <= attempts; attempt++) {
    try {
      await exec.run(['birdc', '-s', control, 'configure'], { timeoutMs: ANSWER_MS_MAX })
      return
    } catch (error) {
      if (attempt < attempts) {
        await clock.sleep(RETRY_MS)
        continue
      }
      // When BIRD is down it reads the files as it starts.
      log.info({ error: messageOf(error) }, 'BIRD was not told; it reads its files when it starts')
      onUntold?.()
    }
  }
}
