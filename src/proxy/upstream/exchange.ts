import type { ResponseHead, ResponseMode } from '../../base/http1/response-head.ts'

/** Why an attempt at an upstream failed, before a response began. */
export interface UpstreamFailure {
  /** L14. */
  readonly code: string
  readonly reason: string
  /**
   * How far it came. `unsent`: no octet of the request can have reached the app. `refused`: another
   * edge said so. `sent`: the app may have acted on it. `timeout`: it had the time.
   */
  readonly stage: 'unsent' | 'refused' | 'sent' | 'timeout'
  /** It went out on a connection that had served before, and that may have been closing. */
  readonly reused: boolean
}

/**
 * One request's side of an upstream connection. Data lies in the worker's `scratch.data` at [from,
 * to) and is gone when the call returns.
 */
export interface UpstreamUser {
  readonly responseMode: ResponseMode
  readonly toHead: boolean
  readonly wantsUpgrade: boolean
  /** The whole request has been handed to the upstream, so that the connection may be used again. */
  readonly requestDone: boolean
  /** Octets follow the request's head. */
  readonly hasBody: boolean
  /** The connection is open, or the other edge has accepted: nothing needs to be kept any more. */
  onAccepted(): void
  onInterim(head: ResponseHead): void
  /**
   * `text` is what of the body came with the head, when it is short; otherwise '' and the body's
   * first part lies in scratch. `done`: the response is complete, and the connection is not this
   * user's any more.
   */
  onResponse(head: ResponseHead, text: string, from: number, to: number, done: boolean): void
  onBody(from: number, to: number, done: boolean): void
  onFailed(failure: UpstreamFailure): void
  /** The response broke off. */
  onCut(reason: string): void
  /** What was written has gone out. */
  onUpstreamDrain(): void
  /** 101: from here on both directions are octets. */
  onSwitched(head: ResponseHead, from: number, to: number): void
  onTunnelData(from: number, to: number): void
  onTunnelEnd(): void
}
