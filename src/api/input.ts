import { z } from 'zod'
import { FairwayError } from '../base/errors.ts'

/** Reading what a request brings. Anything that does not fit is a 400 that names the field. */

/** Which part of a request; errors name it. */
export type InputPart = 'body' | 'query' | 'path'

export function parseInput<S extends z.ZodType>(
  schema: S,
  value: unknown,
  part: InputPart,
): z.output<S> {
  const parsed = schema.safeParse(value ?? {})
  if (parsed.success) return parsed.data
  const lines = parsed.error.issues.map((issue) => {
    const field = issue.path.map(String).join('.')
    return `${part}${field ? ` field ${field}` : ''}: ${issue.message}`
  })
  throw new FairwayError('invalid_request', lines.join('; '), { status: 400 })
}

/** A flag in a query: `?kill=true`, `?kill=1`; anything else, and none, is false. */
export const queryFlag = z
  .union([z.string(), z.array(z.string())])
  .optional()
  .transform((value) => ['true', '1', 'yes'].includes(String(value).toLowerCase()))

/** A parameter that may be repeated, or not be there. */
export const queryList = z
  .union([z.string(), z.array(z.string())])
  .optional()
  .transform((value) => (value === undefined ? [] : [value].flat()))

/** Text where clients send an empty one, or null, for none. */
export const optionalText = z
  .string()
  .nullish()
  .transform((value) => value || undefined)

export const queryNumber = (name: string) =>
  z
    .string()
    .regex(/^\d{1,15}$/, `${name} is a whole number`)
    .transform(Number)

export const appPath = z.object({ app: z.string().min(1).max(128) })
export const machinePath = appPath.extend({ id: z.string().min(1).max(64) })
