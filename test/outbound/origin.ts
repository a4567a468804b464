import { createReadStream, existsSync, statSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { join, normalize } from 'node:path'

/**
 * The far end: `origin.ts <folder>`. Port 8000 answers /who with the address it was called from, and
 * files of the folder (a git repository, an npm registry); 8001 accepts and says the same, then stays
 * open; 8002 takes the request and never answers.
 */
const root = process.argv[2]!
const plain = (address: string | undefined) => (address ?? '').replace('::ffff:', '')

http
  .createServer((request, response) => {
    const path = normalize(decodeURIComponent(request.url!.split('?')[0]!))
    const file = join(root, path)
    if (path === '/who') response.end(`${plain(request.socket.remoteAddress)}\n`)
    else if (path === '/headers') response.end(JSON.stringify(request.rawHeaders))
    else if (existsSync(file) && statSync(file).isFile()) createReadStream(file).pipe(response)
    else if (existsSync(`${file}.json`)) createReadStream(`${file}.json`).pipe(response)
    else if (path === '/-/ping') response.end('{}')
    else response.writeHead(404).end()
  })
  .listen(8000, '::')

net
  .createServer((socket) => {
    socket.on('error', () => {})
    socket.write(`${plain(socket.remoteAddress)} ${socket.remotePort}\n`)
    socket.pipe(socket)
  })
  .listen(8001, '::', 4096)

net
  .createServer((socket) => socket.on('error', () => {}).resume())
  .listen(8002, '::', () => {
    console.log('ready')
  })
