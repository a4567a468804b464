import { createCarrier } from './carrier.ts'
import { EXIT, runCommand } from './command.ts'
import { createDialer } from './dialer.ts'
import { TunnelError } from './failure.ts'
import { HELP, parseFlags } from './flags.ts'
import { openMappings } from './listeners.ts'
import { createReporter } from './reporter.ts'
import { readSettings } from './settings.ts'
import { chooseWay } from './ways.ts'

/**
 * `fairway tunnel`: resolves with the exit code, the command's own or one of 125 to 127.
 * `entry` is the file that Node runs as this program again, inside of namespaces.
 */
export async function runTunnel(args: readonly string[], entry: string): Promise<number> {
  try {
    return await tunnel(args, entry)
  } catch (error) {
    if (!(error instanceof TunnelError)) throw error
    createReporter(false).warn(error.message)
    return EXIT.failed
  }
}

async function tunnel(args: readonly string[], entry: string): Promise<number> {
  const flags = parseFlags(args)
  if (flags.help) {
    process.stdout.write(HELP)
    return 0
  }
  if (flags.command.length === 0) throw new TunnelError('no command to run; see --help')
  const settings = readSettings(flags, process.env, process.cwd())
  // The URL was an argument: what ps shows is overwritten.
  if (flags.proxy !== undefined) process.title = 'fairway tunnel'
  const reporter = createReporter(settings.verbose)
  const { proxy } = settings
  reporter.detail(
    `proxy ${proxy.host}:${proxy.port} (${proxy.protocol}${proxy.tls ? ' over TLS' : ''}) from ${settings.proxyFrom}`,
  )
  const carrier = createCarrier(createDialer(proxy), reporter)
  const ports = await openMappings(carrier, settings.mappings)
  const way = await chooseWay({ settings, proxied: carrier, reporter, entry }).catch((error) => {
    for (const port of ports) port.close()
    throw error
  })
  reporter.detail(way.description)
  try {
    return await runCommand(flags.command, way, reporter)
  } finally {
    way.close()
    for (const port of ports) port.close()
    carrier.close()
  }
}
