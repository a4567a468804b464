import type { Command } from 'commander'
import { MachineConfig } from '../../model/machine-config.ts'
import { waitTimeout } from '../deploy.ts'
import { printEgressAdvice } from '../egress-advice.ts'
import { CommandEnd, usage } from '../errors.ts'
import { resolveImage } from '../folder.ts'
import type { Io } from '../io.ts'
import { runJob } from '../job.ts'
import { underLease } from '../leases.ts'
import { plainMessage } from '../log-text.ts'
import { applyFlags, type MachineFlags, withMachineFlags } from '../machine-flags.ts'
import {
  assertAlive,
  createMachine,
  getMachine,
  type Launch,
  sessionOfMachine,
  updateMachine,
  waitForChecks,
  waitForState,
} from '../machines.ts'
import { action, type Session } from '../session.ts'

interface RunFlags extends MachineFlags {
  readonly region?: string
  readonly name?: string
  readonly detach?: boolean
  readonly waitTimeout: string
}

interface UpdateFlags extends MachineFlags {
  readonly image?: string
  readonly skipStart?: boolean
  readonly waitTimeout: string
}

export function registerMachineChanges(machine: Command, io: Io): void {
  for (const verb of ['run', 'create'] as const) {
    const what =
      verb === 'run' ? 'Create a machine and start it' : 'Create a machine without starting it'
    withMachineFlags(machine.command(`${verb} <folder> [command...]`))
      .description(`${what}; it runs a command in a folder (-- before the command)`)
      .option('-r, --region <code>', 'region (else the nearest)')
      .option('-n, --name <name>', 'name of the machine')
      .option('-d, --detach', 'do not wait; with --rm, do not show what it logs')
      .option('--wait-timeout <time>', 'how long it may take to start', '5m')
      .action(
        action(io, (session, image: string, command: string[], flags: RunFlags) =>
          run(session, { image, command, skipLaunch: verb === 'create' }, flags),
        ),
      )
  }
  withMachineFlags(machine.command('update <id>'))
    .description('Change the configuration of a machine; it restarts')
    .option('--image <folder>', 'folder or artifact to run')
    .option('--skip-start', 'leave it stopped')
    .option('--wait-timeout <time>', 'how long it may take', '5m')
    .action(
      action(io, async (session, id: string, flags: UpdateFlags) =>
        update(await sessionOfMachine(session, id), id, flags),
      ),
    )
}

interface RunInput {
  readonly image: string
  readonly command: readonly string[]
  readonly skipLaunch: boolean
}

async function run(session: Session, input: RunInput, flags: RunFlags): Promise<void> {
  if (input.command.length === 0 && flags.command === undefined) {
    throw usage('Say what to run: fairway machine run FOLDER -- COMMAND...')
  }
  const image = await resolveImage(session, input.image)
  const cmd = input.command.length > 0 ? { cmd: [...input.command] } : {}
  const config = applyFlags(MachineConfig.parse({ image, init: cmd }), flags)
  const launch = {
    config,
    ...(flags.region && { region: flags.region }),
    ...(flags.name && { name: flags.name }),
  }
  if (flags.rm && !input.skipLaunch && !flags.detach) return runOnce(session, launch)
  const machine = await createMachine(session, { ...launch, skipLaunch: input.skipLaunch })
  if (!input.skipLaunch && !flags.detach) {
    const timeoutMs = waitTimeout(flags.waitTimeout)
    const { id } = machine
    const started = waitForState(session, id, 'started', {
      timeoutMs,
      instanceId: machine.instance_id,
    })
    await session.during(`Waiting for machine ${id} to start`, started)
    await session.during(`Waiting for its checks`, waitForChecks(session, id, timeoutMs))
  }
  if (session.wantsJson) session.printJson(await getMachine(session, machine.id))
  else {
    session.print(`Machine ID: ${machine.id}`)
    session.print(`Instance ID: ${machine.instance_id}`)
    session.print(`State: ${input.skipLaunch || flags.detach ? machine.state : 'started'}`)
    session.print(`Private IP: ${machine.private_ip}`)
  }
  await printEgressAdvice(session)
}

/** `--rm`: what it logs, then its exit code as that of the command line. */
async function runOnce(session: Session, launch: Launch): Promise<void> {
  const restart = { policy: 'no' as const, ...launch.config.restart }
  const config = { ...launch.config, restart }
  const end = await runJob(
    session,
    { ...launch, config },
    {
      timeoutMs: null,
      onLine: (line) => {
        const isResult = line.source === 'app' && !session.wantsJson
        if (isResult) session.print(`${plainMessage(line)}\n`)
        else session.note(plainMessage(line))
      },
    },
  )
  if (end.oomKilled) session.note('Error: out of memory; give it more with --vm-memory')
  if (session.wantsJson) session.printJson(end.machine)
  if (end.exitCode !== 0) throw new CommandEnd(end.exitCode)
}

async function update(session: Session, id: string, flags: UpdateFlags): Promise<void> {
  const before = await getMachine(session, id)
  const image =
    flags.image === undefined ? before.config.image : await resolveImage(session, flags.image)
  const config = applyFlags({ ...before.config, image }, flags)
  const changes = changedKeys(before.config, config)
  if (changes.length === 0) return session.print(`Machine ${id} is already so; nothing changed.`)
  await session.confirm(`Change ${changes.join(', ')} of machine ${id} and restart it?`)
  const timeoutMs = waitTimeout(flags.waitTimeout)
  await underLease(session, id, async ({ headers }) => {
    const launch = { config, skipLaunch: flags.skipStart ?? false }
    const { instance_id: instanceId } = await updateMachine(session, id, launch, headers)
    const settled = waitForState(session, id, 'settled', { timeoutMs, instanceId })
    await session.during(`Waiting for machine ${id}`, settled)
    const after = await getMachine(session, id)
    assertAlive(after)
    if (after.state === 'started') {
      await session.during('Waiting for its checks', waitForChecks(session, id, timeoutMs))
    }
  })
  if (session.wantsJson) return session.printJson(await getMachine(session, id))
  session.print(`Machine ${id} updated`)
}

const changedKeys = (before: MachineConfig, after: MachineConfig): string[] =>
  [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
    (key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]),
  )
