import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { setTimeout } from 'node:timers/promises'

/**
 * An app whose partners admit it by its address. `GET /dial?host=&port=`: what the far end says of a
 * new connection. `GET /sql`: whether the database lets it in. `GET /open?host=&port=` opens one that
 * stays, and `GET /ping` sends through all of those: how many came back. `GET /watch?host=&port=&seconds=`
 * opens one after the other and says when those that failed began: `tries failed span`, the span in ms.
 */
const DIAL_MS_MAX = 5_000
const WATCH_MS_MAX = 1_000
const WATCH_EVERY_MS = 50

createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://app')
  const answer = (status, text) => response.writeHead(status).end(`${text}\n`)
  try {
    if (pathname === '/dial')
      answer(200, await dial(searchParams.get('host'), Number(searchParams.get('port'))))
    else if (pathname === '/watch')
      answer(
        200,
        await watch(
          searchParams.get('host'),
          Number(searchParams.get('port')),
          Number(searchParams.get('seconds')),
        ),
      )
    else if (pathname === '/sql') answer(200, await sql())
    else if (pathname === '/open')
      answer(200, await dial(searchParams.get('host'), Number(searchParams.get('port')), true))
    else if (pathname === '/ping') answer(200, String((await Promise.all(opened.map(ping))).length))
    else answer(200, process.env.FLY_MACHINE_ID)
  } catch (error) {
    answer(502, error.code ?? error.message)
  }
}).listen(8080, '0.0.0.0')

const opened = []

const dial = (host, port, stays = false, msMax = DIAL_MS_MAX) =>
  new Promise((resolve, reject) => {
    const socket = connect(port, host)
    socket.setTimeout(msMax, () => socket.destroy(new Error('time-out')))
    socket.once('error', reject)
    socket.once('data', (data) => {
      if (stays) opened.push(socket.setTimeout(0))
      else socket.destroy()
      resolve(String(data).trim())
    })
  })

async function watch(host, port, seconds) {
  const failed = []
  let tries = 0
  for (const end = Date.now() + seconds * 1_000; Date.now() < end; tries++) {
    const began = Date.now()
    // All at once, so that one that fails holds up none.
    dial(host, port, false, WATCH_MS_MAX).catch(() => failed.push(began))
    await setTimeout(WATCH_EVERY_MS)
  }
  await setTimeout(WATCH_MS_MAX)
  return `${tries} ${failed.length} ${failed.length && Math.max(...failed) - Math.min(...failed)}`
}

const ping = (socket) =>
  new Promise((resolve, reject) => {
    if (socket.destroyed) throw new Error('a connection has ended')
    const onTimeout = () => reject(new Error('time-out'))
    socket.setTimeout(DIAL_MS_MAX, onTimeout)
    socket.once('data', () => resolve(socket.setTimeout(0)))
    socket.write('ping')
  })

const sql = () =>
  new Promise((resolve, reject) => {
    const argv = [process.env.DATABASE_URL, '-Atc', 'select inet_client_addr()']
    execFile(process.env.PSQL, argv, { timeout: DIAL_MS_MAX }, (error, out, err) =>
      error ? reject(new Error(err.trim() || error.message)) : resolve(out.trim()),
    )
  })
