// Says which machine answers, and what the edge told it; is sick, or answers errors, on demand.
import { createServer } from 'node:http'

const { FLY_REGION: region, FLY_MACHINE_ID: machine } = process.env
const until = { sick: 0, failing: 0 }

const serve = (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://app')
  const answer = (status, body) => {
    response.statusCode = status
    response.setHeader('content-type', 'application/json')
    response.end(`${JSON.stringify(body)}\n`)
  }
  if (pathname === '/health') return answer(Date.now() < until.sick ? 503 : 200, {})
  const what = pathname.slice(1)
  if (what in until) until[what] = Date.now() + Number(searchParams.get('ms'))
  else if (Date.now() < until.failing) return answer(500, { region, machine })
  const unavailable = request.headers['fly-preferred-instance-unavailable']
  answer(200, { region, machine, unavailable })
}
for (const port of [8080, 8081, 8082, 8083]) createServer(serve).listen(port, '::')
