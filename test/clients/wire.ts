import type { z } from 'zod'
import type { Step } from './replay.ts'

/** The calls that flyctl makes, each as it sends it, with what it needs back. The app is "shop". */

export type More = Partial<Step>

export const gql = (
  name: string,
  query: string,
  variables: object | null,
  answer: z.ZodType,
  more: More & { readonly operationName?: string } = {},
): Step => {
  const { operationName, ...rest } = more
  const named = operationName === undefined ? {} : { operationName }
  const body = { query, variables, ...named }
  return { name, method: 'POST', path: '/graphql', body, answer, ...rest }
}
export const rest = (call: string, answer?: z.ZodType, more: More = {}): Step => {
  const [method = '', path = ''] = call.split(' ')
  return { name: call, method, path, ...(answer ? { answer } : {}), ...more }
}

export const app = { appName: 'shop' }
export const A = '/v1/apps/shop'
export const M = `${A}/machines`
export const ONE = `${M}/<machine>`
export const NONCE = { headers: { 'fly-machine-lease-nonce': '<nonce>' } }
