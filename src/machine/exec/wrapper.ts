import { SYSTEM_FOLDER } from '../system.ts'

/**
 * What stands between the runtime and a command inside a machine. runc says of a command that signal
 * 15 ended and of one that exited with 143 the same, and knows nothing of processes that the command
 * leaves behind. The machine's own init knows both: it says how its child ended, and as a subreaper
 * keeps every process of the command below it, where they can be found and killed.
 *
 * The command has the machine's standard streams; all that is said about it goes to descriptor 3.
 */
const OUTER =
  'echo begun >&3; ' +
  `${SYSTEM_FOLDER}/init -s -v -- /bin/sh -c "$0" sh "$@" 4>&1 5>&2 1>&3 2>&3 3>&-; ` +
  'echo "code=$?" >&3'
const INNER =
  'command -v "$1" >/dev/null 2>&1 || { echo not-found; exit 127; }; ' +
  'exec "$@" >&4 2>&5 4>&- 5>&-'

export const wrapped = (command: readonly string[]): string[] => [
  ...['/bin/sh', '-c', OUTER, INNER],
  ...command,
]

/** How a command ended, as far as the wrapper could say. */
export interface ExecStatus {
  readonly code: number
  /** 0: it exited by itself. */
  readonly signal: number
  readonly found: boolean
}

const SIGNAL_BASE = 128

/** What the wrapper wrote; undefined when it was cut off before the command's end. */
export function readStatus(notes: string): ExecStatus | undefined {
  const code = /^code=(\d{1,3})$/m.exec(notes)?.[1]
  if (code === undefined) return undefined
  const bySignal = /Main child exited with signal/.test(notes)
  return {
    code: Number(code),
    signal: bySignal ? Number(code) - SIGNAL_BASE : 0,
    found: !/^not-found$/m.test(notes),
  }
}

/** Whether the command's process was made; else the runtime says on stderr why not. */
export const hasBegun = (notes: string): boolean => notes.startsWith('begun\n')
