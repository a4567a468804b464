import { connect } from 'node:net'

/**
 * Asks a name on port 80 again and again, each time on a new connection, until standard input ends.
 * Prints `{"atMs","region"}` for each answer of examples/hello, or `{"atMs","error"}`.
 *
 * usage: loop.ts NAME [PAUSE_MS]
 */
const [name, pauseText = '5'] = process.argv.slice(2) as [string, string?]
const TRY_MS = 2_000
let isOver = false
process.stdin.on('data', () => {})
process.stdin.on('end', () => {
  isOver = true
})

while (!isOver) {
  const result = await ask().catch((error: Error) => ({ error: error.message }))
  process.stdout.write(`${JSON.stringify({ atMs: Date.now(), ...result })}\n`)
  await new Promise((resolve) => setTimeout(resolve, Number(pauseText)))
}
process.exit(0)

function ask(): Promise<{ region: string } | { error: string }> {
  return new Promise((resolve, reject) => {
    const socket = connect(80, name)
    let text = ''
    socket.setTimeout(TRY_MS, () => socket.destroy(new Error('time-out')))
    socket.on('error', reject)
    socket.on('connect', () =>
      socket.write(`GET / HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`),
    )
    socket.setEncoding('utf8').on('data', (chunk) => {
      text += chunk
    })
    socket.on('end', () => {
      const status = text.slice(0, 12)
      if (status !== 'HTTP/1.1 200') resolve({ error: status || 'closed without an answer' })
      else resolve({ region: /"region": "(\w+)"/.exec(text)?.[1] ?? '?' })
    })
  })
}
