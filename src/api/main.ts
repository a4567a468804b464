import { keepCompiled } from '../base/compiled.ts'
import { messageOf } from '../base/errors.ts'
import { createLogger } from '../base/log.ts'
import { loadControlConfig } from '../control/config.ts'
import { startControl } from './control-process.ts'

/** The control process: `main.ts <config.json>`. Ends on SIGTERM and SIGINT. */

/** A close that hangs must not keep the process. */
const CLOSE_TIMEOUT_MS = 5_000

const log = createLogger('control')

async function main(): Promise<void> {
  const path = process.argv[2]
  if (path === undefined) throw new Error('usage: main.ts <config.json>')
  const config = loadControlConfig(path)
  const control = await startControl(config, log)
  const { apiPort, agentsPort } = control
  process.stdout.write(`control plane ready: API on port ${apiPort}, agents on ${agentsPort}\n`)
  process.send?.({ t: 'ready', apiPort, agentsPort })
  keepCompiled()
  const end = () => {
    setTimeout(() => process.exit(1), CLOSE_TIMEOUT_MS).unref()
    control.close().then(
      () => process.exit(0),
      (error: unknown) => fail(error),
    )
  }
  process.once('SIGTERM', end)
  process.once('SIGINT', end)
}

function fail(error: unknown): never {
  log.fatal({ error: messageOf(error) }, 'control plane failed')
  process.stderr.write(`control plane: ${messageOf(error)}\n`)
  process.exit(1)
}

main().catch(fail)
