import { setTimeout as delay } from 'node:timers/promises'
import { messageOf } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { DnsServer } from '../dns/server.ts'

/** The agent puts the addresses on the host; it may come after us. */
const LISTEN_RETRY_MS = 250
const SAY_AFTER_TRIES = 40
/** Then the process ends, says why, and is started anew. */
const LISTEN_TRIES = 1_200

/** Starts a DNS server on addresses that may not be there yet. */
export async function listenWhenThere(
  addresses: readonly string[],
  log: Logger,
  start: () => Promise<DnsServer>,
): Promise<DnsServer> {
  for (let tries = 1; ; tries++) {
    try {
      return await start()
    } catch (error) {
      const isEarly = (error as NodeJS.ErrnoException).code === 'EADDRNOTAVAIL'
      if (!isEarly || tries >= LISTEN_TRIES)
        throw new Error(`cannot listen on ${addresses.join(', ')}: ${messageOf(error)}`)
      if (tries % SAY_AFTER_TRIES === 0)
        log.warn({ addresses, reason: messageOf(error) }, 'an address is not on this host yet')
      await delay(LISTEN_RETRY_MS)
    }
  }
}
