import { chmodSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { keepCompiled } from '../base/compiled.ts'
import { messageOf } from '../base/errors.ts'
import { createLogger } from '../base/log.ts'
import { systemExec } from '../kernel/exec.ts'
import { readDescription } from './description.ts'
import { prepareMounts } from './mounts.ts'
import { buildNetwork } from './network.ts'
import { planWorld } from './plan.ts'
import { worldState } from './state.ts'
import { WorldUnits } from './units.ts'

/**
 * The first process of a world after tini: builds the small internet in the namespaces that it was
 * started in, starts what runs there, and answers on a unix socket. When it ends, everything ends.
 *
 * usage: init.ts STATE_DIR
 */
const state = worldState(process.argv[2]!)
const log = createLogger('world')

export interface WorldRequest {
  readonly cmd: 'status' | 'unit' | 'ready'
  readonly place?: string
  readonly unit?: string
  readonly action?: 'start' | 'stop' | 'kill' | 'restart'
  readonly keepDown?: boolean
}

const progress = (step: string) => process.stdout.write(`${JSON.stringify({ step })}\n`)

// Nothing is asked to finish: the end of this process is the end of the namespaces, and whatever must
// survive is on disk at any moment.
process.on('SIGTERM', () => process.exit(0))
await up().catch((error) => {
  process.stdout.write(`${JSON.stringify({ failed: messageOf(error) })}\n`)
  process.exit(1)
})

async function up(): Promise<void> {
  const world = readDescription(state.descriptionFile)
  const plan = planWorld(world)
  await prepareMounts(systemExec, { nameserver: plan.resolver.v4, domain: world.appsDomains[0]! })
  progress(`network: ${plan.places.length} places`)
  await buildNetwork(systemExec, plan)
  const started = new WorldUnits({ world, plan, state, log })
  serve(started)
  await started.start(progress)
  process.stdout.write(`${JSON.stringify({ ready: true })}\n`)
  keepCompiled()
}

function serve(worldUnits: WorldUnits): void {
  rmSync(state.worldSocket, { force: true })
  const server = createServer((socket) => {
    socket.on('error', () => {})
    createInterface({ input: socket }).on('line', (line) => void answer(worldUnits, socket, line))
  })
  server.listen(state.worldSocket, () => chmodSync(state.worldSocket, 0o600))
}

async function answer(worldUnits: WorldUnits, socket: Socket, line: string): Promise<void> {
  try {
    const request: WorldRequest = JSON.parse(line)
    const body = request.cmd === 'unit' ? await worldUnits.act(request) : await worldUnits.status()
    socket.end(`${JSON.stringify(body)}\n`)
  } catch (error) {
    socket.end(`${JSON.stringify({ error: messageOf(error) })}\n`)
  }
}
