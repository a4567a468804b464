import type { z } from 'zod'
import { isTable } from './normalise.ts'
import type { Path } from './problem.ts'

/** What this needs to know of a zod schema. */
interface SchemaNode {
  readonly def: { readonly type: string }
  readonly shape?: Record<string, SchemaNode>
  readonly element?: SchemaNode
  readonly valueType?: SchemaNode
  unwrap?(): SchemaNode
}

/** Sections that stand for themselves: whatever is in them is theirs. */
const OPEN = new Set(['build', 'deploy', 'mounts', 'metrics', 'files', 'statics', 'experimental'])

/** Keys of `value` that the schema does not name, for `--strict` (S47). */
export function unknownKeys(schema: z.ZodType, value: unknown): Path[] {
  return walk(schema as unknown as SchemaNode, value, [])
}

function walk(schema: SchemaNode, value: unknown, path: Path): Path[] {
  if (schema.def.type === 'optional') return walk(schema.unwrap!(), value, path)
  if (schema.def.type === 'array' && Array.isArray(value)) {
    return value.flatMap((item, i) => walk(schema.element!, item, [...path, i]))
  }
  if (!isTable(value)) return []
  if (schema.def.type === 'record') {
    return Object.entries(value).flatMap(([k, v]) => walk(schema.valueType!, v, [...path, k]))
  }
  if (schema.def.type !== 'object') return []
  return Object.entries(value).flatMap(([key, item]) => {
    const next = schema.shape?.[key]
    if (!next) return [[...path, key]]
    return OPEN.has(key) && path.length === 0 ? [] : walk(next, item, [...path, key])
  })
}
