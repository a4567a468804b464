import { parseIp } from '../base/ip.ts'
import type { Address, App } from '../model/resources.ts'
import type { FeedLine } from '../model/wire.ts'
import { compare } from './app-routes.ts'
import {
  FeedFold,
  type ResourceEvent,
  type ViewProblem,
  type ViewState,
} from './resource-events.ts'

/** Public addresses of an app's name: dedicated ones first, then the shared one. */
export interface AppNames {
  readonly a: readonly string[]
  readonly aaaa: readonly string[]
}

/** What the authoritative DNS of the apps' domains answers from. */
export interface ZoneView {
  readonly revision: number
  /** Undefined when there is no such app; empty lists when it has no address of the family. */
  app(name: string): AppNames | undefined
}

/** The zone of the apps, kept by the lines of a feed. */
export class ZoneIndex implements ZoneView {
  readonly #fold = new FeedFold(() => new ZoneState())

  get revision(): number {
    return this.#fold.revision
  }

  /** Takes the next line; gives the names of the apps that it changed. Never throws. */
  apply(line: FeedLine): readonly string[] {
    return this.#fold.apply(line)
  }

  problems(): readonly ViewProblem[] {
    return this.#fold.problems()
  }

  app(name: string): AppNames | undefined {
    return this.#fold.state.app(name)
  }
}

class ZoneState implements ViewState {
  readonly #apps = new Map<string, App>()
  readonly #addresses = new Map<string, Address>()
  readonly #byApp = new Map<string, Set<string>>()
  readonly #names = new Map<string, AppNames>()

  apply(event: ResourceEvent): readonly string[] {
    if (event.kind === 'address') return this.#setAddress(event.id, event.value)
    if (event.kind !== 'app') return []
    if (event.value) this.#apps.set(event.id, event.value)
    else this.#apps.delete(event.id)
    this.#names.delete(event.id)
    return [event.id]
  }

  appNames(): Iterable<string> {
    return this.#apps.keys()
  }

  #setAddress(id: string, value: Address | undefined): readonly string[] {
    const before = this.#addresses.get(id)?.app
    if (before) {
      const addresses = this.#byApp.get(before)
      addresses?.delete(id)
      if (addresses?.size === 0) this.#byApp.delete(before)
    }
    if (value) this.#addresses.set(id, value)
    else this.#addresses.delete(id)
    if (value?.app) this.#byApp.set(value.app, (this.#byApp.get(value.app) ?? new Set()).add(id))
    const changed = [...new Set([before, value?.app].filter((app) => typeof app === 'string'))]
    for (const app of changed) this.#names.delete(app)
    return changed
  }

  app(name: string): AppNames | undefined {
    const known = this.#names.get(name)
    if (known) return known
    const app = this.#apps.get(name)
    if (!app) return undefined
    const names = { a: this.#dedicated(name, 'v4'), aaaa: this.#dedicated(name, 'v6') }
    if (app.sharedV4 !== null) names.a.push(app.sharedV4)
    this.#names.set(name, names)
    return names
  }

  #dedicated(app: string, kind: 'v4' | 'v6'): string[] {
    const family = kind === 'v4' ? 4 : 6
    return [...(this.#byApp.get(app) ?? [])]
      .map((id) => this.#addresses.get(id)!)
      .filter((address) => address.kind === kind && address.state === 'attached')
      .map(({ address }) => address)
      .filter((address) => parseIp(address)?.family === family)
      .sort(compare)
  }
}
