const REASONS: Readonly<Record<number, string>> = {
  301: 'Moved Permanently',
  400: 'Bad Request',
  404: 'Not Found',
  408: 'Request Timeout',
  414: 'URI Too Long',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  501: 'Not Implemented',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported',
}

export interface OwnResponse {
  readonly status: number
  /** One sentence for whoever reads the page. */
  readonly text: string
  /** L14, when the app or its hosts are the cause. */
  readonly code?: string
  readonly requestId: string
  readonly close: boolean
  readonly toHead: boolean
  /** Further field lines, each with CRLF. */
  readonly fields?: string
}

/** A response of the edge's own, whole. */
export function ownResponse(response: OwnResponse): string {
  const reason = REASONS[response.status] ?? 'Error'
  const code = response.code ? ` (${response.code})` : ''
  const body = `${response.status} ${reason}: ${response.text}${code}\n`
  return (
    `HTTP/1.1 ${response.status} ${reason}\r\n` +
    `Content-Type: text/plain; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
    `${response.fields ?? ''}Date: ${new Date().toUTCString()}\r\nServer: fairway\r\n` +
    `Fly-Request-Id: ${response.requestId}\r\n` +
    `${response.close ? 'Connection: close\r\n' : ''}\r\n${response.toHead ? '' : body}`
  )
}
