import type { LogLine } from '../model/wire.ts'

/** What a process printed, without codes that a terminal would obey. */
export const plainMessage = (line: Pick<LogLine, 'message'>): string =>
  line.message.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '')

/** `time source[machine] region [level] message`. */
export function lineText(line: LogLine): string {
  const who = `${line.source}[${line.machine}]`
  return `${line.timestamp} ${who} ${line.region} [${line.level}] ${plainMessage(line)}`
}
