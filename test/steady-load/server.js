// Says who answers, of which version, and what was asked. Ends what it has when it is stopped.
import { createServer } from 'node:http'

const { FLY_REGION: region, FLY_MACHINE_ID: machine, VERSION: version } = process.env

const server = createServer((request, response) => {
  const asked = new URL(request.url, 'http://app').searchParams.get('n')
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ region, machine, version, asked }))
}).listen(8080, '::')

process.on('SIGTERM', () => {
  server.close(() => process.exit(0))
  server.closeIdleConnections()
})
