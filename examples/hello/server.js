// Says which machine answered and what its request looked like when it arrived.
import { createServer } from 'node:http'

const { FLY_APP_NAME: app, FLY_REGION: region, FLY_MACHINE_ID: machine } = process.env
const port = 8080

function answer(request, response) {
  if (request.url === '/health') {
    response.setHeader('content-type', 'text/plain')
    response.end('ok\n')
    return
  }
  const { method, url, headers } = request
  const seen = { app, region, machine, method, url, headers }
  if ((headers.accept ?? '').startsWith('text/plain')) {
    response.setHeader('content-type', 'text/plain')
    response.end(`Hello from ${region}: machine ${machine} of ${app}\n`)
    return
  }
  response.setHeader('content-type', 'application/json')
  response.end(`${JSON.stringify(seen, null, 2)}\n`)
}

const server = createServer(answer)
// The edge reaches machines over IPv4, other machines of the network over IPv6.
server.listen(port, '::', () => console.log(`hello listens on ${port}`))

// SIGINT asks a machine to stop; requests in flight end first.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => server.close())
