import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { keepCompiled } from '../base/compiled.ts'
import { messageOf } from '../base/errors.ts'
import { CgroupRoot } from './cgroups.ts'
import { readDescription } from './description.ts'
import { type RunningWorld, startTime, worldState } from './state.ts'

/**
 * The one process of a world that lives outside its namespaces: starts them, leads two loopback ports
 * into them, and takes everything down with itself, however it ends.
 *
 * usage: keeper.ts STATE_DIR. Progress on stdout, one JSON object a line, until `{"ready":...}` or
 * `{"failed":"..."}`.
 */
const state = worldState(process.argv[2]!)
const world = readDescription(state.descriptionFile)
const rootless = userInfo().uid !== 0
const servers: Server[] = []

const STOP_TIMEOUT_MS = 5_000
const CONNECTIONS_MAX = 2_000

process.stdout.on('error', () => {}) // Whoever watched the progress has gone.
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`)

const inside = startInside()
process.on('SIGTERM', () => void stop())
process.on('SIGINT', () => void stop())
inside.on('exit', (code, signal) => {
  say({
    failed: `the world ended (${signal ?? `exit code ${code}`}); its log: ${join(state.logDir, 'world.log')}`,
  })
  cleanUp()
  process.exit(1)
})
createInterface({ input: inside.stdout! }).on('line', (line) => void heard(line))

async function heard(line: string): Promise<void> {
  const message = JSON.parse(line) as { ready?: boolean }
  if (!message.ready) {
    say(message)
    return
  }
  try {
    const appsPort = await relay(world.relay.appsPort, state.appsSocket)
    const apiPort = await relay(world.relay.apiPort, state.apiSocket)
    say({ ready: record(appsPort, apiPort) })
    keepCompiled()
  } catch (error) {
    say({ failed: messageOf(error) })
    await stop()
  }
}

/**
 * Each link of the chain dies with the one before: setpriv for this process, --kill-child for
 * unshare, and the kernel ends every process of a PID namespace with its first.
 */
function startInside(): ChildProcess {
  const user = rootless
    ? ['--user', '--map-root-user', ...(canMapMany() ? ['--map-auto'] : [])]
    : []
  const argv = [
    '--pdeathsig',
    'KILL',
    'unshare',
    ...user,
    '--mount',
    '--net',
    '--pid',
    '--ipc',
    '--fork',
    '--kill-child=KILL',
    '--mount-proc',
    '--propagation',
    'private',
    'tini',
    '--',
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    join(import.meta.dirname, 'init.ts'),
    state.dir,
  ]
  return spawn('setpriv', argv, { stdio: ['ignore', 'pipe', 'inherit'] })
}

/** With newuidmap and a range in /etc/subuid, machines get user ids of their own. */
function canMapMany(): boolean {
  const { username, uid } = userInfo()
  try {
    const lines = readFileSync('/etc/subuid', 'utf8').split('\n')
    if (!lines.some((l) => l.startsWith(`${username}:`) || l.startsWith(`${uid}:`))) return false
    return spawnSync('unshare', ['--user', '--map-root-user', '--map-auto', 'true']).status === 0
  } catch {
    return false
  }
}

/** Leads a loopback port of the machine to a unix socket of the world. Resolves with the port. */
function relay(port: number, socketPath: string): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (outer) => {
    const inner = connect({ path: socketPath, allowHalfOpen: true })
    outer.on('error', () => inner.destroy())
    inner.on('error', () => outer.destroy())
    outer.on('close', () => inner.destroy())
    inner.on('close', () => outer.destroy())
    outer.pipe(inner)
    inner.pipe(outer)
  })
  server.maxConnections = CONNECTIONS_MAX
  servers.push(server)
  return new Promise((resolve, reject) => {
    server.on('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'EADDRINUSE'
          ? new Error(
              `127.0.0.1:${port} is in use by another program; choose another with --port or --api-port`,
            )
          : error,
      )
    })
    server.listen(port, '127.0.0.1', () => resolve((server.address() as { port: number }).port))
  })
}

function record(appsPort: number, apiPort: number): RunningWorld {
  const children = readFileSync(`/proc/${inside.pid}/task/${inside.pid}/children`, 'utf8').trim()
  const initPid = Number(children.split(' ')[0])
  const running: RunningWorld = {
    keeperPid: process.pid,
    keeperStart: startTime(process.pid)!,
    initPid,
    pidNamespace: readlinkSync(`/proc/${initPid}/ns/pid`),
    rootless,
    appsPort,
    apiPort,
  }
  const token = readFileSync(join(state.controlDir, 'token'), 'utf8').trim()
  const cli = { apiUrl: `http://127.0.0.1:${apiPort}`, token, appsPort }
  writeFileSync(state.cliFile, JSON.stringify(cli), { mode: 0o600 })
  writeFileSync(state.runFile, JSON.stringify(running), { mode: 0o600 })
  return running
}

async function stop(): Promise<void> {
  inside.removeAllListeners('exit')
  for (const server of servers) server.close()
  const gone = new Promise((resolve) => inside.once('exit', resolve))
  inside.kill('SIGKILL') // unshare; --kill-child does the rest.
  await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, STOP_TIMEOUT_MS))])
  cleanUp()
  process.exit(0)
}

function cleanUp(): void {
  for (const path of [
    state.runFile,
    state.worldSocket,
    state.appsSocket,
    state.apiSocket,
    state.cliFile,
  ])
    rmSync(path, { force: true })
  CgroupRoot.remove(state.dir)
}
