import type { Actor } from '../../control/context.ts'
import type { MachineControl } from '../../control/machines/context.ts'
import { getOrg } from '../../control/orgs.ts'
import type { Org } from '../../model/resources.ts'

/** One request: who asks, and what has been read for it already. */
export class GraphqlContext {
  readonly control: MachineControl
  readonly actor: Actor
  readonly #orgs = new Map<string, Promise<Org>>()

  constructor(control: MachineControl, actor: Actor) {
    this.control = control
    this.actor = actor
  }

  /** Lists name the same few orgs again and again. */
  org(slug: string): Promise<Org> {
    const known = this.#orgs.get(slug) ?? getOrg(this.control, this.actor, slug)
    this.#orgs.set(slug, known)
    return known
  }
}

/** A list in the shape of every connection. All of it is one page. */
export function connection<T>(nodes: readonly T[], page: { readonly next?: string | null } = {}) {
  const cursor = (i: number) => (i === nodes.length - 1 && page.next ? page.next : String(i))
  const edges = nodes.map((node, i) => ({ cursor: cursor(i), node }))
  return {
    nodes,
    edges,
    totalCount: nodes.length,
    pageInfo: {
      hasNextPage: Boolean(page.next),
      hasPreviousPage: false,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  }
}
