import { constants, existsSync, readFileSync, watch } from 'node:fs'
import { mkdir, open, readdir, readFile, rm, stat } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { type Clock, systemClock } from '../base/clock.ts'
import { FairwayError } from '../base/errors.ts'
import { startDaemon } from '../kernel/daemon.ts'
import { CommandError, type Exec } from '../kernel/exec.ts'
import type { ExitListener, Runtime, Sandbox, SandboxExit, SandboxSpec } from './runtime.ts'

export interface ConmonOptions {
  readonly exec: Exec
  /** Where sandboxes' state and exit records lie; gone with the world, unlike the folders. */
  readonly runDir: string
  /** Where the machines' folders lie. */
  readonly machinesDir: string
  readonly userNamespace: boolean
  readonly onExit: ExitListener
  /** Ends the watching. Sandboxes live on. */
  readonly signal: AbortSignal
  readonly clock?: Clock
}

export const RUNTIME_TIMEOUT_MS = 15_000
/** Between looks for exits that the file watch missed, and for supervisors that died. */
export const SWEEP_MS = 2_000
/** A supervisor whose process has ended writes its record within this time. */
const EXIT_RECORD_MS = 2_000
const EXIT_POLL_MS = 5
/** Past this conmon starts the log anew by itself: the bound while no agent rotates it. */
const LOG_BYTES_UNATTENDED = 64 * 1024 * 1024
/** The sandbox writes one byte as soon as its end of the fifo is open. */
const FIFO_TIMEOUT_MS = 1_000
const FIFO_POLL_MS = 1
/** What a killed process has; stands in where the true status is lost. */
const CODE_KILLED = 137

interface Conmon {
  readonly options: ConmonOptions
  readonly clock: Clock
  readonly runc: readonly string[]
  readonly conmonPath: string
  readonly exits: string
  /** Machines with a sandbox that runs under a supervisor, as far as this process knows. */
  readonly supervised: Set<string>
  /** Machines whose exit record was told. */
  readonly told: Set<string>
}

/** The real runtime: runc makes sandboxes, one conmon for each keeps its log and exit status. */
export async function createConmonRuntime(options: ConmonOptions): Promise<Runtime> {
  const { exec, runDir, userNamespace } = options
  const exits = join(runDir, 'exits')
  await mkdir(exits, { recursive: true, mode: 0o700 })
  await mkdir(join(runDir, 'runc'), { recursive: true, mode: 0o700 })
  const runc = runcCommand(runDir, userNamespace)
  const conmon: Conmon = {
    options,
    clock: options.clock ?? systemClock,
    runc,
    conmonPath: findCommand('conmon'),
    exits,
    supervised: new Set(),
    told: new Set(),
  }
  watchExits(conmon)
  const run = (args: readonly string[]) =>
    exec.run([...runc, ...args], { timeoutMs: RUNTIME_TIMEOUT_MS })
  return {
    list: () => list(conmon, run),
    create: (spec) => create(conmon, run, spec),
    start: (id) => start(conmon, run, id),
    kill: (id, signal) => kill(run, id, signal),
    delete: (id) => remove(conmon, run, id),
  }
}

/** runc up to its subcommand. */
export const runcCommand = (runDir: string, userNamespace: boolean): string[] => [
  ...[findCommand('runc'), '--root', join(runDir, 'runc')],
  `--rootless=${String(userNamespace)}`,
]

type Run = (args: readonly string[]) => Promise<string>

const SYSTEM_PATH = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin']

/**
 * The absolute path of a command, which conmon wants of its runtime; an ordinary user's PATH lacks
 * the sbin folders. `aptPackage`: what to install when it is missing.
 */
export function findCommand(name: string, aptPackage = name): string {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...SYSTEM_PATH]
  const found = folders.map((folder) => join(folder, name)).find((path) => existsSync(path))
  if (found) return found
  throw new FairwayError('missing_command', `${name} is missing: apt-get install ${aptPackage}`)
}

const supervisorFile = (c: Conmon, id: string, name: string): string =>
  join(c.options.machinesDir, id, 'conmon', name)

