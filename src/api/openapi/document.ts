import { STATUS_CODES } from 'node:http'
import type { FastifySchema } from 'fastify'
import { z } from 'zod'
import { type JsonSchema, Schemas } from './schemas.ts'

/** The OpenAPI 3.1 document of the routes that there are. */

export interface DescribedRoute {
  readonly method: string
  /** As fastify has it: `/v1/apps/:app`. */
  readonly url: string
  readonly schema: FastifySchema
  readonly public: boolean
}

const Problem = z
  .object({ error: z.string(), status: z.string() })
  .meta({ id: 'Error', description: 'What is wrong, and a code that does not change.' })

type Contents = Readonly<Record<string, { readonly schema: z.ZodType }>>
const JSON_TYPE = 'application/json'

export function openApiDocument(routes: readonly DescribedRoute[], version: string): JsonSchema {
  const schemas = new Schemas()
  const failed = {
    description: 'An error',
    content: { [JSON_TYPE]: { schema: schemas.of(Problem, 'output') } },
  }
  const paths: Record<string, Record<string, JsonSchema>> = {}
  for (const route of routes) {
    const path = route.url.replace(/:(\w+)/g, '{$1}')
    paths[path] ??= {}
    paths[path][route.method.toLowerCase()] = operation(schemas, route, failed)
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Fairway',
      version,
      description: "The Machines API, flyctl's second REST API, and Fairway's own calls.",
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{ token: [] }],
    paths,
    components: {
      schemas: schemas.components,
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
    },
  }
}

function operation(schemas: Schemas, route: DescribedRoute, failed: JsonSchema): JsonSchema {
  const { schema } = route
  const body = (schema.body ?? schema.ownBody) as z.ZodType | undefined
  return {
    operationId: operationId(route),
    summary: schema.summary,
    ...(schema.description ? { description: schema.description } : {}),
    tags: [schema.tag],
    ...(route.public ? { security: [] } : {}),
    parameters: [
      ...parameters(schemas, schema.params, 'path'),
      ...parameters(schemas, schema.querystring, 'query'),
    ],
    ...(body ? { requestBody: requestBody(schemas, body) } : {}),
    responses: { ...responses(schemas, schema.response), default: failed },
  }
}

/** `GET /v1/apps/:app/machines` is `getV1AppsAppMachines`. */
const operationId = ({ method, url }: DescribedRoute): string =>
  method.toLowerCase() +
  url
    .split(/[^A-Za-z0-9]+/)
    .filter((word) => word !== '')
    .map((word) => word[0]!.toUpperCase() + word.slice(1))
    .join('')

function parameters(schemas: Schemas, schema: unknown, where: 'path' | 'query'): JsonSchema[] {
  if (!schema) return []
  const { properties = {}, required = [] } = schemas.of(schema as z.ZodType, 'input') as {
    properties?: Record<string, JsonSchema>
    required?: readonly string[]
  }
  return Object.entries(properties).map(([name, one]) => ({
    name,
    in: where,
    required: required.includes(name),
    schema: one,
  }))
}

const requestBody = (schemas: Schemas, body: z.ZodType): JsonSchema => ({
  // No body at all is taken for an empty object.
  required: !body.safeParse({}).success,
  content: { [JSON_TYPE]: { schema: schemas.of(body, 'input') } },
})

function responses(schemas: Schemas, response: unknown): Record<string, JsonSchema> {
  const answers = Object.entries((response ?? {}) as Record<string, z.ZodType | Described>)
  return Object.fromEntries(
    answers.map(([status, answer]) => {
      const contents = 'content' in answer ? answer.content : { [JSON_TYPE]: { schema: answer } }
      const content = Object.entries(contents).flatMap(([type, { schema }]) =>
        schema instanceof z.ZodUndefined
          ? []
          : [[type, { schema: schemas.of(schema, 'output') }] as const],
      )
      const description = STATUS_CODES[status] ?? 'An answer'
      return [
        status,
        { description, ...(content.length > 0 ? { content: Object.fromEntries(content) } : {}) },
      ]
    }),
  )
}
interface Described {
  readonly content: Contents
}
