/** An error that the person who started the tunnel can act on; its message never holds a secret. */
export class TunnelError extends Error {
  override readonly name = 'TunnelError'
}

export const textOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error)

export const codeOf = (error: unknown): string | undefined =>
  (error as NodeJS.ErrnoException | undefined)?.code
