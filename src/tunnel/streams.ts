interface Handle {
  setBlocking?(isBlocking: boolean): number
}

/**
 * The command has our standard output and error. Node makes a pipe among them non-blocking when a
 * program first looks at it, as `pipe` does on its own, and then the command's writes fail with EAGAIN.
 * So they are looked at once, and made blocking again.
 */
export function keepStreamsBlocking(): void {
  for (const stream of [process.stdout, process.stderr])
    (stream as unknown as { _handle?: Handle | null })._handle?.setBlocking?.(true)
}
