import { isIPv6 } from 'node:net'
import { PLATFORM_NAMES } from '../model/platform.ts'

/** The platform's echo service: tells a caller by which address it is seen (docs/egress-metrics.md). */

/** Its name below each apps domain; no app may have it. */
export const ECHO_NAME = PLATFORM_NAMES.echo

export interface EchoRequest {
  readonly method: string
  /** Origin form, with its query. */
  readonly target: string
  /** The field lines of the request, each with CRLF. */
  readonly fields: string
  readonly clientAddress: string
  readonly clientPort: number
  readonly region: string
  readonly host: string
  readonly requestId: string
  readonly close: boolean
}

/** A whole response: the address as text, or all of it as JSON. */
export function echoResponse(request: EchoRequest): { status: 200 | 404 | 405; text: string } {
  const path = request.target.replace(/\?.*$/s, '')
  const isRead = request.method === 'GET' || request.method === 'HEAD'
  if (path !== '/' && path !== '/json')
    return respond(request, 404, 'Not Found', TEXT, 'ask for / or /json\n')
  if (!isRead) return respond(request, 405, 'Method Not Allowed', `${ALLOW}${TEXT}`, 'use GET\n')
  const { clientAddress: ip, clientPort: port, region, host } = request
  if (path !== '/json' && !wantsJson(request.fields))
    return respond(request, 200, 'OK', TEXT, `${ip}\n`)
  const body = { ip, family: isIPv6(ip) ? 6 : 4, region, host, port }
  return respond(request, 200, 'OK', JSON_TYPE, `${JSON.stringify(body)}\n`)
}

const TEXT = 'Content-Type: text/plain; charset=utf-8\r\n'
const JSON_TYPE = 'Content-Type: application/json\r\n'
const ALLOW = 'Allow: GET, HEAD\r\n'

/** Names JSON, and does not say that it will not have it (RFC 9110 section 12.5.1). */
const wantsJson = (fields: string): boolean =>
  /^accept:[^\r\n]*\bapplication\/json\b(?! *; *q=0(?:\.0*)?[ ,;\r])/im.test(fields)

function respond(
  { method, requestId, close }: EchoRequest,
  status: 200 | 404 | 405,
  reason: string,
  fields: string,
  body: string,
): { status: 200 | 404 | 405; text: string } {
  const text =
    `HTTP/1.1 ${status} ${reason}\r\n${fields}Content-Length: ${Buffer.byteLength(body)}\r\n` +
    // The answer depends on the way that it was asked.
    `Cache-Control: no-store\r\nVary: Accept\r\nDate: ${new Date().toUTCString()}\r\n` +
    `Server: fairway\r\nFly-Request-Id: ${requestId}\r\n` +
    `${close ? 'Connection: close\r\n' : ''}\r\n${method === 'HEAD' ? '' : body}`
  return { status, text }
}
