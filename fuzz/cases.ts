import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type RequestCase, requestCase } from './requests.ts'
import { type ResponseCase, responseCase } from './responses.ts'

/** Where cases come from, by number: each is one of a request or one of a response. */
export interface Cases {
  /** Of those that there are: 0 to `size` - 1. */
  readonly size: number
  isResponse(k: number): boolean
  request(k: number): RequestCase
  response(k: number): ResponseCase
}

/** Of a seed: one in four is a response. */
export const generatedCases = (seed: number, size: number): Cases => ({
  size,
  isResponse: (k) => k % 4 === 3,
  request: (k) => requestCase(seed, k),
  response: (k) => responseCase(seed, k),
})

export interface RequestEntry {
  readonly name: string
  readonly segments: RequestCase
  /** What has to come of it: how many are whole, and what is then (see ReferenceConnection). */
  readonly requests: number
  readonly end: string
}

export interface ResponseEntry extends ResponseCase {
  readonly name: string
  readonly kind: string
}

/** Found once, or classic: run each time. One char is one octet. */
export const REQUESTS: readonly RequestEntry[] = read('requests.json')
export const RESPONSES: readonly ResponseEntry[] = read('responses.json')

export const corpusCases: Cases = {
  size: REQUESTS.length + RESPONSES.length,
  isResponse: (k) => k >= REQUESTS.length,
  request: (k) => REQUESTS[k]!.segments,
  response: (k) => RESPONSES[k - REQUESTS.length]!,
}

function read<T>(name: string): T {
  return JSON.parse(readFileSync(join(import.meta.dirname, 'corpus', name), 'utf8'))
}
