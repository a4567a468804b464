/** Every limit and time-out of the outbound proxy. Milliseconds or bytes, as the name says. */

/** From the accept (or from the last answer, for the next request) to a whole request. */
export const HEAD_READ_MS = 30_000
export const CLIENT_IDLE_MS = 60_000
export const TLS_HANDSHAKE_MS = 10_000
/** A forwarded request without a byte in either direction. */
export const REQUEST_IDLE_MS = 60_000
/** A tunnel without a byte in either direction; probes find a peer that vanished long before. */
export const TUNNEL_IDLE_MS = 3_600_000
/** A tunnel of which one side has ended: between two bytes of the other. */
export const HALF_CLOSED_IDLE_MS = 60_000
/** A tunnel that lives so long gets TCP keep-alive probes at this pace. */
export const KEEPALIVE_PROBE_MS = 30_000

/** Look-up and all attempts to connect together. */
export const DIAL_MS = 10_000
/** RFC 8305, section 5: the next attempt begins when the one before has not answered for so long. */
export const ATTEMPT_DELAY_MS = 250
/** RFC 8305, section 3: how long an A answer waits for the AAAA answer. */
export const RESOLUTION_DELAY_MS = 50
export const ATTEMPTS_MAX = 8
/** Addresses of one name that are looked at. */
export const ADDRESSES_MAX = 16
/** An address of ours that failed where the other worked is tried last for so long. */
export const SOURCE_SUSPECT_MS = 5_000

export const DNS_TIMEOUT_MS = 2_000
export const DNS_TRIES = 2
export const DNS_NAMES_MAX = 4_096
/** Look-ups on their way; above, new names are refused as a time-out would be. */
export const DNS_PENDING_MAX = 1_024
export const DNS_TTL_MS_MAX = 30_000
export const DNS_TTL_MS_MIN = 1_000
/** A name that does not exist, or whose servers do not answer. */
export const DNS_NEGATIVE_MS = 2_000

/** After an answer that ends the connection, what the client still sends is read and dropped. */
export const LINGER_MS = 2_000
export const LINGER_BYTES_MAX = 1024 * 1024
/** What a client may send before its tunnel is open; then it is not read. */
export const EARLY_BYTES_MAX = 64 * 1024

/** Connections of one worker; above, new ones are reset. */
export const CONNECTIONS_MAX = 16_384
/** What one read of a tunnel that carries much takes at most: a fifth less processor time than 64 kB. */
export const STREAM_BUFFER_BYTES = 256 * 1024
/** Such buffers of one worker; above, reads are smaller and copied. */
export const STREAM_BUFFERS_MAX = 256
/** The credential's user name and secret, as sent. */
export const CREDENTIAL_BYTES_MAX = 255

/** Log lines that wait to be written; above, they are counted and left out. */
export const LOG_BYTES_MAX = 4 * 1024 * 1024
