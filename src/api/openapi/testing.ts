import assert from 'node:assert/strict'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'

/** Answers held against the document by somebody else's validator, for tests. */

export interface Exchange {
  readonly method: string
  /** With its query. */
  readonly path: string
  readonly status: number
  readonly contentType: string | undefined
  readonly text: string
}

type Json = Readonly<Record<string, unknown>>
interface Operation {
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema: Json }>> }>
  >
}
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
}

const ID = 'document'

export class AnswerChecks {
  readonly #ajv = new Ajv2020({ strict: false, allErrors: true })
  readonly #document: Document
  readonly #paths: readonly (readonly [pattern: RegExp, path: string])[]
  readonly #validators = new Map<string, ValidateFunction>()
  /** `GET /v1/apps/{app} 200` for all that was checked. */
  readonly seen = new Set<string>()

  constructor(document: object) {
    this.#document = document as Document
    formats.default(this.#ajv)
    this.#ajv.addSchema(closed(document) as object, ID)
    this.#paths = Object.keys(this.#document.paths)
      // What is written out is meant before what may be anything.
      .sort((a, b) => a.split('{').length - b.split('{').length)
      .map((path) => [new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}$`), path])
  }

  /** Throws when the document does not know the answer, or knows it otherwise. */
  check(exchange: Exchange): void {
    const { status, text } = exchange
    const method = exchange.method.toLowerCase()
    const asked = exchange.path.split('?')[0]!
    const shown = `${exchange.method} ${exchange.path}: ${status} ${text.slice(0, 500)}`
    const path = this.#paths.find(([pattern]) => pattern.test(asked))?.[1]
    const operation = path === undefined ? undefined : this.#document.paths[path]?.[method]
    if (method === 'head') return assert.equal(text, '', shown)
    if (!operation) return assert.ok(status >= 400, `the document does not have ${shown}`)
    const known = String(status) in operation.responses ? String(status) : 'default'
    assert.ok(known !== 'default' || status >= 400, `the document does not have ${shown}`)
    this.seen.add(`${exchange.method} ${path} ${known}`)
    const type = exchange.contentType?.split(';')[0]
    const { content } = operation.responses[known]!
    if (!content) return assert.equal(text, '', shown)
    assert.ok(type && type in content, `the document does not have ${type} for ${shown}`)
    const pointer = ['paths', path!, method, 'responses', known, 'content', type, 'schema']
    if (type === 'application/json') this.#validate(pointer, JSON.parse(text), shown)
    if (type === 'application/x-ndjson')
      for (const line of text.split('\n').filter((one) => one !== ''))
        this.#validate(pointer, JSON.parse(line), shown)
  }

  #validate(pointer: readonly string[], value: unknown, shown: string): void {
    const $ref = `${ID}#/${pointer
      .map((part) => part.replaceAll('~', '~0').replaceAll('/', '~1'))
      .map(encodeURIComponent)
      .join('/')}`
    const validator = this.#validators.get($ref) ?? this.#ajv.compile({ $ref })
    this.#validators.set($ref, validator)
    if (validator(value)) return
    assert.fail(`${this.#ajv.errorsText(validator.errors)} in ${shown}`)
  }
}

/** The document is open to what later versions add; here whatever it does not name is a mistake. */
function closed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(closed)
  if (typeof value !== 'object' || value === null) return value
  const inside = Object.fromEntries(Object.entries(value).map(([key, one]) => [key, closed(one)]))
  const isObject = inside.type === 'object' && 'properties' in inside
  return isObject && !('additionalProperties' in inside)
    ? { ...inside, additionalProperties: false }
    : inside
}
