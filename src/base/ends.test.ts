import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'
import { breakOff } from './ends.ts'

/** Both ends of a connection on loopback. */
async function connection(): Promise<{ one: net.Socket; other: net.Socket; close: () => void }> {
  const server = net.createServer({ allowHalfOpen: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  const one = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const [[other]] = (await Promise.all([once(server, 'connection'), once(one, 'connect')])) as [
    [net.Socket],
    unknown,
  ]
  const close = () => {
    server.close()
    one.destroy()
    other.destroy()
  }
  return { one, other, close }
}

/** The code of a socket's error; empty when it closes without. */
const fate = (socket: net.Socket): Promise<string> =>
  new Promise((resolve) => {
    let code = ''
    socket.on('error', (error: NodeJS.ErrnoException) => (code = error.code ?? ''))
    socket.on('close', () => resolve(code))
  })

test('what is broken off is a reset to the other side', async () => {
  const { one, other, close } = await connection()
  const seen = fate(other.resume())
  breakOff(one)
  assert.equal(await seen, 'ECONNRESET')
  close()
})

test('also when it was to end after what still waits', async () => {
  const { one, other, close } = await connection()
  while (one.write(Buffer.alloc(1 << 20)));
  one.end()
  const closed = fate(one)
  breakOff(one)
  assert.equal(await closed, '')
  assert.equal(await fate(other.resume()), 'ECONNRESET')
  close()
})

test('one whose end is just being sent closes', async () => {
  const { one, close } = await connection()
  const closed = fate(one)
  one.end()
  breakOff(one)
  assert.equal(await closed, '')
  close()
})
