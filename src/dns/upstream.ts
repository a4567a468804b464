import { randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { connect, isIPv6 } from 'node:net'
import { decode, encode } from './codec.ts'
import { canonicalName } from './name.ts'
import { type Message, type Question, UDP_BYTES } from './records.ts'

export interface Upstream {
  readonly address: string
  readonly port: number
}

/** What is asked; equal asks have equal answers. */
export interface Ask {
  readonly question: Question
  readonly dnssecOk: boolean
  readonly checkingDisabled: boolean
}

/** Answers that are not ours are ignored, but not without end. */
const FOREIGN_MAX = 64

/**
 * Asks one resolver: by UDP, and by TCP when the answer does not fit. Rejects when there is no
 * answer in `timeoutMs` for each of the two.
 */
export async function exchange(upstream: Upstream, ask: Ask, timeoutMs: number): Promise<Message> {
  const answer = await overUdp(upstream, ask, timeoutMs)
  return answer.truncated ? overTcp(upstream, ask, timeoutMs) : answer
}

const queryOf = ({ question, dnssecOk, checkingDisabled }: Ask): Message => ({
  // With the random port of a socket of its own, what an attacker must guess (RFC 5452).
  id: randomInt(65_536),
  response: false,
  opcode: 0,
  authoritative: false,
  truncated: false,
  recursionDesired: true,
  recursionAvailable: false,
  authenticData: false,
  checkingDisabled,
  rcode: 0,
  questions: [question],
  answers: [],
  authorities: [],
  additionals: [],
  edns: { version: 0, udpBytes: UDP_BYTES, dnssecOk },
})

/** The answer to `query`, or `undefined` when the bytes are something else. */
function match(bytes: Buffer, query: Message): Message | undefined {
  let answer: Message
  try {
    answer = decode(bytes)
  } catch {
    return undefined
  }
  const [asked, echoed] = [query.questions[0]!, answer.questions[0]]
  const ours =
    answer.response &&
    answer.id === query.id &&
    answer.opcode === 0 &&
    answer.questions.length === 1 &&
    echoed!.type === asked.type &&
    echoed!.class === asked.class &&
    canonicalName(echoed!.name) === canonicalName(asked.name)
  return ours ? answer : undefined
}

function overUdp({ address, port }: Upstream, ask: Ask, timeoutMs: number): Promise<Message> {
  const query = queryOf(ask)
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
    let foreign = 0
    const end = (error?: Error) => {
      clearTimeout(timer)
      socket.removeAllListeners()
      socket.on('error', () => {})
      socket.close()
      if (error) reject(error)
    }
    const timer = setTimeout(
      () => end(new Error(`${address}: no answer in ${timeoutMs} ms`)),
      timeoutMs,
    )
    socket.on('error', end)
    socket.on('message', (bytes) => {
      const answer = match(bytes, query)
      if (answer) {
        end()
        resolve(answer)
      } else if (++foreign > FOREIGN_MAX) end(new Error(`${address}: answers to other questions`))
    })
    // Connected, so that the kernel takes packets of this resolver alone.
    socket.connect(port, address, () => socket.send(encode(query), () => {}))
  })
}

function overTcp({ address, port }: Upstream, ask: Ask, timeoutMs: number): Promise<Message> {
  const query = queryOf(ask)
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port })
    const chunks: Buffer[] = []
    const fail = (reason: string) => {
      clearTimeout(timer)
      socket.destroy()
      reject(new Error(`${address}: ${reason}`))
    }
    const timer = setTimeout(() => fail(`no answer by TCP in ${timeoutMs} ms`), timeoutMs)
    socket.on('error', (error) => fail(error.message))
    socket.on('close', () => fail('the connection was closed'))
    socket.on('connect', () => {
      const bytes = encode(query)
      const length = Buffer.alloc(2)
      length.writeUInt16BE(bytes.length)
      socket.write(Buffer.concat([length, bytes]))
    })
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      const all = Buffer.concat(chunks)
      if (all.length < 2 || all.length < 2 + all.readUInt16BE(0)) return
      const answer = match(all.subarray(2, 2 + all.readUInt16BE(0)), query)
      if (!answer) return fail('an answer to another question')
      clearTimeout(timer)
      resolve(answer)
      socket.removeAllListeners('close').destroy()
    })
  })
}
