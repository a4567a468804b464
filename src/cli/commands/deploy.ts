import type { Command } from 'commander'
import { deploy, waitTimeout } from '../deploy.ts'
import { usage } from '../errors.ts'
import type { Io } from '../io.ts'
import { keyValues } from '../key-values.ts'
import { booleanFlag, repeated } from '../options.ts'
import { action, type Session } from '../session.ts'

interface Flags {
  readonly ha?: string | boolean
  readonly detach?: boolean
  readonly waitTimeout?: string
  readonly maxUnavailable?: string
  readonly releaseCommandTimeout?: string
  readonly skipReleaseCommand?: boolean
  readonly region?: string
  readonly primaryRegion?: string
  readonly env?: readonly string[]
  readonly strategy?: string
  readonly flycast?: boolean
  readonly publicIps: boolean
  readonly smokeChecks: string | boolean
  readonly image?: string
  readonly onlyMachines?: readonly string[]
}

export function registerDeploy(program: Command, io: Io): void {
  program
    .command('deploy [folder]')
    .description('Deploy the folder of a fly.toml as it is')
    .option('--ha [bool]', 'two machines for a new group with services (default: one)')
    .option('--detach', 'return without waiting for the machines')
    .option('--wait-timeout <time>', 'how long each machine may take (default: 5m)')
    .option('--max-unavailable <n>', 'rolling: machines at a time, or a part such as 0.33')
    .option('--release-command-timeout <time>', 'how long it may take, or none (default: 5m)')
    .option('--skip-release-command', 'leave the release command of fly.toml out')
    .option(
      '-r, --region <code>',
      'region of the first machine (else primary_region, else nearest)',
    )
    .option('--primary-region <code>', 'same as --region')
    .option('-e, --env <NAME=VALUE>', 'variable, beside those of fly.toml', repeated)
    .option('--strategy <name>', 'rolling (default), canary, bluegreen or immediate')
    .option('--flycast', 'a private address instead of public ones at the first deploy')
    .option('--no-public-ips', 'no addresses at the first deploy')
    .option('--smoke-checks [bool]', 'see whether machines without checks stay up', true)
    .option('-i, --image <artifact>', 'an artifact of an earlier release instead of the folder')
    .option('--only-machines <ids>', 'these machines and no others', repeated)
    .option('--remote-only', 'accepted for compatibility; nothing is built')
    .option('--local-only', 'accepted for compatibility; nothing is built')
    .option('--dns-checks [bool]', 'accepted for compatibility; names are not checked')
    .action(
      action(io, (session, folder: string | undefined, flags: Flags) =>
        deploy(inFolder(session, folder), {
          ha: booleanFlag(flags.ha ?? false),
          detach: flags.detach ?? false,
          waitTimeoutMs:
            flags.waitTimeout === undefined ? undefined : waitTimeout(flags.waitTimeout),
          maxUnavailable: maxUnavailable(flags.maxUnavailable),
          releaseTimeoutMs: releaseTimeout(flags.releaseCommandTimeout),
          skipReleaseCommand: flags.skipReleaseCommand ?? false,
          region: flags.region ?? flags.primaryRegion,
          env: keyValues(flags.env ?? [], '--env'),
          strategy: flags.strategy,
          flycast: flags.flycast ?? false,
          publicIps: flags.publicIps,
          smokeChecks: booleanFlag(flags.smokeChecks),
          image: flags.image,
          onlyMachines: flags.onlyMachines?.flatMap((ids) => ids.split(',')),
        }),
      ),
    )
}

function maxUnavailable(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const number = Number(text)
  if (number > 0 && (number < 1 || Number.isInteger(number))) return number
  throw usage(
    `--max-unavailable "${text}" is no number of machines. Use 2, or a part such as 0.33.`,
  )
}

function releaseTimeout(text: string | undefined): number | null | undefined {
  if (text === undefined) return undefined
  return text === 'none' ? null : waitTimeout(text, '--release-command-timeout')
}

/** `deploy examples/hello` is `deploy -c examples/hello/fly.toml`. */
const inFolder = (session: Session, folder: string | undefined): Session =>
  folder === undefined || session.options.config ? session : session.withConfig(folder)
