import { durationMs } from '../machine-config.ts'

/** Go's durations, as far as a config may have them: no sign. */
export const DURATION = /^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$|^0$/

/** Milliseconds, or undefined when the text is no duration. */
export const parseDuration = (text: string): number | undefined =>
  DURATION.test(text) ? durationMs(text, 0) : undefined
