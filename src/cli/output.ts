import CliTable from 'cli-table3'

const BLANK = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '',
}
const STYLE = { head: [], border: [], 'padding-left': 0, 'padding-right': 2 }

export type Cell = string | number | null | undefined

/** Columns without borders, the header in capitals; an empty line follows. */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const drawn = new CliTable({ head: head.map((h) => h.toUpperCase()), chars: BLANK, style: STYLE })
  drawn.push(...rows.map((row) => row.map(cellText)))
  return `${trimmed(drawn.toString())}\n\n`
}

/** `Name  value` lines below a title; an empty line follows. */
export function vertical(title: string, rows: readonly (readonly [string, Cell])[]): string {
  const drawn = new CliTable({ chars: BLANK, style: STYLE })
  drawn.push(...rows.map(([name, value]) => [`  ${name}`, cellText(value)]))
  return `${title}\n${trimmed(drawn.toString())}\n\n`
}

const cellText = (cell: Cell): string =>
  cell === null || cell === undefined
    ? ''
    : String(cell).replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ')

const trimmed = (text: string): string =>
  text
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')

const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ')

/** `just now`, `12s ago`, `3m4s ago`, `5h2m ago`, else `Jan 2 2006 15:04` (UTC). */
export function ago(iso: string | null | undefined, nowMs: number): string {
  const ms = iso ? Date.parse(iso) : Number.NaN
  if (Number.isNaN(ms)) return ''
  const seconds = Math.floor((nowMs - ms) / 1000)
  if (seconds < 1) return 'just now'
  if (seconds < 60) return `${seconds}s ago`
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${seconds % 60}s ago`
  if (seconds < 86_400) {
    return `${Math.floor(seconds / 3600)}h${Math.floor((seconds % 3600) / 60)}m ago`
  }
  const date = new Date(ms)
  const two = (n: number) => String(n).padStart(2, '0')
  const time = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}`
  return `${MONTHS[date.getUTCMonth()]} ${date.getUTCDate()} ${date.getUTCFullYear()} ${time}`
}

/** `12.3 kB`, `4.0 MB`. */
export function bytesText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB']
  let value = bytes
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit += 1
  }
  return unit === 0 ? `${value} B` : `${value.toFixed(1)} ${units[unit]}`
}

export const plural = (count: number, noun: string): string =>
  `${count} ${noun}${count === 1 ? '' : 's'}`
