// Answers slowly, counts what it has in flight, and is sick or dies on demand. Beside it, ports that
// misbehave.
import { createServer } from 'node:http'
import net from 'node:net'

const { FLY_REGION: region, FLY_MACHINE_ID: machine } = process.env
let healthy = true
let count = 0

createServer((request, response) => {
  const url = new URL(request.url, 'http://app')
  const ms = Number(url.searchParams.get('ms') ?? 0)
  const answer = (status, body) => {
    response.statusCode = status
    response.setHeader('content-type', 'application/json')
    response.end(`${JSON.stringify(body)}\n`)
  }
  if (url.pathname === '/health') {
    answer(healthy ? 200 : 503, { healthy })
    return
  }
  if (url.pathname === '/die') process.kill(process.pid, 'SIGKILL')
  if (url.pathname === '/sick') {
    healthy = false
    setTimeout(() => {
      healthy = true
    }, ms)
    answer(200, { region, machine })
    return
  }
  const inFlight = ++count
  response.once('close', () => count--)
  setTimeout(() => answer(200, { region, machine, inFlight }), ms)
}).listen(8080, '::')

/** Closes at once. */
net.createServer((socket) => socket.destroy()).listen(8082, '::')
/** Never answers. */
net.createServer((socket) => socket.on('error', () => {}).resume()).listen(8083, '::')
/** Answers what is not HTTP. */
const greet = (socket) => socket.once('data', () => socket.end('Guten Tag\r\n\r\n'))
net.createServer((socket) => greet(socket.on('error', () => {}))).listen(8084, '::')
