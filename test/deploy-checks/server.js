import { createServer } from 'node:http'

const { FLY_REGION: region, FLY_MACHINE_ID: machine, VERSION: version } = process.env
const body = JSON.stringify({ region, machine, version })

const server = createServer((_, response) => {
  response.setHeader('content-type', 'application/json')
  response.end(body)
}).listen(8080, '::')

/** What it has is answered; what is idle is closed. */
process.on('SIGTERM', () => {
  server.close(() => process.exit(0))
  server.closeIdleConnections()
})
