import net from 'node:net'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { TRAFFIC_MEMORY } from '../src/base/worker-memory.ts'
import { SourceSockets } from '../src/kernel/source-socket.ts'
import { startRig } from '../src/outbound/testing.ts'

/**
 * The outbound proxy as it is measured: one worker thread as in production, sources as on a host,
 * credentials, request lines made; loopback. Says the port that it listens at.
 */
process.once('SIGTERM', () => process.exit(0))

if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url), {
    resourceLimits: TRAFFIC_MEMORY,
  })
  worker.on('message', (message) => console.log(JSON.stringify(message)))
} else {
  const sockets = new SourceSockets()
  const sources = ['127.0.0.8', '127.0.0.9'].map((v4, i) => ({
    ...{ pair: `pair-${i}`, v4, v6: null, portMin: 32_768, portMax: 60_999 },
  }))
  const { http } = await startRig({
    sources,
    connect: ({ address, family, port, onread }, source) => {
      const own = { address: source!.v4!, portMin: source!.portMin, portMax: source!.portMax }
      const socket = new net.Socket({ fd: sockets.open(own), allowHalfOpen: true, onread })
      socket.setNoDelay(true)
      return socket.connect({ host: address, family, port })
    },
  })
  parentPort!.postMessage({ http })
}
