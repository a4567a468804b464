import {
  type DocumentNode,
  type FragmentDefinitionNode,
  Kind,
  type SelectionSetNode,
} from 'graphql'
import { FairwayError } from '../../base/errors.ts'

/**
 * What a query may ask for, decided from its text before anything is looked up or even validated:
 * validation itself compares all fields of one name with each other.
 */

export const TOKENS_MAX = 4_000
/** The usual introspection query is 15 deep. */
export const DEPTH_MAX = 16
/** With fragments written out. */
export const FIELDS_MAX = 1_000
export const ALIASES_MAX = 30
export const OPERATIONS_MAX = 20

interface Count {
  readonly depth: number
  readonly fields: number
  readonly aliases: number
}

/** Throws `query_too_large`, which names the limit. */
export function checkLimits(document: DocumentNode): void {
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) {
      fragments.set(definition.name.value, definition)
    }
  }
  const counter = new Counter(fragments)
  let operations = 0
  for (const definition of document.definitions) {
    if (definition.kind !== Kind.OPERATION_DEFINITION) continue
    operations += 1
    const { depth, fields, aliases } = counter.count(definition.selectionSet)
    check('levels', depth, DEPTH_MAX)
    check('fields', fields, FIELDS_MAX)
    check('aliases', aliases, ALIASES_MAX)
  }
  check('operations', operations, OPERATIONS_MAX)
}

class Counter {
  readonly #fragments: ReadonlyMap<string, FragmentDefinitionNode>
  /** Each fragment is counted once, however often it is spread: else spreads of spreads explode. */
  readonly #known = new Map<string, Count>()
  constructor(fragments: ReadonlyMap<string, FragmentDefinitionNode>) {
    this.#fragments = fragments
  }

  count(set: SelectionSetNode): Count {
    let [depth, fields, aliases] = [0, 0, 0]
    for (const selection of set.selections) {
      const inner =
        selection.kind === Kind.FRAGMENT_SPREAD
          ? this.#fragment(selection.name.value)
          : selection.selectionSet
            ? this.count(selection.selectionSet)
            : NOTHING
      const isField = selection.kind === Kind.FIELD
      depth = Math.max(depth, inner.depth + (isField ? 1 : 0))
      fields += inner.fields + (isField ? 1 : 0)
      aliases += inner.aliases + (isField && selection.alias ? 1 : 0)
    }
    return { depth, fields, aliases }
  }

  #fragment(name: string): Count {
    const known = this.#known.get(name)
    if (known) return known
    // A fragment that spreads itself counts nothing here; validation refuses it.
    this.#known.set(name, NOTHING)
    const fragment = this.#fragments.get(name)
    const counted = fragment ? this.count(fragment.selectionSet) : NOTHING
    this.#known.set(name, counted)
    return counted
  }
}

const NOTHING: Count = { depth: 0, fields: 0, aliases: 0 }

function check(what: string, found: number, max: number): void {
  if (found <= max) return
  throw new FairwayError('query_too_large', `the query has ${found} ${what}; ${max} is the limit`)
}
