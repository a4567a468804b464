import type { Command } from 'commander'
import { FairwayError } from '../base/errors.ts'
import { findConfig, type LoadedConfig } from './app-config.ts'
import { Client } from './client.ts'
import { resolveEndpoint } from './endpoint.ts'
import { usage } from './errors.ts'
import type { Io } from './io.ts'
import { confirm } from './prompt.ts'

/** Flags that every command takes. */
export interface GlobalOptions {
  readonly app?: string
  readonly config?: string
  readonly accessToken?: string
  readonly json?: boolean
  readonly yes?: boolean
  readonly verbose?: boolean
  readonly org?: string
}

/** How long something may take before its progress is shown. */
const QUIET_MS = 1_000
const REMINDER_MS = 10_000
const TRUTHY = new Set(['1', 'ok', 't', 'true'])
const truthy = (value: string | undefined) => TRUTHY.has((value ?? '').toLowerCase())

/** One command's run: its flags, its client, its output. */
export class Session {
  readonly io: Io
  readonly options: GlobalOptions
  #client: Client | undefined
  #config: { readonly loaded: LoadedConfig | undefined } | undefined

  constructor(io: Io, options: GlobalOptions) {
    this.io = io
    this.options = options
  }

  get client(): Client {
    if (!this.#client) {
      const endpoint = resolveEndpoint(this.io.env, this.options.accessToken)
      const verbose = this.options.verbose || truthy(this.io.env.FLY_VERBOSE)
      this.#client = new Client(endpoint, this.io, verbose ? (line) => this.note(line) : undefined)
    }
    return this.#client
  }

  get wantsJson(): boolean {
    return this.options.json ?? truthy(this.io.env.FLY_JSON)
  }

  /** The fly.toml of --config or of the working directory; undefined when there is none. */
  get config(): LoadedConfig | undefined {
    this.#config ??= { loaded: findConfig(this.io.cwd, this.options.config) }
    return this.#config.loaded
  }

  /** -a, then FLY_APP, then `app` of fly.toml; undefined when none names one. */
  get appIfAny(): string | undefined {
    return this.options.app || this.io.env.FLY_APP || this.config?.config.app
  }

  get app(): string {
    const app = this.appIfAny
    if (app) return app
    throw usage(
      'No app named. Give -a NAME, set FLY_APP, or run it where a fly.toml names the app.',
    )
  }

  /** The same command's session for an app that became known on the way. */
  withApp(app: string): Session {
    return new Session(this.io, { ...this.options, app })
  }

  withConfig(config: string): Session {
    return new Session(this.io, { ...this.options, config })
  }

  /** The same command's session for what is to be done even after the person interrupted. */
  uninterrupted(): Session {
    return new Session({ ...this.io, signal: new AbortController().signal }, this.options)
  }

  /** `/v1/apps/<app>` with more segments. */
  appPath(...segments: readonly string[]): string {
    return ['/v1/apps', ...[this.app, ...segments].map(encodeURIComponent)].join('/')
  }

  print(text: string): void {
    this.io.stdout.write(text.endsWith('\n') ? text : `${text}\n`)
  }

  printJson(value: unknown): void {
    this.print(JSON.stringify(value, null, 2))
  }

  /** A line for the person, beside the result. */
  note(text: string): void {
    this.io.stderr.write(text.endsWith('\n') ? text : `${text}\n`)
  }

  /** Says what is going on when `work` takes longer than a second. */
  async during<T>(what: string, work: Promise<T>): Promise<T> {
    const startedMs = this.io.clock.now()
    const say = () => {
      const seconds = Math.round((this.io.clock.now() - startedMs) / 1000)
      this.note(seconds < 5 ? `${what} ...` : `${what} ... (${seconds} s)`)
      timer = setTimeout(say, REMINDER_MS).unref()
    }
    let timer = setTimeout(say, QUIET_MS).unref()
    try {
      return await work
    } finally {
      clearTimeout(timer)
    }
  }

  /** Asks, unless --yes answered; without a terminal that is an error which names the flag. */
  async confirm(question: string): Promise<void> {
    if (this.options.yes) return
    if (!this.io.interactive) {
      throw new FairwayError('needs_yes', `${question} Give --yes to do it without a prompt.`)
    }
    await confirm(question)
  }
}

/** Wraps a command's handler: gives it a session; options are the last argument. */
export function action<A extends unknown[]>(
  io: Io,
  handler: (session: Session, ...args: A) => Promise<void> | void,
): (...args: unknown[]) => Promise<void> {
  return async (...args) => {
    const command = args.at(-1) as Command
    const options = command.optsWithGlobals()
    const positional = args.slice(0, -2)
    await handler(new Session(io, options), ...([...positional, options] as A))
  }
}
