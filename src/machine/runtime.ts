/**
 * What keeps machines running: sandboxes that outlive the agent. One implementation drives runc
 * under conmon; tests have a fake.
 */
export interface Runtime {
  /** Sandboxes that exist, by machine id, read from the runtime and not from memory. */
  list(): Promise<ReadonlyMap<string, Sandbox>>
  /** Makes the sandbox; its program waits for `start`. A left-over of the same id is removed. */
  create(spec: SandboxSpec): Promise<void>
  start(id: string): Promise<void>
  /** Sends a signal (`SIGTERM`) to the machine's first process. Not an error when it has ended. */
  kill(id: string, signal: string): Promise<void>
  /** Removes the sandbox, what still runs in it, and its exit record. */
  delete(id: string): Promise<void>
}

export interface SandboxSpec {
  readonly id: string
  /** The machine's folder, with `bundle/config.json` and `log/`. */
  readonly folder: string
}

export interface Sandbox {
  /**
   * `created`: its program waits for `start`, supervised or not. `lost`: the program runs, but what
   * supervised it (its log and its exit status) is gone.
   */
  readonly state: 'created' | 'running' | 'stopped' | 'lost'
  /** Pid of its first process; 0 when it has ended. */
  readonly pid: number
  readonly exit: SandboxExit | null
}

export interface SandboxExit {
  /** 128 + signal when a signal ended it. */
  readonly code: number
  readonly oomKilled: boolean
  readonly atMs: number
}

/** False when nobody knows the machine yet: it is told again. */
export type ExitListener = (id: string, exit: SandboxExit) => boolean
