export interface Difference {
  /** Null: it could not be told which of a batch it was. */
  readonly k: number | null
  /** Who saw it: an origin or a client. */
  readonly by: string
  readonly problems: readonly string[]
}

/** What a run has come to so far. */
export class Report {
  readonly differences: Difference[] = []
  readonly #counts = new Map<string, number>()
  readonly #log: (line: string) => void

  constructor(log: (line: string) => void) {
    this.#log = log
  }

  count(what: string, n = 1): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + n)
  }

  differs(difference: Difference): void {
    this.differences.push(difference)
    const { k, by, problems } = difference
    this.#log(`DIFFERENCE case ${k ?? '?'}, ${by}:\n  ${problems.join('\n  ')}`)
  }

  get counts(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1)))
  }
}

/** Does `work` for each of `tasks`, so many at a time. */
export async function inParallel<T>(
  tasks: readonly T[],
  atOnce: number,
  work: (task: T) => Promise<void>,
): Promise<void> {
  const rest = tasks.values()
  const worker = async () => {
    for (const task of rest) await work(task)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}