async function create(c: Conmon, run: Run, { id, folder }: SandboxSpec): Promise<void> {
  if (existsSync(join(c.options.runDir, 'runc', id))) await remove(c, run, id)
  await forgetExit(c, id)
  const own = join(folder, 'conmon')
  await mkdir(own, { recursive: true, mode: 0o700 })
  const argv = conmonArgv(c, id, folder)
  const line = await startDaemon(argv, {
    timeoutMs: RUNTIME_TIMEOUT_MS,
    cwd: own,
    syncVariable: '_OCI_SYNCPIPE',
  })
  const answer = JSON.parse(line) as { data?: number; pid?: number; message?: string }
  const pid = answer.data ?? answer.pid ?? -1
  if (pid > 0) {
    c.supervised.add(id)
    // Nobody attaches: what could be done through it by whoever finds it, nobody needs.
    await rm(join(folder, 'bundle', 'attach'), { force: true })
    return
  }
  const reason = runtimeMessage(answer.message ?? '') || `the runtime answered ${pid}`
  throw new CommandError(['runc', 'create', id], pid, reason)
}

/** The error itself out of the runtime's log lines (`time=... level=error msg="..."`). */
export function runtimeMessage(text: string): string {
  const quoted = /level=error msg=("(?:[^"\\]|\\.)*")/.exec(text)?.[1]
  if (!quoted) return text.trim()
  try {
    return String(JSON.parse(quoted))
  } catch {
    return quoted
  }
}

function conmonArgv(c: Conmon, id: string, folder: string): string[] {
  const [runcPath, ...runcArgs] = c.runc
  return [
    ...[c.conmonPath, '--api-version', '1', '--cid', id, '--cuuid', id, '--name', id],
    ...['--runtime', runcPath!, ...runcArgs.flatMap((arg) => ['--runtime-arg', arg])],
    ...['--bundle', join(folder, 'bundle')],
    ...['--container-pidfile', join(folder, 'conmon', 'pid')],
    ...['--conmon-pidfile', join(folder, 'conmon', 'conmon.pid')],
    ...['--persist-dir', join(folder, 'conmon'), '--exit-dir', c.exits],
    ...['--log-path', `k8s-file:${join(folder, 'log', 'app.log')}`],
    ...['--log-size-max', String(LOG_BYTES_UNATTENDED), '--log-level', 'error'],
    // An attach socket in the bundle, wherever that lies; no fsync at every exit; no keyring each.
    ...['--full-attach', '--no-sync-log', '--no-new-keyring'],
  ]
}

/**
 * Lets the program run. The sandbox waits until somebody opens its `exec.fifo` for reading, which is
 * what `runc start` does; done here it spares a process, a fifth of a start. Any surprise is left
 * to `runc start`.
 */
async function start(c: Conmon, run: Run, id: string): Promise<void> {
  const fifo = join(c.options.runDir, 'runc', id, 'exec.fifo')
  const opened = await openFifo(c, fifo).catch(() => false)
  // Without the file the sandbox counts as started.
  if (opened) await rm(fifo, { force: true })
  else await run(['start', id])
}

async function openFifo(c: Conmon, path: string): Promise<boolean> {
  // Non-blocking: a sandbox that died would hold a thread of ours for ever.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const byte = Buffer.alloc(1)
    for (let waitedMs = 0; waitedMs < FIFO_TIMEOUT_MS; waitedMs += FIFO_POLL_MS) {
      const read = await file.read(byte, 0, 1).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'EAGAIN') return { bytesRead: 0 }
        throw error
      })
      if (read.bytesRead === 1) return true
      await c.clock.sleep(FIFO_POLL_MS)
    }
    return false
  } finally {
    await file.close()
  }
}

async function kill(run: Run, id: string, signal: string): Promise<void> {
  try {
    await run(['kill', id, signal])
  } catch (error) {
    // It ended by itself meanwhile: its exit record says how.
    if (!/not running|already finished|does not exist|no such process/i.test(String(error)))
      throw error
  }
}

