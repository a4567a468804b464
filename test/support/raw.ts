import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'

/**
 * Sends octets as they are: standard input is a JSON array of `{address, port, text}` (latin1), each
 * sent on a connection of its own; prints a JSON array of what came back, ended by `<end>` when the
 * other side ended the connection, `<code>` when it failed. With `tls`: the version of TLS to offer,
 * and `<secure>` when a handshake is completed.
 */
export interface RawRequest {
  readonly address: string
  readonly port: number
  readonly text: string
  readonly tls?: 'TLSv1.2' | 'TLSv1.3'
}

const QUIET_MS = 700
const DIAL_MS = 2_000

const send = ({ address, port, text, tls }: RawRequest) =>
  new Promise<string>((resolve) => {
    let answer = ''
    const socket = tls
      ? connectTls({ host: address, port, rejectUnauthorized: false, maxVersion: tls })
      : connect({ host: address, port })
    const end = (mark: string) => {
      socket.destroy()
      resolve(answer + mark)
    }
    socket.setTimeout(DIAL_MS, () => end('<silent>'))
    socket.on(tls ? 'secureConnect' : 'connect', () => {
      if (tls) answer += '<secure>'
      socket.setTimeout(QUIET_MS, () => end(''))
      socket.write(text, 'latin1')
    })
    socket.setEncoding('latin1').on('data', (data) => {
      answer += data
    })
    socket.on('end', () => end('<end>'))
    socket.on('error', (error: NodeJS.ErrnoException) => end(`<${error.code}>`))
  })

let input = ''
for await (const chunk of process.stdin) input += chunk
const answers = await Promise.all((JSON.parse(input) as RawRequest[]).map(send))
process.stdout.write(JSON.stringify(answers))
