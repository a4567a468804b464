/**
 * Every limit and time-out of the request path. Bytes unless the name says otherwise; each is
 * counted in the metric `fairway_edge_limit_hits_total{limit}` when it strikes.
 */

import type { MessageLimit } from '../base/http1/limits.ts'

export * from '../base/http1/limits.ts'

/** Interim (1xx) responses to one request. */
export const INTERIM_RESPONSES_MAX = 16

/** Requests that came at once and that the edge itself answers before others have their turn. */
export const ANSWERS_PER_TURN_MAX = 64

/** How much of a read is turned into text at first; a longer head costs a second look. */
export const HEAD_TEXT_BYTES = 4096
/** A body part up to this size is forwarded as text together with its head, in one write. */
export const TEXT_BODY_BYTES_MAX = 4096
/** Parts of a request body kept for another attempt; the client is paused beyond it. */
export const RETRY_BODY_BYTES_MAX = 64 * 1024

/** What one read of a long body or a busy tunnel takes at most; it goes on from where it lies. */
export const STREAM_BUFFER_BYTES = 256 * 1024
/** Such buffers of one worker; above, reads are copied. */
export const STREAM_BUFFERS_MAX = 256

/** While the process drains: a connection without any request yet waits so long for its first. */
export const DRAIN_FIRST_REQUEST_MS = 2_000
/**
 * Time for a whole request head, from its first byte (or from the accept, for the first one), unless
 * http_options.headers_read_timeout says otherwise.
 */
export const HEAD_READ_MS = 30_000
/** A client's connection without a request. */
export const CLIENT_IDLE_MS = 60_000
/**
 * A request without a byte in either direction, or a client that takes nothing of what waits for it,
 * unless http_options.idle_timeout says otherwise. Counted
 * as `request_body_ms` when the client owes it, and as `request_idle_ms` when the app does.
 */
export const REQUEST_IDLE_MS = 60_000
/** After a client's FIN its response may still take this long between two bytes of the app. */
export const HALF_CLOSE_GRACE_MS = 3_000
/** A tunnel of which one side has ended: between two bytes of the other. Its machine's slot is taken. */
export const TUNNEL_HALF_CLOSED_MS = 600_000
/** After an answer that ends the connection has left us: what the client still sends is read and dropped. */
export const LINGER_MS = 2_000
export const LINGER_BYTES_MAX = 1024 * 1024
export const CONNECT_MS = 2_000
/** Apps close idle connections after 5 s and more; staying below avoids the race (S28). */
export const POOL_IDLE_MS = 4_000
export const POOL_IDLE_MAX = 512
/** While another edge owes an answer: how often its host is looked up in the view. */
export const BACKHAUL_WATCH_MS = 1_000
/**
 * How much later than the edge that faces the client the one of the machine's host gives up: a way
 * between hosts, and two looks at the time-outs. The client is told by the first.
 */
export const BACKHAUL_SLACK_MS = 2_000
/** Between edges: less than CLIENT_IDLE_MS, after which the other end closes. */
export const BACKHAUL_POOL_IDLE_MS = 55_000
/** A machine or host that could not be reached is the last to be chosen for so long. */
export const SUSPECT_MS = 2_000
/** Not chosen at all: those who have nobody else try at this pace. */
export const DOWN_MS = 50

/** Its host refused a machine because it is full: until the view says so, or this is over. */
export const FULL_MS = 50

