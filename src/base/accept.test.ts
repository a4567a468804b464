import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'
import { createReadingServer } from './accept.ts'
import { type ReadMemory, type SocketReader, writeRead } from './socket-reader.ts'
import { StreamBuffers } from './stream-buffers.ts'

const MEMORY_BYTES = 64 * 1024

function newMemory(streamsMax: number): ReadMemory & { refused: number; faults: unknown[] } {
  const memory = {
    buffer: Buffer.alloc(MEMORY_BYTES),
    refused: 0,
    faults: [] as unknown[],
    onFault: (error: unknown) => void memory.faults.push(error),
    streams: new StreamBuffers(MEMORY_BYTES, streamsMax, () => void memory.refused++),
  }
  return memory
}

/** What `serve` does with each connection, on loopback, and one client of it. */
async function connect(
  memory: ReadMemory,
  serve: (socket: net.Socket, reader: SocketReader) => void,
) {
  const server = createReadingServer(memory, (socket, reader) => {
    socket.on('error', () => {}).on('close', () => reader.close())
    serve(socket, reader)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  const client = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  await once(client, 'connect')
  const close = () => {
    client.destroy()
    server.close()
  }
  return { client, close }
}

test('an accepted socket reads into the shared buffer, and into a stream of its own what is much', async () => {
  const memory = newMemory(8)
  const places: string[] = []
  const { client, close } = await connect(memory, (_socket, reader) => {
    reader.sink = {
      onRead: (data, _n, stream) => {
        places.push(stream ? 'stream' : 'shared')
        assert.equal(data, stream?.bytes ?? memory.buffer)
        client.emit('answered')
      },
    }
  })
  for (const bytes of [5, 20_000, 5, 5]) {
    client.write(Buffer.alloc(bytes, 'x'))
    await once(client, 'answered')
  }
  assert.deepEqual(places.slice(0, 2), ['shared', 'shared'])
  assert.equal(places.at(-1), 'shared', 'what falls silent gives it back')
  assert.ok(places.includes('stream'))
  close()
})

for (const streamsMax of [0, 1, 8])
  test(`much goes through unchanged and in order, with ${streamsMax} buffers for streams`, async () => {
    const memory = newMemory(streamsMax)
    const { client, close } = await connect(memory, (socket, reader) => {
      reader.sink = {
        onRead: (data, n, stream) => {
          if (!writeRead(socket, data.subarray(0, n), stream)) socket.pause()
          // Whatever was lent is used again.
          if (!stream) data.fill(0, 0, n)
        },
      }
      socket.on('drain', () => socket.resume()).on('end', () => socket.end())
    })
    const sent = Buffer.alloc(8 << 20)
    for (let i = 0; i < sent.length; i += 4) sent.writeUInt32LE(i, i)
    client.end(sent)
    const parts: Buffer[] = []
    for await (const part of client) parts.push(part)
    assert.ok(Buffer.concat(parts).equals(sent))
    if (streamsMax === 0) assert.ok(memory.refused > 0)
    close()
  })

test('an end, a reset and a pause are seen as with any socket', async () => {
  const seen: string[] = []
  const { client, close } = await connect(newMemory(1), (socket, reader) => {
    socket.pause()
    setTimeout(() => socket.resume(), 20)
    reader.sink = { onRead: (data, n) => void seen.push(data.toString('latin1', 0, n)) }
    socket.on('end', () => {
      seen.push('end')
      socket.end('bye')
    })
    socket.on('close', () => {
      seen.push('close')
      client.emit('closed')
    })
  })
  client.end('held')
  const [[answer]] = await Promise.all([once(client, 'data'), once(client, 'closed')])
  assert.equal(String(answer), 'bye')
  assert.deepEqual(seen, ['held', 'end', 'close'])
  close()

  const broken = await connect(newMemory(1), (socket) => {
    socket.on('error', (error: NodeJS.ErrnoException) => broken.client.emit('seen', error.code))
  })
  const seenCode = once(broken.client, 'seen')
  broken.client.resetAndDestroy()
  assert.deepEqual(await seenCode, ['ECONNRESET'])
  broken.close()
})

test('a fault of ours costs the connection that found it', async () => {
  const bug = new Error('a bug')
  const fail = () => {
    throw bug
  }
  const onSockets = [
    fail,
    (socket: net.Socket, reader: SocketReader) => {
      socket.on('error', () => {})
      reader.sink = { onRead: fail }
    },
  ]
  for (const onSocket of onSockets) {
    const memory = newMemory(1)
    const server = createReadingServer(memory, onSocket).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as net.AddressInfo
    const client = net.connect({ port, host: '127.0.0.1' }).resume()
    client.write('one')
    const codes: unknown[] = []
    client.on('error', (error: NodeJS.ErrnoException) => codes.push(error.code))
    await new Promise((resolve) => client.once('close', resolve))
    server.close()
    assert.deepEqual(codes, ['ECONNRESET'])
    assert.deepEqual(memory.faults, [bug])
  }
})
