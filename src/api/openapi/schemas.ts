import { z } from 'zod'

/** JSON Schemas of zod's, those with a name of their own (`.meta({ id })`) once for all. */

export type JsonSchema = Readonly<Record<string, unknown>>

const DEFS = '#/$defs/'
/** Defaults are there in answers and may be left out of requests: one name, two schemas. */
const SUFFIX = { output: '', input: 'Input' } as const
export type Direction = keyof typeof SUFFIX

const shown = new WeakMap<object, z.ZodType>()

/** Lets `schema`, which takes anything because its route parses it later, be shown as what it takes. */
export function shownAs<S extends z.ZodType>(schema: S, as: z.ZodType): S {
  shown.set(schema, as)
  return schema
}

export class Schemas {
  readonly #components = new Map<string, JsonSchema>()

  /** By name, in the order of the alphabet. */
  get components(): Record<string, JsonSchema> {
    return Object.fromEntries([...this.#components].sort(([a], [b]) => (a < b ? -1 : 1)))
  }

  /** The schema, with references to `components` for what has a name. */
  of(schema: z.ZodType, direction: Direction): JsonSchema {
    const suffix = SUFFIX[direction]
    const made = z.toJSONSchema(schema, {
      io: direction,
      unrepresentable: 'any',
      override: ({ zodSchema, jsonSchema }) => {
        const as = shown.get(zodSchema)
        if (as) Object.assign(jsonSchema, this.of(as, direction))
        tidy(jsonSchema, direction)
      },
    })
    const { $schema: _, $defs = {}, ...root } = made
    for (const [name, definition] of Object.entries($defs))
      this.#components.set(`${name}${suffix}`, renamed(definition, suffix))
    return renamed(root, suffix)
  }
}

/** Takes out what says nothing. */
function tidy(schema: Record<string, unknown>, direction: Direction): void {
  if (schema.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum
  const more = schema.additionalProperties
  // Requests may hold more than what is read, and a later version may answer more than this one. An
  // answer that holds anything already says so.
  if (direction === 'output' ? more === false : isEmpty(more)) delete schema.additionalProperties
}

const isEmpty = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && Object.keys(value).length === 0

/** The same with references to components instead of its own definitions. */
function renamed(schema: object, suffix: string): JsonSchema {
  const text = JSON.stringify(schema, (key, value: unknown) =>
    key === '$ref' && typeof value === 'string' && value.startsWith(DEFS)
      ? `#/components/schemas/${value.slice(DEFS.length)}${suffix}`
      : value,
  )
  return JSON.parse(text) as JsonSchema
}
