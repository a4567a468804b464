/** What the tunnel says on stderr, which it shares with the command. */
export interface Reporter {
  /** Something that a person should know. The same line again within a while is counted instead. */
  warn(text: string): void
  /** With --verbose only. */
  detail(text: string): void
}

const QUIET_MS = 5_000
const LINES_MAX = 1_000

export function createReporter(
  verbose: boolean,
  write: (text: string) => void = (text) => void process.stderr.write(text),
  now: () => number = Date.now,
): Reporter {
  const said = new Map<string, { atMs: number; again: number }>()
  const line = (text: string) =>
    write(`fairway tunnel: ${text.replace(/[\x00-\x1f\x7f]+/g, ' ')}\n`)
  return {
    warn(text) {
      const before = said.get(text)
      if (before && now() - before.atMs < QUIET_MS) {
        before.again += 1
        return
      }
      if (said.size >= LINES_MAX) said.clear()
      said.set(text, { atMs: now(), again: 0 })
      line(before?.again ? `${text} (and ${before.again} times before)` : text)
    },
    detail(text) {
      if (verbose) line(text)
    },
  }
}
