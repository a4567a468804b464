import { type Carrier, createCarrier } from './carrier.ts'
import { isAddress } from './destinations.ts'
import { directDialer } from './direct.ts'
import { TunnelError } from './failure.ts'
import { Interceptor } from './interceptor.ts'
import { openNames } from './names.ts'
import type { Privilege } from './namespaces.ts'
import { openNetwork } from './network.ts'
import type { Reporter } from './reporter.ts'
import type { Settings } from './settings.ts'
import { openSteering } from './steer.ts'
import type { Way } from './way.ts'

export interface Wanted {
  readonly settings: Settings
  readonly proxied: Carrier
  readonly reporter: Reporter
  /** The file that Node runs as this program again, inside of namespaces. */
  readonly entry: string
}

const PORTS_ONLY: Way = {
  description: 'mapped ports only',
  wrap: (command) => command,
  close() {},
}

/**
 * The way that changes least for the command among those that carry what was asked for and that this
 * machine allows. Throws a TunnelError with what stands against each; nothing is ever let out instead.
 */
export async function chooseWay(wanted: Wanted): Promise<Way> {
  const { settings, reporter } = wanted
  const { destinations, everything, mode } = settings
  if (!everything && destinations.length === 0) return PORTS_ONLY
  const literal = destinations.find(({ host }) => isAddress(host))
  if (mode === 'names' && literal)
    throw new TunnelError(
      `--mode names: ${literal.host} is an address; give its name, or --mode auto`,
    )
  return await firstThatWorks(openings(wanted, everything || literal !== undefined), reporter)
}

type Opening = () => Promise<Way>

/** What to try, in this order. */
function openings({ settings, proxied, reporter, entry }: Wanted, needsAll: boolean): Opening[] {
  const { mode, destinations } = settings
  const direct = createCarrier(directDialer, reporter)
  const interceptor = new Interceptor(settings, proxied, direct, reporter)
  const network = (privilege: Privilege) => () =>
    openNetwork(privilege, settings, interceptor, reporter, entry)
  const names = () => openNames(proxied, destinations, reporter)
  const steering = () => openSteering(settings, interceptor)
  const networks = [network('root'), network('user')]
  switch (mode) {
    case 'names':
      return [names]
    case 'group':
      return [steering]
    case 'network':
      return networks
    default:
      return needsAll ? [steering, ...networks] : [names, steering, ...networks]
  }
}

async function firstThatWorks(openings: readonly Opening[], reporter: Reporter): Promise<Way> {
  const problems: string[] = []
  for (const open of openings) {
    try {
      return await open()
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error
      problems.push(error.message)
      reporter.detail(`not so: ${error.message}`)
    }
  }
  throw new TunnelError(
    `this machine allows no way to carry these without the command's help: ${problems.join('; ')}. Map ports instead: --map 5432:db.example.com:5432`,
  )
}
