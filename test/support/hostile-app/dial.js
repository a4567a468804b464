// Dials every `address port` of its standard input's lines; prints each with what came of it.
const { connect } = require('node:net')

const WAIT_MS = 2_000
/** An accepted connection that is reset in this time was not meant to be accepted. */
const RESET_MS = 500

const dial = (line) =>
  new Promise((resolve) => {
    const [host, port] = line.split(' ')
    let accepted = false
    const socket = connect({ host, port: Number(port) })
    const end = (what) => {
      socket.destroy()
      resolve(`${line} ${what}`)
    }
    socket.setTimeout(WAIT_MS, () => end('silent'))
    socket.on('connect', () => {
      accepted = true
      setTimeout(() => end('open'), RESET_MS)
    })
    socket.on('close', () => accepted && end('reset'))
    socket.on('error', ({ code }) => end(accepted || code === 'ECONNRESET' ? 'reset' : code))
  })

const lines = require('node:fs').readFileSync(0, 'utf8').trim().split('\n')
void Promise.all(lines.map(dial)).then((results) => console.log(results.join('\n')))
