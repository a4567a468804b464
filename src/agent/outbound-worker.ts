import net from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'
import { keepCompiled } from '../base/compiled.ts'
import { faultLog } from '../base/faults.ts'
import { encodeLine } from '../base/ndjson.ts'
import { SourceSockets } from '../kernel/source-socket.ts'
import { PORTS } from '../model/wire.ts'
import type { Connect } from '../outbound/context.ts'
import { PrefixSet } from '../outbound/destination.ts'
import { Directory, type Source } from '../outbound/directory.ts'
import { LOG_BYTES_MAX } from '../outbound/limits.ts'
import { Meter } from '../outbound/meter.ts'
import { lookupBy } from '../outbound/names.ts'
import { OutboundProxy, type Speaks } from '../outbound/outbound-proxy.ts'
import type {
  FromOutboundWorker,
  OutboundWorkerData,
  ToOutboundWorker,
} from './outbound-messages.ts'

/** One worker of the outbound proxy: one of the listener's descriptors, one event loop. */

const LOG_FLUSH_MS = 100

const data = workerData as OutboundWorkerData
const port = parentPort!
const say = (message: FromOutboundWorker) => port.postMessage(message)

const sockets = new SourceSockets()
const directory = new Directory(new PrefixSet(data.neverPrefixes))
let lines = ''
let dropped = 0

const proxy = new OutboundProxy({
  directory,
  meter: new Meter(data.meter, data.workers, data.worker, Date.now),
  lookup: lookupBy(data.resolvers),
  connect: connectFrom(sockets),
  onLine: (line) => {
    if (lines.length < LOG_BYTES_MAX) lines += encodeLine(line)
    else dropped++
  },
  ...(data.tls ? { tls: data.tls } : {}),
  onFault: faultLog(console.error),
})
setInterval(flush, LOG_FLUSH_MS).unref()

port.on('message', (message: ToOutboundWorker) => {
  switch (message.t) {
    case 'change':
      if ('gone' in message.change) directory.delete(message.change.gone)
      else directory.put(message.change)
      break
    case 'listen':
      void proxy.listen({ fd: data.listenFd }, speaks).then(() => {
        say({ t: 'listening' })
        keepCompiled()
      })
      break
    case 'ping':
      say({ t: 'pong' })
      break
    case 'metrics':
      say({ t: 'metrics', id: message.id, snapshot: { ...proxy.snapshot(), logDropped: dropped } })
      break
    case 'drain':
      void proxy.drain(data.drainMs).then(() => {
        flush()
        say({ t: 'drained' })
      })
  }
})

/** The listener is transparent: a connection's local port is the one that the client asked for. */
function speaks(localPort: number): Speaks | null {
  if (localPort === PORTS.outboundHttp) return 'http'
  if (localPort === PORTS.outboundSocks) return 'socks5'
  return localPort === PORTS.outboundTls ? 'https' : null
}

function connectFrom(from: SourceSockets): Connect {
  return ({ address, family, port: to, onread }, source) => {
    try {
      const own = bindingOf(source, family)
      const socket = new net.Socket({ fd: from.open(own), allowHalfOpen: true, onread })
      socket.setNoDelay(true)
      return socket.connect({ host: address, family, port: to })
    } catch (error) {
      const failed = new net.Socket()
      setImmediate(() => failed.destroy(error as Error))
      return failed
    }
  }
}

function bindingOf(source: Source | null, family: 4 | 6) {
  const address = family === 4 ? source?.v4 : source?.v6
  if (!source || !address) throw new Error('a connection without a source')
  return { address, portMin: source.portMin, portMax: source.portMax }
}

function flush(): void {
  if (lines === '') return
  say({ t: 'lines', text: lines })
  lines = ''
}
