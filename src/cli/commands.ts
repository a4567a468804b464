import type { Command } from 'commander'
import type { Io } from './io.ts'

export interface CommandModule {
  /** Of the commands that it adds, with their aliases. */
  readonly names: readonly string[]
  /** They talk to no API and have flags of their own. */
  readonly isOwn?: true
  load(): Promise<(program: Command, io: Io) => void>
}

/** All commands, in the order in which help shows them. */
export const COMMANDS: readonly CommandModule[] = [
  {
    names: ['deploy'],
    load: async () => (await import('./commands/deploy.ts')).registerDeploy,
  },
  {
    names: ['status'],
    load: async () => (await import('./commands/status.ts')).registerStatus,
  },
  {
    names: ['apps', 'app'],
    load: async () => (await import('./commands/apps.ts')).registerApps,
  },
  {
    names: ['ips', 'ip'],
    load: async () => (await import('./commands/ips.ts')).registerIps,
  },
  {
    names: ['egress'],
    load: async () => (await import('./commands/egress.ts')).registerEgress,
  },
  {
    names: ['outbound'],
    load: async () => (await import('./commands/outbound.ts')).registerOutbound,
  },
  {
    names: ['logs'],
    load: async () => (await import('./commands/logs.ts')).registerLogs,
  },
  {
    names: ['route'],
    load: async () => (await import('./commands/route.ts')).registerRoute,
  },
  {
    names: ['machine', 'machines', 'm'],
    load: async () => (await import('./commands/machine.ts')).registerMachine,
  },
  {
    names: ['scale'],
    load: async () => (await import('./commands/scale.ts')).registerScale,
  },
  {
    names: ['secrets', 'secret'],
    load: async () => (await import('./commands/secrets.ts')).registerSecrets,
  },
  {
    names: ['services'],
    load: async () => (await import('./commands/services.ts')).registerServices,
  },
  {
    names: ['releases'],
    load: async () => (await import('./commands/releases.ts')).registerReleases,
  },
  {
    names: ['config'],
    load: async () => (await import('./commands/config.ts')).registerConfig,
  },
  {
    names: ['regions', 'platform'],
    load: async () => (await import('./commands/regions.ts')).registerRegions,
  },
  {
    names: ['orgs', 'org'],
    load: async () => (await import('./commands/orgs.ts')).registerOrgs,
  },
  {
    names: ['auth'],
    load: async () => (await import('./commands/auth.ts')).registerAuth,
  },
  {
    names: ['version'],
    load: async () => (await import('./commands/auth.ts')).registerVersion,
  },
  {
    names: ['up', 'down', 'world'],
    isOwn: true,
    load: async () => (await import('./commands/world.ts')).registerWorldCommands,
  },
  {
    names: ['tunnel'],
    isOwn: true,
    load: async () => (await import('./commands/tunnel.ts')).registerTunnel,
  },
  {
    names: ['completion', '__complete'],
    isOwn: true,
    load: async () => (await import('./commands/completion.ts')).registerCompletion,
  },
]
