/**
 * Why the proxy refuses or fails, in the words of each protocol. The code is in the answer's
 * `Fairway-Outbound-Error` header, in the request log and in the metrics; docs/outbound.md has the
 * same table.
 */
export interface Failure {
  readonly code: FailureCode
  /** Says field, value and fix; goes to the client. */
  readonly message: string
}

/** `socks` is the reply field of RFC 1928, section 6. */
const CODES = {
  bad_request: { status: 400, socks: 0x01 },
  bad_destination: { status: 400, socks: 0x01 },
  credentials_required: { status: 407, socks: 0x02 },
  credentials_refused: { status: 407, socks: 0x02 },
  destination_refused: { status: 403, socks: 0x02 },
  method_refused: { status: 405, socks: 0x07 },
  limit_connections: { status: 429, socks: 0x01 },
  limit_rate: { status: 429, socks: 0x01 },
  name_not_found: { status: 502, socks: 0x04 },
  name_failed: { status: 502, socks: 0x04 },
  connect_refused: { status: 502, socks: 0x05 },
  unreachable: { status: 502, socks: 0x03 },
  no_source: { status: 503, socks: 0x01 },
  source_exhausted: { status: 503, socks: 0x01 },
  connect_timeout: { status: 504, socks: 0x06 },
  upstream_timeout: { status: 504, socks: 0x06 },
  upstream_closed: { status: 502, socks: 0x01 },
  bad_response: { status: 502, socks: 0x01 },
  /** Only in the log: the client was gone before there was an answer. */
  client_closed: { status: 400, socks: 0x01 },
} as const

export type FailureCode = keyof typeof CODES

export const FAILURE_CODES = Object.keys(CODES) as FailureCode[]

export const socksReply = (code: FailureCode): number => CODES[code].socks
export const httpStatus = (code: FailureCode): number => CODES[code].status

export const failure = (code: FailureCode, message: string): Failure => ({ code, message })

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  403: 'Forbidden',
  405: 'Method Not Allowed',
  407: 'Proxy Authentication Required',
  414: 'URI Too Long',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported',
}

/** A whole answer, after which the connection ends. `status` when the code's own is too coarse. */
export function failureResponse({ code, message }: Failure, status = httpStatus(code)): string {
  const body = `${message}\n`
  const challenge =
    status === 407 ? 'Proxy-Authenticate: Basic realm="outbound proxy", charset="UTF-8"\r\n' : ''
  const retry = status === 429 ? 'Retry-After: 1\r\n' : ''
  return (
    `HTTP/1.1 ${status} ${REASONS[status]}\r\nFairway-Outbound-Error: ${code}\r\n${challenge}${retry}` +
    `Content-Type: text/plain; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
    `Connection: close\r\n\r\n${body}`
  )
}
