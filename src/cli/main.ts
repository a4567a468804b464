import { EXIT } from './errors.ts'
import { processIo } from './io.ts'
import { runCli } from './program.ts'

const interrupt = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // The second time the person means it.
    if (interrupt.signal.aborted) process.exit(EXIT.cancelled)
    interrupt.abort()
  })
}
// A reader such as `head` may have seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT.ok)
  throw error
})

const code = await runCli(process.argv.slice(2), processIo(interrupt.signal))
// `world exec` has set the exit code of what it ran.
if (code !== EXIT.ok) process.exitCode = code
