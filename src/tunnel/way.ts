import type { ChildProcess } from 'node:child_process'

/** How the command is made to use the tunnel. */
export interface Way {
  /** For --verbose. */
  readonly description: string
  /** The argv that runs a command in its place. */
  wrap(command: readonly string[]): readonly string[]
  /** What `wrap` runs first wants to talk to us. */
  readonly started?: (child: ChildProcess) => void
  close(): void
}
