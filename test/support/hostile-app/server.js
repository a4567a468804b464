// An app that does what it is told: POST /sh runs the body, anything else is shown to its sender.
const { spawn } = require('node:child_process')
const { createServer } = require('node:http')

createServer((request, response) => {
  let body = ''
  request.setEncoding('utf8').on('data', (text) => {
    body += text
  })
  request.on('end', () => {
    if (request.url !== '/sh') {
      const { url, method, rawHeaders } = request
      response.end(JSON.stringify({ url, method, rawHeaders, body }))
      return
    }
    const shell = spawn('sh', ['-c', body], { timeout: 20_000 })
    shell.stdout.on('data', (data) => response.write(data))
    shell.stderr.on('data', (data) => response.write(data))
    shell.on('close', () => response.end())
  })
}).listen(8080, () => console.log('listening on 8080'))
