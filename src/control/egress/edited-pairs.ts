import { keys } from '../../model/keys.ts'
import type { EgressPair } from '../../model/resources.ts'
import type { Op } from '../../store/store.ts'
import { put, type Read } from '../transact.ts'
import { type AppEgress, readPairs } from './records.ts'

/** Pairs while they are edited: those of the app, and those that have gone from it to another one. */
export class EditedPairs {
  readonly #read: Read
  readonly #app: string
  readonly #known = new Map<string, EgressPair>()
  readonly #changed = new Set<string>()
  readonly #otherSets = new Map<string, AppEgress>()

  constructor(read: Read, app: string) {
    this.#read = read
    this.#app = app
  }

  get(id: string): EgressPair | undefined {
    return this.#known.get(id)
  }

  async edit(id: string, edit: (blocks: EgressPair['blocks']) => EgressPair['blocks']) {
    const pair = this.#known.get(id) ?? (await this.#load(id))
    if (!pair) return
    const blocks = edit(pair.blocks)
    this.#known.set(id, { ...pair, blocks })
    if (JSON.stringify(blocks) !== JSON.stringify(pair.blocks)) this.#changed.add(id)
  }

  ops(now: string): Op[] {
    const ops = [...this.#changed].map((id) =>
      put(keys.egress(id), { ...this.#known.get(id)!, updatedAt: now }),
    )
    // What decides by the other app's pairs must notice that one has changed.
    return [...ops, ...[...this.#otherSets].map(([app, set]) => put(keys.appEgress(app), set))]
  }

  async #load(id: string): Promise<EgressPair | undefined> {
    const [pair] = await readPairs(this.#read, [id])
    if (!pair) return undefined
    if (pair.app !== this.#app) {
      const set = pair.app && (await this.#read.get<AppEgress>(keys.appEgress(pair.app)))
      if (!pair.app || !set) return undefined
      this.#otherSets.set(pair.app, set)
      const [again] = await readPairs(this.#read, [id])
      if (!again || again.app !== pair.app) return undefined
      this.#known.set(id, again)
      return again
    }
    this.#known.set(id, pair)
    return pair
  }
}
