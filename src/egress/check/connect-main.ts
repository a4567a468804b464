import { Resolver } from 'node:dns/promises'
import { connect, isIP, type Socket } from 'node:net'
import type { ConnectOutcome, ConnectRequest, FamilyOutcome } from './connect.ts'

/**
 * Opens the connections of an egress check in the network namespace that it was started in, and says
 * on standard output what became of them. A process of its own, since a namespace is entered by a
 * process. Reads one `ConnectRequest` from standard input, prints one `ConnectOutcome`.
 */
const REQUEST_CHARS_MAX = 4_096
const ANSWER_CHARS_MAX = 4_096
/** The first connection also pays for what the process loads. */
const ATTEMPTS = 3
/** For the far end's own end; then the connection is cut. */
const CLOSE_MS = 500

const request = JSON.parse(await readInput()) as ConnectRequest
const addresses = request.addresses ?? (await resolve(request.host))
const outcome: ConnectOutcome = {
  families: await Promise.all(addresses.map(([family, found]) => tryFamily(family, found))),
}
process.stdout.write(`${JSON.stringify(outcome)}\n`, () => process.exit(0))

async function readInput(): Promise<string> {
  let text = ''
  for await (const chunk of process.stdin.setEncoding('utf8')) {
    text += chunk
    if (text.length > REQUEST_CHARS_MAX) throw new Error('the request is too long')
  }
  return text
}

type Found = string | { readonly code: string; readonly message: string }

/** By the name servers of the machine, asked from where the machine is. */
async function resolve(host: string): Promise<[4 | 6, Found][]> {
  const literal = isIP(host)
  if (literal !== 0) return [[literal as 4 | 6, host]]
  const resolver = new Resolver({ timeout: request.timeoutMs, tries: 1 })
  resolver.setServers([...request.resolvers])
  const first = async (answer: Promise<string[]>): Promise<Found> => {
    try {
      return (await answer)[0] ?? { code: 'ENODATA', message: 'no address' }
    } catch (error) {
      return problem(error)
    }
  }
  return Promise.all([
    first(resolver.resolve4(host)).then((found): [4, Found] => [4, found]),
    first(resolver.resolve6(host)).then((found): [6, Found] => [6, found]),
  ])
}

async function tryFamily(family: 4 | 6, found: Found): Promise<FamilyOutcome> {
  const empty = { family, remote: null, localAddress: null, localPort: null }
  if (typeof found !== 'string') return { ...empty, connectMs: null, seen: null, error: found }
  let best: FamilyOutcome | undefined
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const asks = attempt === 0 ? request.echoHost : null
    const outcome = await once(found, asks).catch(
      (error: unknown): FamilyOutcome => ({
        ...{ ...empty, remote: found, connectMs: null, seen: null, error: problem(error) },
      }),
    )
    if (!best) best = outcome
    else if (outcome.connectMs !== null && outcome.connectMs < best.connectMs!)
      best = { ...best, connectMs: outcome.connectMs }
    if (best.error) break
  }
  return best!
}

/** One connection; when `echoHost` is given, the far end is asked whom it sees. */
async function once(address: string, echoHost: string | null): Promise<FamilyOutcome> {
  const began = performance.now()
  const socket = connect({ host: address, port: request.port })
  socket.setNoDelay(true)
  try {
    await within(socket, 'connect')
    const connectMs = Math.round((performance.now() - began) * 1_000) / 1_000
    const { localAddress = null, localPort = null } = socket
    const family = isIP(address) as 4 | 6
    const seen = echoHost === null ? null : await ask(socket, echoHost)
    return { family, remote: address, localAddress, localPort, connectMs, seen, error: null }
  } finally {
    socket.on('error', () => {})
    socket.end()
    setTimeout(() => socket.destroy(), CLOSE_MS).unref()
  }
}

/** What the platform's echo service says; null when it says something else. */
async function ask(socket: Socket, host: string): Promise<string | null> {
  let text = ''
  socket.setEncoding('utf8').on('data', (part: string) => {
    if (text.length < ANSWER_CHARS_MAX) text += part
  })
  socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nAccept: text/plain\r\nConnection: close\r\n\r\n`)
  await within(socket, 'end').catch(() => {})
  const body = text.startsWith('HTTP/1.1 200 ') ? text.split('\r\n\r\n')[1]?.trim() : undefined
  return body !== undefined && isIP(body) !== 0 ? body : null
}

function within(socket: Socket, event: 'connect' | 'end'): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' })
    const timer = setTimeout(() => reject(late), request.timeoutMs)
    socket.once(event, () => {
      clearTimeout(timer)
      resolve()
    })
    socket.once('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
  })
}

function problem(error: unknown): { code: string; message: string } {
  const { code, message } = error as NodeJS.ErrnoException
  return { code: typeof code === 'string' ? code : 'UNKNOWN', message: String(message) }
}
