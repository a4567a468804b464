import { flushCompileCache } from 'node:module'

/**
 * Writes what Node has stripped and compiled to its cache (NODE_COMPILE_CACHE), when the process or
 * worker has started. Node itself does so at an orderly exit, which most of ours never have.
 */
export function keepCompiled(): void {
  setImmediate(flushCompileCache)
}
