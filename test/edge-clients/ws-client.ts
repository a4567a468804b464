import { once } from 'node:events'
import { WebSocket } from 'ws'

/**
 * The npm package `ws` against the app of this folder. Prints what it saw as JSON.
 *
 * usage: ws-client.ts URL (such as ws://clients.fairway.test)
 */
const [url = ''] = process.argv.slice(2)
const WAIT_MS = 10_000
const BIG = Buffer.alloc(1 << 20, 'fairway ')

const signal = AbortSignal.timeout(WAIT_MS)
const message = async (ws: WebSocket): Promise<[data: Buffer, isBinary: boolean]> => {
  const [data, isBinary] = await once(ws, 'message', { signal })
  return [data as Buffer, isBinary as boolean]
}

async function echo(perMessageDeflate: boolean): Promise<Record<string, unknown>> {
  const ws = new WebSocket(`${url}/ws`, { perMessageDeflate })
  await once(ws, 'open', { signal })
  ws.send('hello')
  const [text, isBinary] = await message(ws)
  ws.send(BIG)
  const [big, isBigBinary] = await message(ws)
  // In fragments, with a ping between them, as RFC 6455 5.4 lets a sender do.
  ws.send('frag', { fin: false })
  ws.ping('middle')
  const pong = once(ws, 'pong', { signal })
  ws.send('ments', { fin: true })
  const [whole] = await message(ws)
  const [ponged] = await pong
  ws.close(4003, 'bye')
  const [code] = await once(ws, 'close', { signal })
  return {
    text: [String(text), isBinary],
    big: [big.equals(BIG), isBigBinary],
    fragments: String(whole),
    pong: String(ponged),
    code,
    extensions: ws.extensions,
  }
}

/** The app speaks first: a megabyte and a ping, which `ws` answers by itself. */
async function push(): Promise<unknown> {
  const ws = new WebSocket(`${url}/ws/push`, { perMessageDeflate: false })
  const big = message(ws)
  const ping = once(ws, 'ping', { signal })
  const [data] = await big
  await ping
  const [answer] = await message(ws)
  ws.terminate()
  return [data.length, String(answer)]
}

async function closed(): Promise<unknown> {
  const ws = new WebSocket(`${url}/ws/close`)
  await once(ws, 'open', { signal })
  ws.send('x')
  const [code, reason] = await once(ws, 'close', { signal })
  return [code, String(reason)]
}

const results = {
  plain: await echo(false),
  deflate: await echo(true),
  push: await push(),
  closed: await closed(),
}
process.stdout.write(`${JSON.stringify(results)}\n`)
