/** Numbers of one row, so that a snapshot is one copy of memory whatever the rows count. */
export const ROW_WIDTH = 16
/** Rows that one worker may have; 128 bytes each. */
export const ROWS_MAX = 32_768
const ROWS_FIRST = 64

/** Where a row that was given back, or that there was no room for, goes on being counted: nowhere. */
export const NOWHERE = 0

/**
 * Counts of one worker: rows of plain numbers in one array. A row is named by its offset in `values`,
 * which stays when the array grows; `values` itself must be read anew for each use.
 */
export class NumberRows {
  values = new Float64Array(ROWS_FIRST * ROW_WIDTH)
  readonly #labels: (string | null)[] = [null]
  readonly #free: number[] = []
  readonly #rowsMax: number

  readonly #onFull: () => void

  constructor(rowsMax = ROWS_MAX, onFull = () => {}) {
    this.#rowsMax = rowsMax
    this.#onFull = onFull
  }

  /** A row of zeros; `NOWHERE` when there is no room. `label` names it in snapshots. */
  take(label: string): number {
    const free = this.#free.pop()
    if (free !== undefined) {
      this.#labels[free / ROW_WIDTH] = label
      return free
    }
    const row = this.#labels.length
    if (row >= this.#rowsMax) {
      this.#onFull()
      return NOWHERE
    }
    this.#labels.push(label)
    const at = row * ROW_WIDTH
    if (at + ROW_WIDTH > this.values.length) {
      const grown = new Float64Array(this.values.length * 2)
      grown.set(this.values)
      this.values = grown
    }
    return at
  }

  /** Whoever had the row counts on at `NOWHERE`. */
  give(at: number): void {
    if (at === NOWHERE) return
    this.values.fill(0, at, at + ROW_WIDTH)
    this.#labels[at / ROW_WIDTH] = null
    this.#free.push(at)
  }

  snapshot(): RowsSnapshot {
    return {
      labels: [...this.#labels],
      values: this.values.slice(0, this.#labels.length * ROW_WIDTH),
    }
  }
}

/** Structured-clonable; `values` may be transferred. */
export interface RowsSnapshot {
  /** By row; null: not in use. */
  readonly labels: readonly (string | null)[]
  readonly values: Float64Array<ArrayBuffer>
}

/** The rows of several workers, those of one label added up. */
export function mergeRows(snapshots: readonly RowsSnapshot[]): Map<string, Float64Array> {
  const merged = new Map<string, Float64Array>()
  for (const { labels, values } of snapshots)
    for (const [row, label] of labels.entries()) {
      if (label === null) continue
      const at = row * ROW_WIDTH
      const sum = merged.get(label)
      if (!sum) merged.set(label, values.slice(at, at + ROW_WIDTH))
      else for (let i = 0; i < ROW_WIDTH; i++) sum[i]! += values[at + i]!
    }
  return merged
}
