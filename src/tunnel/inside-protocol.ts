/** Where connections are redirected to in the command's network; a port that no server has. */
export const INTERCEPT_PORT = 1
export const DNS_ADDRESS = '127.127.127.53'

/** What the process inside (inside.ts) says, each but the last with what it opened there. */
export type FromInside =
  | { readonly t: 'listener' }
  | { readonly t: 'dns' }
  | { readonly t: 'ready'; readonly pid: number }
export type ToInside =
  | { readonly t: 'go' }
  /** With a connection that came to a port of the command. */
  | { readonly t: 'connection'; readonly host: string; readonly port: number }

/** The argument with which our program runs as the part inside. */
export const INSIDE = '--inside'
