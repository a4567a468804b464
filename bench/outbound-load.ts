import { once } from 'node:events'
import net from 'node:net'

/**
 * Origin and clients of the outbound proxy's benchmark in one process. Reads one JSON request per line:
 * `{port, what: 'connect' | 'bulk', seconds}`, where the proxy listens at `port`; answers what was done.
 * usage: outbound-load.ts USER:PASSWORD
 */
const AT_ONCE = 32
const STREAMS = 4
const CHUNK = Buffer.alloc(64 * 1024, 'x')
const WAIT_MS = 10_000
const [credentials = ''] = process.argv.slice(2)

/** A first `e` is echoed; a first `d` is answered with octets for as long as somebody reads. */
const origin = net.createServer((socket) => {
  const pump = () => {
    while (socket.write(CHUNK));
  }
  socket.on('error', () => {})
  socket.once('data', (data) => {
    if (data[0] === 0x65) socket.end(data)
    else socket.on('drain', pump) && pump()
  })
})
origin.listen(0, '127.0.0.1')
await once(origin, 'listening')
const to = `127.0.0.1:${(origin.address() as net.AddressInfo).port}`
const head = `CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\nProxy-Authorization: Basic ${Buffer.from(credentials).toString('base64')}\r\n\r\n`

/** One tunnel; `onOctets` is called with what comes after the answer's head, and says when it has enough. */
function tunnel(port: number, first: string, onOctets: (n: number) => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1' })
    let answer = ''
    let open = false
    socket.setTimeout(WAIT_MS, () => socket.destroy(new Error(`no octets: ${answer}`)))
    socket.on('connect', () => socket.write(head)).on('error', reject)
    socket.on('close', () => reject(new Error(`closed early: ${answer}`)))
    socket.on('data', (data) => {
      if (open) {
        if (!onOctets(data.length)) return
        resolve()
        socket.destroy()
        return
      }
      answer += data.toString('latin1')
      if (!answer.includes('\r\n\r\n')) return
      if (!answer.startsWith('HTTP/1.1 200') && !answer.startsWith('HTTP/1.0 200'))
        socket.destroy(new Error(answer))
      open = true
      socket.write(first)
    })
  })
}

async function connections(port: number, until: number): Promise<number> {
  let done = 0
  const one = async () => {
    while (performance.now() < until) {
      await tunnel(port, 'e', () => true)
      done++
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, one))
  return done
}

async function octets(port: number, until: number): Promise<number> {
  let total = 0
  const one = () =>
    tunnel(port, 'd', (n) => {
      total += n
      return performance.now() >= until
    })
  await Promise.all(Array.from({ length: STREAMS }, one))
  return total
}

for await (const line of process.stdin.setEncoding('utf8')) {
  const { port, what, seconds } = JSON.parse(line)
  const began = performance.now()
  const until = began + seconds * 1_000
  const amount = await (what === 'bulk' ? octets(port, until) : connections(port, until))
  console.log(JSON.stringify({ amount, seconds: (performance.now() - began) / 1_000 }))
}
