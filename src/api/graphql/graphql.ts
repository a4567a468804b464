import type { FastifyRequest } from 'fastify'
import {
  buildSchema,
  type DocumentNode,
  execute,
  GraphQLError,
  OperationTypeNode,
  parse,
  specifiedRules,
  validate,
} from 'graphql'
import { z } from 'zod'
import { FairwayError, isForCaller, messageOf } from '../../base/errors.ts'
import type { Actor } from '../../control/context.ts'
import type { MachineControl } from '../../control/machines/context.ts'
import { authenticate } from '../../control/tokens.ts'
import type { Api } from '../routes.ts'
import { GraphqlContext } from './context.ts'
import { checkLimits, TOKENS_MAX } from './limits.ts'
import { mutationRoot, queryRoot } from './roots.ts'
import { SDL } from './schema.ts'

/**
 * POST /graphql. Clients look into the body only when the status is 200 (flyctl-api 2.1), so errors
 * come as 200 too, a missing token included: `{"data","errors":[{message, path, extensions:{code}}]}`.
 */

export const GRAPHQL_BODY_BYTES_MAX = 256 * 1024
const VALIDATION_ERRORS_MAX = 5

const Request = z.looseObject({
  query: z.string().min(1),
  variables: z.record(z.string(), z.unknown()).nullish(),
  operationName: z.string().nullish(),
})
type Request = z.infer<typeof Request>

const Answer = z
  .object({
    data: z.unknown().optional(),
    errors: z
      .array(
        z.object({
          message: z.string(),
          path: z.array(z.union([z.string(), z.int()])).optional(),
          extensions: z.object({ code: z.string() }),
        }),
      )
      .optional(),
  })
  .meta({ id: 'GraphQLAnswer' })

const GRAPHQL = {
  tag: 'GraphQL',
  summary: 'Queries and mutations; the schema can be asked of it',
  description: 'Errors come with status 200 too, a missing token included.',
  ownBody: Request,
  response: { 200: Answer },
} as const

interface Answer {
  readonly data?: unknown
  readonly errors?: readonly AnswerError[]
}
interface AnswerError {
  readonly message: string
  readonly path?: readonly (string | number)[]
  /** Strings only: other types break a client's decoding. */
  readonly extensions: { readonly code: string }
}

const schema = buildSchema(SDL)

/** `context.log` hears of what fails inside; the caller hears the request's id. */
export function registerGraphql(api: Api, control: MachineControl): void {
  const options = {
    bodyLimit: GRAPHQL_BODY_BYTES_MAX,
    config: { ownAuthentication: true },
    schema: GRAPHQL,
  }
  api.post('/graphql', options, async (request, reply) => {
    const answer = await answerTo(control, request)
    return reply.code(200).type('application/json; charset=utf-8').send(answer)
  })
}

async function answerTo(control: MachineControl, request: FastifyRequest): Promise<Answer> {
  try {
    const actor = await authenticate(control, request.headers.authorization)
    return await runQuery(control, actor, request.body, request.id)
  } catch (error) {
    return { data: null, errors: [shownError(control, error, request.id)] }
  }
}

/** Answers one request's body on behalf of an actor. */
export async function runQuery(
  control: MachineControl,
  actor: Actor,
  body: unknown,
  requestId = '',
): Promise<Answer> {
  const asked = parseRequest(body)
  const document = parseDocument(asked.query)
  checkLimits(document)
  const problems = validate(schema, document, specifiedRules, { maxErrors: VALIDATION_ERRORS_MAX })
  if (problems.length > 0) return { errors: problems.map(invalidQuery) }
  const context = new GraphqlContext(control, actor)
  const isMutation = operationOf(document, asked.operationName) === OperationTypeNode.MUTATION
  const result = await execute({
    schema,
    document,
    rootValue: isMutation ? mutationRoot(context) : queryRoot(context),
    contextValue: context,
    variableValues: asked.variables ?? {},
    operationName: asked.operationName ?? null,
  })
  if (!result.errors) return { data: result.data }
  const errors = result.errors.map((error) => ({
    ...shownError(control, error, requestId),
    ...(error.path ? { path: error.path } : {}),
  }))
  return { data: result.data ?? null, errors }
}

function parseRequest(body: unknown): Request {
  const parsed = Request.safeParse(body)
  if (parsed.success) return parsed.data
  throw new FairwayError(
    'bad_request',
    'the body is not {"query": text, "variables": object or null} in JSON',
    { status: 400 },
  )
}

function parseDocument(query: string): DocumentNode {
  try {
    return parse(query, { maxTokens: TOKENS_MAX, noLocation: true })
  } catch (error) {
    throw new FairwayError('graphql_parse_failed', messageOf(error), { status: 400 })
  }
}

function operationOf(document: DocumentNode, name: string | null | undefined) {
  for (const definition of document.definitions) {
    if (definition.kind !== 'OperationDefinition') continue
    if (!name || definition.name?.value === name) return definition.operation
  }
  return undefined
}

const invalidQuery = ({ message }: GraphQLError): AnswerError => ({
  message,
  extensions: { code: 'GRAPHQL_VALIDATION_FAILED' },
})

/** Words for the caller; what is ours to repair goes to the log instead. */
function shownError(control: MachineControl, error: unknown, requestId: string): AnswerError {
  const cause = error instanceof GraphQLError ? (error.originalError ?? error) : error
  if (isForCaller(cause)) {
    return { message: cause.message, extensions: { code: cause.code.toUpperCase() } }
  }
  // Without a cause the executor itself refused: a variable or an argument of the wrong type.
  if (cause instanceof GraphQLError) {
    return { message: cause.message, extensions: { code: 'BAD_USER_INPUT' } }
  }
  const stack = cause instanceof Error ? cause.stack : undefined
  control.log.error({ error: messageOf(cause), stack, id: requestId }, 'GraphQL failed')
  const message = `something failed inside; the control plane's log has it under ${requestId}`
  return { message, extensions: { code: 'INTERNAL' } }
}
