import { type Logger, pino } from 'pino'

export type { Logger } from 'pino'

/**
 * One JSON line per event on stderr: `{"level","time","component",...,"msg"}`.
 * FAIRWAY_LOG_LEVEL picks the level (default info). Secrets never go in here.
 */
export const createLogger = (component: string): Logger =>
  pino(
    {
      level: process.env.FAIRWAY_LOG_LEVEL ?? 'info',
      base: { component },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ fd: 2, sync: true }),
  )
