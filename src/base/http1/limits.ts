/** Limits of HTTP/1.1 messages, the same wherever one is parsed. Bytes unless the name says otherwise. */

/** Request line and field lines together, each way. Above: 431 to a client, 502 for an app. */
export const HEAD_BYTES_MAX = 64 * 1024
export const HEADER_COUNT_MAX = 128
/** What an edge adds to a head at most: where another edge reads it after that, there is room for it. */
export const ADDED_BYTES_MAX = 4 * 1024
export const ADDED_HEADERS_MAX = 32
/** Above: 414. */
export const TARGET_BYTES_MAX = 16 * 1024
export const METHOD_BYTES_MAX = 32
/** All extensions of one chunked body together: padding chunks with them costs us, not the sender. */
export const CHUNK_EXTENSION_BYTES_MAX = 16 * 1024
export const TRAILER_BYTES_MAX = 8 * 1024
/** Names that one Connection field may list. */
export const CONNECTION_OPTIONS_MAX = 16

export type MessageLimit =
  | 'head_bytes'
  | 'header_count'
  | 'target_bytes'
  | 'chunk_extension_bytes'
  | 'trailer_bytes'
