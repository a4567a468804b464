import { createSocket, type Socket as Datagrams } from 'node:dgram'
import { lookup } from 'node:dns/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join, reset } from './carrier.ts'
import { EXIT, runToEnd } from './command.ts'
import { TunnelError, textOf } from './failure.ts'
import { isFake, PROBE_NAME } from './fake-names.ts'
import { DNS_ADDRESS, type FromInside, INTERCEPT_PORT, type ToInside } from './inside-protocol.ts'
import { createReporter } from './reporter.ts'

const WAIT_MS = 10_000

/**
 * The part of the tunnel in the command's network: opens listeners there, hands them to the part
 * outside, and runs the command (`argv`). Resolves with its exit code.
 */
export async function runInside(argv: readonly string[]): Promise<number> {
  const reporter = createReporter(false)
  // The part outside has died, and with it every connection.
  process.on('disconnect', () => process.kill(process.pid, 'SIGTERM'))
  const going = untilGo()
  process.on('message', (message: ToInside, socket: Socket | undefined) => {
    if (message.t === 'connection' && socket) connectInside(socket, message.host, message.port)
  })
  try {
    await handOver()
    await going
    await verifyNames()
    return await runToEnd(argv, reporter)
  } catch (error) {
    reporter.warn(textOf(error))
    return EXIT.failed
  }
}

async function handOver(): Promise<void> {
  for (const host of ['127.0.0.1', '::1']) {
    const server = createServer()
    const opened = new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.listen({ host, port: INTERCEPT_PORT, backlog: 511 }, () => resolve(true))
    })
    // Without IPv6 nothing is connected to over it either.
    if (!(await opened) && host === '127.0.0.1')
      throw new TunnelError(`port ${INTERCEPT_PORT} of the command's network cannot be opened`)
    if (server.listening) {
      await send({ t: 'listener' }, server)
      server.close()
    }
  }
  const dns = createSocket('udp4')
  await new Promise<void>((resolve) => dns.bind(53, DNS_ADDRESS, resolve))
  await send({ t: 'dns' }, dns)
  dns.close()
  await send({ t: 'ready', pid: process.pid })
}

function send(message: FromInside, handle?: Server | Datagrams): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send!(message, handle, {}, (error) => (error ? reject(error) : resolve()))
  })
}

function untilGo(): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new TunnelError('the tunnel does not answer')), WAIT_MS)
    process.on('message', (message: ToInside) => {
      if (message.t !== 'go') return
      clearTimeout(timer)
      resolve()
    })
  })
}

/** A daemon such as nscd would answer from outside, over a socket that is a file. */
async function verifyNames(): Promise<void> {
  const found = await lookup(PROBE_NAME, { family: 4 }).catch(() => undefined)
  if (!found || !isFake(found.address))
    throw new TunnelError('names are looked up elsewhere than at the server in /etc/resolv.conf')
}

function connectInside(outer: Socket, host: string, port: number): void {
  outer.allowHalfOpen = true
  outer.on('error', () => {})
  const inner = connect({ host, port, allowHalfOpen: true, noDelay: true })
  inner.once('error', () => reset(outer))
  inner.once('connect', () => join(outer, inner))
}
