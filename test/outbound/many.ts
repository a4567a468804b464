import net from 'node:net'

/**
 * Holds connections through a proxy: `many.ts <proxy> <user> <secret> <host> <port> <count>`. Says how
 * many came from which source, and why others did not come about.
 */
const [proxy, user, secret, host, port, count] = process.argv.slice(2)
const basic = Buffer.from(`${user}:${secret}`).toString('base64')
const sources: Record<string, number> = {}
const failed: Record<string, number> = {}
const AT_ONCE = 50

async function open(): Promise<void> {
  const socket = net.connect(9293, proxy!)
  const head = `CONNECT ${host}:${port} HTTP/1.1\r\nProxy-Authorization: Basic ${basic}\r\n\r\n`
  socket.write(head)
  let text = ''
  await new Promise<void>((resolve) => {
    const add = (to: Record<string, number>, key: string) => {
      to[key] = (to[key] ?? 0) + 1
      resolve()
    }
    socket.on('error', (error: NodeJS.ErrnoException) => add(failed, error.code ?? ''))
    socket.on('data', (data) => {
      text += data
      const seen = /\r\n\r\n(\S+) \d+\n/.exec(text)?.[1]
      const code = /fairway-outbound-error: (\S+)/i.exec(text)?.[1]
      if (code) add(failed, code)
      else if (seen) add(sources, seen)
      if (seen || code) socket.removeAllListeners('data').resume()
    })
  })
}

let left = Number(count)
const worker = async () => {
  while (left-- > 0) await open()
}
await Promise.all(Array.from({ length: AT_ONCE }, worker))
console.log(JSON.stringify({ sources, failed }))
process.exit(0)