async function remove(c: Conmon, run: Run, id: string): Promise<void> {
  if (existsSync(join(c.options.runDir, 'runc', id))) {
    const ended = existsSync(join(c.exits, id))
    await run(['delete', ...(ended ? [] : ['--force']), id])
    if (!ended) await exitRecorded(c, id)
  }
  c.supervised.delete(id)
  await forgetExit(c, id)
}

/** Waits, so that the record of a run that was taken away is not read as the next one's. */
async function exitRecorded(c: Conmon, id: string): Promise<void> {
  const until = c.clock.now() + EXIT_RECORD_MS
  while (supervisorAlive(c, id) && c.clock.now() < until) await c.clock.sleep(EXIT_POLL_MS)
}

async function forgetExit(c: Conmon, id: string): Promise<void> {
  c.told.delete(id)
  await Promise.all([
    rm(join(c.exits, id), { force: true }),
    rm(supervisorFile(c, id, 'exit'), { force: true }),
    rm(supervisorFile(c, id, 'oom'), { force: true }),
  ])
}

async function list(c: Conmon, run: Run): Promise<ReadonlyMap<string, Sandbox>> {
  const text = await run(['list', '--format', 'json'])
  const rows = (JSON.parse(text) ?? []) as { id: string; pid: number; status: string }[]
  const found = new Map<string, Sandbox>()
  for (const { id, pid, status } of rows) {
    // First the supervisor, then its record: it writes before it ends.
    const alive = supervisorAlive(c, id)
    const exit = await readExit(c, id)
    const runs = status === 'running' || status === 'paused' || status === 'created'
    if (runs && !exit && alive) c.supervised.add(id)
    const waits = status === 'created' && (await isWaiting(pid))
    const state = !runs || exit ? 'stopped' : waits ? 'created' : alive ? 'running' : 'lost'
    found.set(id, { state, pid: runs ? pid : 0, exit })
  }
  return found
}

/**
 * Whether a sandbox's first process is still the runtime's own, which waits for `start`. An agent that
 * died between the two steps of `start` leaves a sandbox that runs and counts as created.
 */
async function isWaiting(pid: number): Promise<boolean> {
  const argv = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
  return argv.split('\0')[1] === 'init' && /(^|\/)runc/.test(argv)
}

/** Whether the pid in the supervisor's file is still that supervisor, and not a stranger. */
function supervisorAlive(c: Conmon, id: string): boolean {
  try {
    const pid = Number(readFileSync(supervisorFile(c, id, 'conmon.pid'), 'utf8'))
    const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
    return argv[0] === c.conmonPath && argv.includes(id)
  } catch {
    return false
  }
}

async function readExit(c: Conmon, id: string): Promise<SandboxExit | null> {
  try {
    const path = join(c.exits, id)
    const [text, { mtimeMs }] = await Promise.all([readFile(path, 'utf8'), stat(path)])
    if (!/^\d+$/.test(text.trim())) return null
    const oomKilled = existsSync(supervisorFile(c, id, 'oom'))
    return { code: Number(text), oomKilled, atMs: Math.round(mtimeMs) }
  } catch {
    return null
  }
}

function watchExits(c: Conmon): void {
  const { signal, onExit } = c.options
  const tell = async (id: string) => {
    if (!c.supervised.has(id) || c.told.has(id)) return
    const exit = await readExit(c, id)
    if (!exit || c.told.has(id) || signal.aborted) return
    if (!onExit(id, exit)) return
    c.told.add(id)
    c.supervised.delete(id)
  }
  const watcher = watch(c.exits, { signal }, (_event, name) => {
    if (name) void tell(name)
  })
  watcher.on('error', () => {}) // The sweep goes on without it.
  const sweep = async () => {
    for (const id of await readdir(c.exits).catch(() => [])) await tell(id)
    for (const id of [...c.supervised]) {
      if (supervisorAlive(c, id)) continue
      await tell(id)
      const lost = { code: CODE_KILLED, oomKilled: false, atMs: c.clock.now() }
      if (c.supervised.has(id) && onExit(id, lost)) c.supervised.delete(id)
    }
  }
  void (async () => {
    while (!signal.aborted) {
      await c.clock.sleep(SWEEP_MS, signal).catch(() => {})
      if (!signal.aborted) await sweep()
    }
  })()
}
