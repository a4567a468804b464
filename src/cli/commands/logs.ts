import type { Command } from 'commander'
import type { LogLine } from '../../model/wire.ts'
import { usage } from '../errors.ts'
import type { Io } from '../io.ts'
import { lineText } from '../log-text.ts'
import { action, type Session } from '../session.ts'

interface LogFlags {
  readonly tail: boolean
  readonly machine?: string
  readonly region?: string
  readonly lines: string
}

export function registerLogs(program: Command, io: Io): void {
  program
    .command('logs')
    .description("Show an app's log and follow it")
    .option('-f, --follow', 'follow (the default)')
    .option('-n, --no-tail', 'only what there is already')
    .option('-i, --machine <id>', 'one machine')
    .option('--instance <id>', 'same as --machine')
    .option('-r, --region <code>', 'one region')
    .option('--lines <n>', 'how many older lines', '100')
    .action(
      action(io, (session, flags: LogFlags & { instance?: string }) =>
        logs(session, { ...flags, machine: flags.machine ?? flags.instance }),
      ),
    )
}

async function logs(session: Session, flags: LogFlags & { machine?: string | undefined }) {
  if (!/^\d{1,6}$/.test(flags.lines)) throw usage(`--lines "${flags.lines}" is not a number.`)
  const query = { tail: Number(flags.lines), follow: flags.tail, machine: flags.machine }
  const path = `/api${session.appPath('logs')}`
  try {
    for await (const text of session.client.lines(path, query)) {
      const line = JSON.parse(text) as LogLine
      if (flags.region !== undefined && line.region !== flags.region) continue
      session.print(session.wantsJson ? JSON.stringify(jsonOf(line)) : lineText(line))
    }
  } catch (error) {
    // Following ends when the person says so; that is no error.
    if (!session.io.signal.aborted) throw error
  }
}

/** flyctl's keys. */
const jsonOf = (line: LogLine) => ({
  level: line.level,
  instance: line.machine,
  message: line.message,
  region: line.region,
  timestamp: line.timestamp,
  meta: {
    instance: line.machine,
    region: line.region,
    host: line.host,
    event: { provider: line.source },
  },
})
