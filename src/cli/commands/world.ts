import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import Table from 'cli-table3'
import type { Command } from 'commander'
import { FairwayError } from '../../base/errors.ts'
import { ask, requireWorld, startWorld, stopWorld } from '../../world/control.ts'
import { DEFAULT_WORLD, readDescription, type WorldDescription } from '../../world/description.ts'
import { runningWorld, worldState } from '../../world/state.ts'
import type { PlaceStatus } from '../../world/units.ts'
import { placeArgv } from '../place.ts'

interface UpOptions {
  readonly detach?: boolean
  readonly port?: string
  readonly apiPort?: string
  readonly world?: string
}

/** `up`, `down` and `world ...`: the small internet on this machine. */
export function registerWorldCommands(program: Command): void {
  program
    .command('up')
    .description('Build the small internet on this machine and run Fairway in it')
    .option('--detach', 'return when everything answers, and leave it running')
    .option(
      '--port <port>',
      'loopback port that leads to the apps',
      String(DEFAULT_WORLD.relay.appsPort),
    )
    .option(
      '--api-port <port>',
      'loopback port that leads to the API',
      String(DEFAULT_WORLD.relay.apiPort),
    )
    .option('--world <file>', 'a world description (JSON); see docs/world.md')
    .action(up)
  program.command('down').description('End the small internet; its data stays').action(down)
  const world = program
    .command('world')
    .description('Show the places of the small internet and what runs there')
  world.option('-j, --json', 'as JSON').action((options: { json?: boolean }) => show(options))
  world
    .command('exec')
    .description(
      'Run a command at a place, for example: fairway world exec client-lhr -- curl -s http://hello.fairway.test/',
    )
    .argument('<place>')
    .argument('<command...>')
    .passThroughOptions()
    .allowUnknownOption()
    .action(exec)
  for (const [action, description] of UNIT_ACTIONS) {
    const command = world
      .command(action)
      .description(description)
      .argument('<place>')
      .argument('<units...>')
    if (action === 'kill') command.option('--keep-down', 'leave them down until `world start`')
    command.action((place: string, units: string[], options: { keepDown?: boolean }) =>
      act(action, place, units, options),
    )
  }
  world
    .command('logs')
    .description('Print the log of a unit')
    .argument('<place>')
    .argument('<unit>')
    .action((place: string, unit: string) => {
      process.stdout.write(readFileSync(join(worldState().logDir, place, `${unit}.log`), 'utf8'))
    })
}

const UNIT_ACTIONS = [
  ['start', 'Start units that were stopped or killed'],
  ['stop', 'Stop units and leave them down'],
  ['kill', 'Kill units with SIGKILL; their parent restarts them'],
  ['restart', 'Replace units; an edge hands over without a gap'],
] as const

async function up(options: UpOptions): Promise<void> {
  const state = worldState()
  if (runningWorld(state)) {
    process.stderr.write(
      'A world is running already; `./fairway world` shows it, `./fairway down` ends it.\n',
    )
    return
  }
  const startedMs = Date.now()
  const running = await startWorld(state, description(options), (step) =>
    process.stderr.write(`  ✓ ${step}\n`),
  )
  const seconds = ((Date.now() - startedMs) / 1000).toFixed(1)
  process.stdout.write(`The world is up (${seconds} s).
  apps   http://<app>.localhost:${running.appsPort}/
  API    http://127.0.0.1:${running.apiPort}
  next   ./fairway deploy -c examples/hello/fly.toml
`)
  if (options.detach) return
  process.stdout.write('Press Ctrl-C to take it down.\n')
  await new Promise<void>((resolve) => {
    process.once('SIGINT', () => resolve())
    process.once('SIGTERM', () => resolve())
    const timer = setInterval(() => {
      if (runningWorld(state)) return
      clearInterval(timer)
      resolve()
    }, 1_000)
  })
  await stopWorld(state)
  process.stdout.write('The world is down; its data is kept.\n')
  process.exit(0)
}

function description(options: UpOptions): WorldDescription {
  const world = options.world ? readDescription(options.world) : DEFAULT_WORLD
  const relay = {
    appsPort: portOf('--port', options.port ?? String(world.relay.appsPort)),
    apiPort: portOf('--api-port', options.apiPort ?? String(world.relay.apiPort)),
  }
  return { ...world, relay }
}

function portOf(flag: string, text: string): number {
  const port = Number(text)
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port
  throw new FairwayError(
    'bad_flag',
    `${flag} ${text}: not a port; give a number from 0 (any free one) to 65535`,
  )
}

async function down(): Promise<void> {
  const was = await stopWorld(worldState())
  process.stdout.write(was ? 'The world is down; its data is kept.\n' : 'No world was running.\n')
}

async function show(options: { json?: boolean }): Promise<void> {
  const state = worldState()
  requireWorld(state)
  const { places = [] } = await ask(state, { cmd: 'status' })
  if (options.json) {
    process.stdout.write(`${JSON.stringify(places, null, 2)}\n`)
    return
  }
  const table = new Table({
    head: ['PLACE', 'ADDRESSES', 'RUNS'],
    style: { head: [], border: [] },
    chars: NO_BORDERS,
  })
  for (const place of places)
    table.push([place.place, place.addresses.slice(0, 2).join(' '), unitsText(place)])
  process.stdout.write(`${table.toString()}\n`)
}

const NO_BORDERS = Object.fromEntries(
  [
    'top',
    'top-mid',
    'top-left',
    'top-right',
    'bottom',
    'bottom-mid',
    'bottom-left',
    'bottom-right',
    'left',
    'left-mid',
    'mid',
    'mid-mid',
    'right',
    'right-mid',
  ].map((k) => [k, '']),
)

function unitsText(place: PlaceStatus): string {
  return place.units
    .map(
      (u) =>
        `${u.name} ${u.state}${u.pid ? ` (pid ${u.pid})` : ''}${u.restarts ? ` restarted ${u.restarts}x` : ''}`,
    )
    .join('\n')
}

async function act(
  action: 'start' | 'stop' | 'kill' | 'restart',
  place: string,
  units: string[],
  options: { keepDown?: boolean },
): Promise<void> {
  const state = worldState()
  requireWorld(state)
  await Promise.all(
    units.map((unit) =>
      ask(state, { cmd: 'unit', place, unit, action, keepDown: options.keepDown ?? false }),
    ),
  )
}

function exec(place: string, given: string[]): Promise<void> {
  const command = given[0] === '--' ? given.slice(1) : given
  const [file, ...args] = placeArgv(place, command)
  const child = spawn(file!, args, { stdio: 'inherit' })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code, signal) => {
      process.exitCode = code ?? (signal ? 1 : 0)
      resolve()
    })
  })
}
