import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { test } from 'node:test'
import type { Carrier } from './carrier.ts'
import { destinationText } from './destinations.ts'
import { Interceptor, remotesOf } from './interceptor.ts'
import { parseSockets } from './proc-net.ts'
import type { Reporter } from './reporter.ts'
import type { Settings } from './settings.ts'

/** A line of /proc/net/tcp: addresses and ports in hexadecimal, then the state. */
const line = (n: number, local: string, remote: string, state: string): string =>
  `   ${n}: ${local} ${remote} ${state} 00000000:00000000 00:00000000 00000000     0        0 1`
const LOCAL = '0100007F:AD05' // 127.0.0.1:44293
const ESTABLISHED = '01'
const TIME_WAIT = '06'

test('of connections that share a local port, the one that was redirected is found', () => {
  const fake = line(1, LOCAL, '0100807F:0050', ESTABLISHED)
  const others = [
    line(2, LOCAL, '0100007F:1F90', ESTABLISHED),
    line(3, LOCAL, '0A00000A:1F90', TIME_WAIT),
    line(4, LOCAL, '00000000:0000', '0A'),
    line(5, '0100007F:AD06', '0200807F:0050', ESTABLISHED),
  ]
  for (const lines of [
    [fake, ...others],
    [...others, fake],
  ])
    assert.deepEqual(
      [...remotesOf(parseSockets(lines.join('\n')), new Set(['127.0.0.1:44293']))],
      [['127.0.0.1:44293', { host: '127.128.0.1', port: 80 }]],
    )
})

test('a connection that is over says nothing', () => {
  const over = line(1, LOCAL, '0100807F:0050', TIME_WAIT)
  assert.equal(remotesOf(parseSockets(over), new Set(['127.0.0.1:44293'])).size, 0)
})

test('who connects to the port of the interceptor itself is reset, not carried to it again', async () => {
  const carried: string[] = []
  const carrier: Carrier = {
    carry(local, to) {
      carried.push(destinationText(to))
      local.destroy()
    },
    close() {},
  }
  const said: string[] = []
  const reporter: Reporter = { warn: (text) => said.push(text), detail() {} }
  const settings = { everything: true, destinations: [], mappings: [] } as unknown as Settings
  const interceptor = new Interceptor(settings, carrier, carrier, reporter)
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true })
  interceptor.serve(server, 'self')
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const errors: (string | undefined)[] = []
  const client = connect(port, '127.0.0.1').resume()
  client.on('error', (error: NodeJS.ErrnoException) => errors.push(error.code))
  await new Promise((resolve) => client.on('close', resolve))
  server.close()
  assert.deepEqual([errors, carried], [['ECONNRESET'], []])
  assert.match(said.join(), new RegExp(`^127.0.0.1:${port}: reset`))
})
