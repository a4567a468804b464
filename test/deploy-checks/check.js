// A machine check: the machine under test answers with its version, and no other one of the app does.
import net from 'node:net'

const { FLY_TEST_MACHINE_IP: address, EXPECT: expected, OTHERS: others = '' } = process.env
const WAIT_MS = 700

const reaches = (host, port) =>
  new Promise((resolve) => {
    const socket = net.connect({ host, port })
    const end = (answer) => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(WAIT_MS, () => end(false))
    socket.on('connect', () => end(true)).on('error', () => end(false))
  })

const { version } = await (await fetch(`http://[${address}]:8080/`)).json()
console.log(`under test: ${version}`)
const open = []
for (const other of others.split(',').filter((one) => one && one !== address))
  if (await reaches(other, 8080)) open.push(other)
console.log(`others that answer: ${open.length ? open.join(' ') : 'none'}`)
process.exit(version === expected && open.length === 0 ? 0 : 3)
