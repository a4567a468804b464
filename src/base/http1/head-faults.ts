import type { MessageLimit } from './limits.ts'

/** Why a head is refused: the status that the client gets, and the reason in words. */
export interface HeadFault {
  readonly status: 400 | 405 | 408 | 414 | 431 | 501 | 505
  readonly reason: string
  readonly limit?: MessageLimit
}

export const badRequest = (reason: string): HeadFault => ({ status: 400, reason })

/** What can be wrong with any request (RFC 9112 3, 5 and 6). */
export const FAULTS = {
  line: badRequest('the request line is not "METHOD target HTTP/1.1"'),
  method: badRequest('the method is not a token'),
  target: badRequest('the request target has a character that must be percent-encoded'),
  version: { status: 505, reason: 'only HTTP/1.0 and HTTP/1.1 are spoken here' },
  field: badRequest('a header line is malformed'),
  hostTwice: badRequest('more than one Host header'),
  length: badRequest('Content-Length is not one number'),
  lengthTwice: badRequest('more than one Content-Length'),
  encoding: badRequest('Transfer-Encoding is not exactly "chunked"'),
  bothFramings: badRequest('Content-Length and Transfer-Encoding together'),
  nominated: badRequest('the Connection header lists a header that frames or routes the request'),
  targetBytes: { status: 414, reason: 'the request target is too long', limit: 'target_bytes' },
  headBytes: { status: 431, reason: 'the request head is too large', limit: 'head_bytes' },
  headerCount: { status: 431, reason: 'too many header lines', limit: 'header_count' },
  headLate: { status: 408, reason: 'the request head did not come in time' },
  bodyLate: { status: 408, reason: 'the request body did not come in time' },
} as const satisfies Record<string, HeadFault>

export const badBody = (fault: string | null): HeadFault =>
  badRequest(fault ?? 'the request body is malformed')
