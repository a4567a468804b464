import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { afterEach, describe, test } from 'node:test'
import { eventually, Lab, type TestEdge } from '../testing-edge.ts'

const lab = new Lab()
afterEach(() => lab.close())

const MEGABYTE = 1 << 20
const UPGRADE = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'

const received = (edge: TestEdge) => edge.proxy.snapshot().totals.client_bytes_received!

/** Writes without end. */
function pour(socket: Socket): void {
  const part = Buffer.alloc(MEGABYTE)
  const more = () => {
    while (socket.write(part));
  }
  socket.on('drain', more)
  more()
}

/** Waits until a number has stopped moving; its last value. */
async function settled(value: () => number): Promise<number> {
  for (let last = -1; last !== value(); ) {
    last = value()
    await new Promise((resolve) => setTimeout(resolve, 150))
  }
  return value()
}

describe('a client that takes what comes now and then is not read from for that', () => {
  const post = `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${2 ** 40}\r\n\r\n`
  for (const [name, request, head] of [
    ['a request', post, `HTTP/1.1 200 OK\r\nContent-Length: ${2 ** 40}\r\n\r\n`],
    ['a tunnel', UPGRADE, 'HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'],
  ] as const)
    test(name, async () => {
      const port = await lab.app((socket) => {
        // It reads what has come first, and no more.
        socket.once('readable', () => {
          socket.read(1)
          socket.write(head)
          pour(socket)
        })
      })
      const edge = await lab.simple(port)
      const { socket } = lab.client(edge.port).send(request)
      let taken = 0
      socket.removeAllListeners('data').on('data', (data: Buffer) => {
        taken += data.length
        socket.pause()
        setImmediate(() => socket.resume())
      })
      socket.pause()
      pour(socket)
      const before = await settled(() => received(edge))
      socket.resume()
      await eventually(() => taken > 128 * MEGABYTE)
      const more = (received(edge) - before) / MEGABYTE
      assert.ok(more < 8, `${more} MB more were taken while the app did not read`)
    })
})
