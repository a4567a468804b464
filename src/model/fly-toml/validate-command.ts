import { type Path, shown } from './problem.ts'
import type { Report } from './report.ts'
import { shellWords } from './shell-words.ts'

/** A line that is split into words as a shell does. */
export function checkCommand(path: Path, command: string, error: Report['error']): void {
  const split = shellWords(command)
  if (!split.ok) {
    const what = split.error === 'open-quote' ? 'a quote is not closed' : 'ends in a backslash'
    error(path, `${shown(command)}: ${what}`, 'Correct the quoting; it follows the shell.')
  } else if (split.words.length === 0) {
    error(path, 'is empty', 'Give the command to run, such as "node server.js".')
  }
}
