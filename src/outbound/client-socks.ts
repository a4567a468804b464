import type { Socket } from 'node:net'
import { formatIp } from '../base/ip.ts'
import { latin1 } from '../base/latin1.ts'
import type { SocketReader } from '../base/socket-reader.ts'
import { type Destination, parseHost } from '../model/destination.ts'
import { ClientConnection } from './client.ts'
import type { OutboundContext } from './context.ts'
import { authenticate } from './credentials.ts'
import type { OutboundUser } from './directory.ts'
import { type Failure, type FailureCode, failure, socksReply } from './errors.ts'
import type { Upstream } from './upstream.ts'

const VERSION = 5
const METHOD_PASSWORD = 2
const NO_METHOD = 0xff
const PASSWORD_VERSION = 1
const COMMAND_CONNECT = 1
const ADDRESS = { v4: 1, name: 3, v6: 4 } as const
const REPLY_OK = 0
const REPLY_NO_COMMAND = 7
const REPLY_NO_ADDRESS_TYPE = 8
/** Greeting, credentials and request at their longest. */
const HANDSHAKE_BYTES_MAX = 257 + 513 + 262

const STATE = { greeting: 0, credentials: 1, request: 2, dial: 3, ended: 4 } as const

/** SOCKS 5 (RFC 1928) with user name and password (RFC 1929), CONNECT only. */
export class SocksClient extends ClientConnection {
  #state: number = STATE.greeting
  #bytes: Buffer = Buffer.alloc(0)
  #user: OutboundUser | null = null
  #clientEnded = false

  constructor(ctx: OutboundContext, socket: Socket, reader: SocketReader) {
    super(ctx, socket, reader, 'socks5')
  }

  drain(): void {
    if (this.#state === STATE.greeting) this.socket.end()
  }

  protected onBytes(data: Buffer): void {
    if (this.#state >= STATE.dial) {
      this.hold(data)
      return
    }
    this.#bytes = Buffer.concat([this.#bytes, data])
    // A client may send several steps at once, and the first octets of its stream with them.
    while (this.#state < STATE.dial && this.#step());
    if (this.#state < STATE.dial && this.#bytes.length > HANDSHAKE_BYTES_MAX) this.socket.destroy()
  }

  protected onEnded(): void {
    this.#clientEnded = true
    if (this.#state < STATE.dial) this.socket.destroy()
  }

  protected onTimeout(): void {
    this.socket.destroy()
  }

  protected onOpened(upstream: Upstream): void {
    this.#state = STATE.ended
    this.#reply(REPLY_OK)
    this.openTunnel(upstream, this.#clientEnded)
  }

  onRefused({ code }: Failure): void {
    this.#refuse(code, socksReply(code))
  }

  /** Takes one step when all of it is there; false when not. */
  #step(): boolean {
    switch (this.#state) {
      case STATE.greeting:
        return this.#greeting()
      case STATE.credentials:
        return this.#credentials()
      default:
        return this.#request()
    }
  }

  #greeting(): boolean {
    const [version, count] = this.#bytes
    if (version !== undefined && version !== VERSION) {
      this.socket.destroy()
      this.#state = STATE.ended
      return false
    }
    if (count === undefined || this.#bytes.length < 2 + count) return false
    const methods = this.#take(2 + count).subarray(2)
    if (methods.includes(METHOD_PASSWORD)) {
      this.socket.write(Uint8Array.of(VERSION, METHOD_PASSWORD))
      this.#state = STATE.credentials
      return true
    }
    this.begin().finish('credentials_required')
    this.#end(Uint8Array.of(VERSION, NO_METHOD))
    return false
  }

  #credentials(): boolean {
    const [version, nameLength] = this.#bytes
    if (version !== undefined && version !== PASSWORD_VERSION) {
      this.socket.destroy()
      this.#state = STATE.ended
      return false
    }
    if (nameLength === undefined) return false
    const secretLength = this.#bytes[2 + nameLength]
    if (secretLength === undefined) return false
    const length = 3 + nameLength + secretLength
    if (this.#bytes.length < length) return false
    const bytes = this.#take(length)
    const name = latin1(bytes, 2, 2 + nameLength)
    const secret = latin1(bytes, 3 + nameLength, length)
    this.#user = authenticate(this.ctx.directory, name, secret, this.ctx.now())
    if (!this.#user) {
      this.begin().finish('credentials_refused')
      this.#end(Uint8Array.of(PASSWORD_VERSION, 1))
      return false
    }
    this.socket.write(Uint8Array.of(PASSWORD_VERSION, 0))
    this.#state = STATE.request
    return true
  }

  #request(): boolean {
    const [version, command, , type, first] = this.#bytes
    if (first === undefined) return false
    const length = addressLength(type!, first)
    if (version !== VERSION || length < 0) {
      this.begin().user = this.#user
      this.#refuse('bad_request', version === VERSION ? REPLY_NO_ADDRESS_TYPE : 1)
      return false
    }
    if (this.#bytes.length < 4 + length + 2) return false
    const bytes = this.#take(4 + length + 2)
    this.begin().user = this.#user
    if (command !== COMMAND_CONNECT) {
      this.#refuse('method_refused', REPLY_NO_COMMAND)
      return false
    }
    const to = destinationOf(type!, bytes.subarray(4, 4 + length), bytes.readUInt16BE(4 + length))
    if (!to) {
      this.onRefused(failure('bad_destination', ''))
      return false
    }
    this.#state = STATE.dial
    if (this.#bytes.length > 0) this.hold(this.#take(this.#bytes.length))
    this.dial(this.#user!, to)
    return false
  }

  #take(n: number): Buffer {
    const taken = this.#bytes.subarray(0, n)
    this.#bytes = this.#bytes.subarray(n)
    return taken
  }

  #refuse(code: FailureCode, reply: number): void {
    this.transfer?.finish(code)
    this.#state = STATE.ended
    this.#reply(reply)
    this.endAfterAnswer()
  }

  #end(answer: Uint8Array): void {
    this.#state = STATE.ended
    this.socket.write(answer)
    this.endAfterAnswer()
  }

  /** The bound address is of no use to anybody: it is behind translation. */
  #reply(code: number): void {
    this.socket.write(Uint8Array.of(VERSION, code, 0, ADDRESS.v4, 0, 0, 0, 0, 0, 0))
  }
}

/** Octets of the address field after its type, or -1. */
function addressLength(type: number, first: number): number {
  if (type === ADDRESS.v4) return 4
  if (type === ADDRESS.v6) return 16
  return type === ADDRESS.name ? 1 + first : -1
}

function destinationOf(type: number, bytes: Buffer, port: number): Destination | null {
  if (port === 0) return null
  if (type === ADDRESS.name) {
    const name = parseHost(latin1(bytes, 1, bytes.length))
    return name && { ...name, port }
  }
  const family = type === ADDRESS.v4 ? 4 : 6
  return { host: formatIp({ family, bits: BigInt(`0x${bytes.toString('hex')}`) }), family, port }
}
