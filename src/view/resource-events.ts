import { Address, App, Endpoint, ExplainGrant, Host, HostLive, Region } from '../model/resources.ts'
import type { FeedEvent, FeedLine } from '../model/wire.ts'

/** A change of one public resource; `value` undefined means that it is gone. */
export type ResourceEvent =
  | { readonly kind: 'region'; readonly id: string; readonly value: Region | undefined }
  | { readonly kind: 'host'; readonly id: string; readonly value: Host | undefined }
  | { readonly kind: 'host-live'; readonly id: string; readonly value: HostLive | undefined }
  | { readonly kind: 'app'; readonly id: string; readonly value: App | undefined }
  | { readonly kind: 'address'; readonly id: string; readonly value: Address | undefined }
  | {
      readonly kind: 'endpoint'
      readonly app: string
      readonly id: string
      readonly value: Endpoint | undefined
    }
  | {
      readonly kind: 'explain'
      readonly app: string
      readonly id: string
      readonly value: ExplainGrant | undefined
    }

/** A resource that could not be read. The version before it, if any, stays in use. */
export interface ViewProblem {
  readonly key: string
  readonly message: string
}

export const PROBLEMS_MAX = 100
const PROBLEM_CHARS_MAX = 300

const SCHEMAS = {
  region: Region,
  host: Host,
  'host-live': HostLive,
  app: App,
  address: Address,
  endpoint: Endpoint,
  explain: ExplainGrant,
} as const

/** Which field of the value repeats the last segment of the key. */
const ID_FIELD: Readonly<Record<keyof typeof SCHEMAS, string>> = {
  region: 'code',
  host: 'id',
  'host-live': 'id',
  app: 'name',
  address: 'address',
  endpoint: 'machine',
  explain: 'id',
}

/** Kinds whose keys name the app before the resource itself. */
const OF_APP: ReadonlySet<string> = new Set(['endpoint', 'explain'])

/** The event as a typed change, a problem, or undefined when views do not look at such keys. */
export function readEvent(event: FeedEvent): ResourceEvent | ViewProblem | undefined {
  const key = event[1]
  const [kind, ...path] = key.split('/')
  if (!isKind(kind)) return undefined
  const id = path.at(-1)
  if (!id || path.length !== (OF_APP.has(kind) ? 2 : 1))
    return { key, message: `the key has ${path.length} segments after "${kind}"` }
  if (event[0] === 'delete') return resource(kind, path, undefined)
  const parsed = SCHEMAS[kind].safeParse(event[2])
  if (!parsed.success) return { key, message: describe(parsed.error.issues) }
  const value = parsed.data as Record<string, unknown>
  if (value[ID_FIELD[kind]] !== id || (OF_APP.has(kind) && value.app !== path[0]))
    return { key, message: `the value names ${String(value[ID_FIELD[kind]])}, not the key's own` }
  return resource(kind, path, value)
}

const isKind = (kind: string | undefined): kind is keyof typeof SCHEMAS =>
  kind !== undefined && Object.hasOwn(SCHEMAS, kind)

const resource = (kind: string, path: readonly string[], value: unknown): ResourceEvent =>
  (OF_APP.has(kind)
    ? { kind, app: path[0], id: path[1], value }
    : { kind, id: path[0], value }) as ResourceEvent

const describe = (issues: readonly { path: PropertyKey[]; message: string }[]): string =>
  issues
    .slice(0, 3)
    .map(({ path, message }) => `${path.map(String).join('.') || 'value'}: ${message}`)
    .join('; ')
    .slice(0, PROBLEM_CHARS_MAX)

/** What a view keeps for one state; `apply` names the apps that the event changes. */
export interface ViewState {
  apply(event: ResourceEvent): readonly string[]
  appNames(): Iterable<string>
}

/**
 * The state of a view, kept by the lines of a feed: a snapshot is built aside, and shown by one
 * assignment when it is complete, so that readers see the old state or the new one.
 */
export class FeedFold<S extends ViewState> {
  readonly #create: () => S
  #shown: Layer<S>
  #staged: Layer<S> | undefined
  #revision = 0

  constructor(create: () => S) {
    this.#create = create
    this.#shown = { state: create(), problems: new Map() }
  }

  get revision(): number {
    return this.#revision
  }

  get state(): S {
    return this.#shown.state
  }

  problems(): readonly ViewProblem[] {
    return [...this.#shown.problems.values()]
  }

  /** Takes the next line; gives the apps whose answers may differ after it. Never throws. */
  apply(line: FeedLine): readonly string[] {
    switch (line.t) {
      case 'snapshot':
        this.#staged = { state: this.#create(), problems: new Map() }
        return []
      case 'events':
        return this.#events(line.revision, line.events)
      case 'synced':
        return this.#synced(line.revision)
      default:
        return []
    }
  }

  #events(revision: number, events: readonly FeedEvent[]): readonly string[] {
    if (this.#staged) {
      for (const event of events) applyTo(this.#staged, event)
      return []
    }
    if (revision < this.#revision) return [] // A repetition: the state has all of it already.
    const changed = new Set<string>()
    for (const event of events) for (const app of applyTo(this.#shown, event)) changed.add(app)
    this.#revision = revision
    return [...changed]
  }

  #synced(revision: number): readonly string[] {
    if (!this.#staged) {
      this.#revision = Math.max(this.#revision, revision)
      return []
    }
    const before = this.#shown
    this.#shown = this.#staged
    this.#staged = undefined
    this.#revision = revision
    return [...new Set([...before.state.appNames(), ...this.#shown.state.appNames()])]
  }
}

interface Layer<S> {
  readonly state: S
  readonly problems: Map<string, ViewProblem>
}

function applyTo<S extends ViewState>(layer: Layer<S>, event: FeedEvent): readonly string[] {
  const read = readEvent(event)
  if (!read) return []
  if ('message' in read) {
    if (layer.problems.size < PROBLEMS_MAX || layer.problems.has(read.key))
      layer.problems.set(read.key, read)
    return []
  }
  if (layer.problems.size > 0) layer.problems.delete(event[1])
  return layer.state.apply(read)
}
