const ALIVE_MS = 200
/** A worker that is silent for so long is stuck; the holder is then told nothing, and acts. */
const WORKER_SILENCE_MAX_MS = 1_000

/** Tells the holder, for as long as all worker threads answer, that this process is alive. */
export function tellAlive(workers: { answered(ms: number): boolean }): void {
  setInterval(() => {
    if (workers.answered(WORKER_SILENCE_MAX_MS)) process.send?.({ t: 'alive' })
  }, ALIVE_MS)
}
