/** Where in fly.toml: keys and array indexes from the root. */
export type Path = readonly (string | number)[]

/** Something about a fly.toml that a person should know. Errors stop a deploy, warnings do not. */
export interface Problem {
  readonly severity: 'error' | 'warning'
  /** `services[0].ports[1].port`; empty for the file as a whole. */
  readonly path: string
  /** What is wrong, with the value that was found. */
  readonly message: string
  readonly fix: string
  /** 1-based, where it is known. */
  readonly line?: number
}

export const pathText = (path: Path): string =>
  path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`
    return text === '' ? part : `${text}.${part}`
  }, '')

/** A value as it would be typed into fly.toml, shortened. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

/** One line for a terminal: place, what, fix. */
export function problemText(problem: Problem, file: string): string {
  const place = problem.line === undefined ? file : `${file}:${problem.line}`
  const subject = problem.path === '' ? '' : `${problem.path}: `
  return `${place}: ${subject}${problem.message}. ${problem.fix}`
}
