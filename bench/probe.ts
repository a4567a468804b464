import { connect } from 'node:net'
import { createInterface } from 'node:readline'

/**
 * Reads addresses, one a line; for each, prints `{"address","atMs"}` when HTTP on port 80 has answered
 * 200 for the first time. Gives an address up after GIVE_UP_MS.
 */
const GIVE_UP_MS = 10_000
const TRY_MS = 500

const lines = createInterface({ input: process.stdin })
lines.on('line', (address) => void probe(address.trim()))
lines.on('close', () => process.exit(0))

async function probe(address: string): Promise<void> {
  const deadline = performance.now() + GIVE_UP_MS
  while (performance.now() < deadline && !(await answers(address))) {
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  process.stdout.write(
    `${JSON.stringify({ address, atMs: performance.timeOrigin + performance.now() })}\n`,
  )
}

function answers(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(80, address)
    socket.setTimeout(TRY_MS, () => socket.destroy())
    socket.on('connect', () =>
      socket.write(`GET / HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n`),
    )
    socket.once('data', (data) => {
      resolve(data.toString('latin1').startsWith('HTTP/1.1 200'))
      socket.destroy()
    })
    socket.on('error', () => resolve(false))
    socket.on('close', () => resolve(false))
  })
}
