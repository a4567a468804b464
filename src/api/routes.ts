import type { IncomingMessage, ServerResponse } from 'node:http'
import type {
  FastifyBaseLogger,
  FastifyInstance,
  FastifyTypeProvider,
  RawServerDefault,
} from 'fastify'
import { z } from 'zod'
import { type InputPart, parseInput } from './input.ts'

/**
 * Routes say with zod what they take and what they answer: the request is parsed by it, the handler is
 * typed by it, and the OpenAPI document is made of it. What a handler answers is checked by the compiler
 * and by tests, not anew in each reply.
 */

declare module 'fastify' {
  interface FastifySchema {
    /** What the call does, for the document. */
    readonly summary?: string
    readonly tag?: Tag
    readonly description?: string
    /** The body, where the handler parses it itself. */
    readonly ownBody?: unknown
  }
}

/** How the document groups calls. */
export type Tag =
  | 'Apps'
  | 'Machines'
  | 'Leases'
  | 'Addresses'
  | 'Egress'
  | 'Outbound proxies'
  | 'Explanations'
  | 'Certificates'
  | 'Volumes'
  | 'Secrets'
  | 'Releases'
  | 'Organizations'
  | 'Platform'
  | 'GraphQL'

/** Handlers give away what they may not change. */
type Frozen<T> = T extends readonly (infer E)[]
  ? readonly Frozen<E>[]
  : T extends object
    ? { readonly [K in keyof T]: Frozen<T[K]> }
    : T

interface ZodTypes extends FastifyTypeProvider {
  readonly validator: this['schema'] extends z.ZodType ? z.output<this['schema']> : unknown
  readonly serializer: this['schema'] extends z.ZodType ? Frozen<z.input<this['schema']>> : unknown
}

export type Api = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypes
>

const PARTS: Readonly<Record<string, InputPart>> = {
  body: 'body',
  querystring: 'query',
  params: 'path',
}

export function withZod(app: FastifyInstance): Api {
  app.setValidatorCompiler<z.ZodType>(({ schema, httpPart }) => (value) => {
    try {
      return { value: parseInput(schema, value, PARTS[httpPart ?? ''] ?? 'body') }
    } catch (error) {
      return { error: error as Error }
    }
  })
  app.setSerializerCompiler(() => (value) => JSON.stringify(value))
  return app.withTypeProvider<ZodTypes>()
}

/** What no client reads a field of. */
export const TextPage = { content: { 'text/plain': { schema: z.string() } } }
/** The answer to a change that has nothing else to say. */
export const Ok = z.object({ ok: z.literal(true) })
export const OK = { ok: true } as const
export const NoContent = z.undefined()
/** Lines of JSON, one object each, as they come. */
export const ndjson = (line: z.ZodType) => ({
  content: { 'application/x-ndjson': { schema: line } },
})
/** RFC 3339. */
export const Time = z.string().meta({ format: 'date-time' })