/** Attempts for one request (L7), and the time that all of them together may begin in. */
export const ATTEMPTS_MAX = 90
export const ATTEMPTS_MS = 10_000
/** Machines that may have acted on a request before it is given up: it may be what kills them. */
export const REPEATS_MAX = 2
/** Attempts after the first, as a share of an app's requests in about the last window ... */
export const RETRY_SHARE_MAX = 0.2
export const RETRY_WINDOW_MS = 10_000
/** ... or this number in a window, where that is more. */
export const RETRIES_FREE_MAX = 100
/** Apps that a worker counts them for; beyond, the oldest begins anew. */
export const RETRY_APPS_MAX = 10_000
/** A machine is ejected after so many failed requests without a success in between, ... */
export const EJECT_FAILURES_IN_A_ROW = 5
/** ... or when this share of at least so many in a window has failed. */
export const EJECT_SHARE = 0.5
export const EJECT_REQUESTS_MIN = 20
export const EJECT_WINDOW_MS = 10_000
/** For so long the first time, twice as long each further time, at most so long. */
export const EJECT_MS = 5_000
export const EJECT_MS_MAX = 300_000
/** A machine that has been back for so long is ejected as if for the first time. */
export const EJECT_MEMORY_MS = 300_000
/** Machines with failures that one worker remembers; beyond, the oldest is forgotten. */
export const OUTLIERS_MAX = 10_000
/** A machine that begins to serve has its full share after this, if its service says nothing else. */
export const SLOW_START_MS = 10_000
export const SLOW_START_WEIGHT_MIN = 0.1
/** Bodies kept for another attempt, of all requests of one worker that an app has taken. */
export const RETAINED_BYTES_MAX = 64 * 1024 * 1024
/** Waiting for a slot when every machine is at its hard limit (L6). */
export const QUEUE_MS = 5_000
/** Waiting for a machine that is starting, when no other can serve. */
export const START_WAIT_MS = 3_000
/** For machines that could not be reached, or do not pass their checks, when no other is left. */
export const RECONNECT_WAIT_MS = 1_000
/** How many may wait in one worker: for one app, and in all. Above: 503 at once. */
export const QUEUED_PER_APP_MAX = 256
export const QUEUED_MAX = 1_024
/** Those who wait try again after so long (half to one and a half of it) if nothing woke them. */
export const QUEUE_STEP_MS = 50
/** Of those who wait, how many go to other hosts at once, which may refuse them. */
export const QUEUE_SENT_PER_TURN_MAX = 16
/** A slot that another worker was offered and did not take is free for one's own after this. */
export const QUEUE_HANDOFF_MS = 2
/** What a 503 tells the client to wait. */
export const RETRY_AFTER_SECONDS = 1

/** Connections of one worker; above, new ones are reset. */
export const CONNECTIONS_MAX = 16_384
/** A client's routing header (R27 to R30); one that prefers is ignored beyond, one that forces refused. */
export const ROUTING_VALUE_BYTES_MAX = 256
/** Regions that it may name. */
export const ROUTING_NAMES_MAX = 16
/** Machines whose sticky tokens a worker remembers; beyond, it makes them anew. */
export const STICKY_TOKENS_MAX = 10_000
/** The line between edges that comes before a request or a stream. */
export const PREFACE_BYTES_MAX = 512
/** Lines for one app's log in a second; what is above is counted and said in the next line. */
export const APP_LOG_LINES_PER_SECOND_MAX = 20
/** Within this time a line that is the same is said the 1st, 10th, 100th ... time only (L12). */
export const APP_LOG_REPEAT_MS = 60_000
/** Apps with series of their own in one worker's metrics, and machines of the host; others share one. */
export const APPS_MEASURED_MAX = 1_000
export const INSTANCES_MEASURED_MAX = 2_046
/** Statuses told apart in one series; the rest is `other`. */
export const STATUSES_PER_SERIES_MAX = 12
/** Attempts and waits that a record of one request keeps; of more, the first ones and the last. */
export const ATTEMPTS_RECORDED_MAX = 16
/** Lines of the access log and spans leave a worker in batches of this size, or after this time. */
export const OBSERVED_BATCH_BYTES = 64 * 1024
export const OBSERVED_FLUSH_MS = 200
/** What has left a worker and is not written yet; above it, lines and spans are dropped. */
export const OBSERVED_PENDING_BYTES_MAX = 4 * 1024 * 1024
/** Spans that one worker makes in a second, whatever clients have sampled. */
export const SPANS_PER_SECOND_MAX = 1_000
/** Lines of the access log for one app's own log in a second, and apps that are kept apart for it. */
export const ACCESS_LINES_PER_APP_MAX = 50
export const ACCESS_LOG_APPS_MAX = 10_000
/** Tokens for explanations that one worker looks at in a second; more are taken for wrong. */
export const EXPLAIN_TOKENS_TRIED_PER_SECOND_MAX = 20
export const EXPLAIN_TOKEN_CHARS_MAX = 128
/** Probes that find a peer that vanished without a word, on streams that may be silent for long. */
export const KEEPALIVE_PROBE_MS = 30_000

export type LimitName =
  | MessageLimit
  | 'interim_responses'
  | 'answers_per_turn'
  | 'head_read_ms'
  | 'client_idle_ms'
  | 'request_body_ms'
  | 'request_idle_ms'
  | 'half_close_grace_ms'
  | 'tunnel_half_closed_ms'
  | 'linger'
  | 'connect_ms'
  | 'pool_idle_max'
  | 'attempts'
  | 'retry_budget'
  | 'queue_per_app_max'
  | 'queue_ms'
  | 'retained_bytes'
  | 'stream_buffers'
  | 'load_slots'
  | 'routing_value_bytes'
  | 'rate_per_source'
  | 'rate_per_service'
  | 'rate_places'
  | 'connections'
  | 'app_log_lines'
  | 'app_series'
  | 'explain_tokens'
  | 'access_log_lines'
  | 'spans'
