import { appName } from '../../model/app-name.ts'
import type { PortRoute } from '../../view/edge-view.ts'
import type { ProxyContext } from '../context.ts'
import { ECHO_NAME } from '../echo.ts'
import type { Resolver } from '../http1/public-connection.ts'

type Resolution = ReturnType<Resolver['resolve']>

const isHttp = (route: PortRoute | undefined): route is PortRoute =>
  route?.handlers.includes('http') === true && !route.handlers.includes('tls')

/** A dedicated address: the app is the address's, whatever the Host header says. */
export class DedicatedResolver implements Resolver {
  readonly #ctx: ProxyContext
  readonly #address: string
  readonly #port: number
  #revision = -1
  #resolution: Resolution = 'no-app'

  constructor(ctx: ProxyContext, address: string, port: number) {
    this.#ctx = ctx
    this.#address = address
    this.#port = port
  }

  resolve(): Resolution {
    const { view } = this.#ctx
    if (view.revision === this.#revision) return this.#resolution
    const owner = view.address(this.#address)
    const route = owner?.kind === 'app' ? owner.app.port('tcp', this.#port) : undefined
    this.#resolution = isHttp(route) ? route : 'no-port'
    this.#revision = view.revision
    return this.#resolution
  }
}

/** A shared address: the app is named by the Host header, and has to name the address (I2). */
export class SharedResolver implements Resolver {
  readonly #ctx: ProxyContext
  readonly #address: string
  readonly #port: number
  #revision = -1
  #host = ''
  #resolution: Resolution = 'no-app'

  constructor(ctx: ProxyContext, address: string, port: number) {
    this.#ctx = ctx
    this.#address = address
    this.#port = port
  }

  resolve(host: string): Resolution {
    const { view } = this.#ctx
    if (host === this.#host && view.revision === this.#revision) return this.#resolution
    this.#resolution = this.#find(host)
    this.#host = host
    this.#revision = view.revision
    return this.#resolution
  }

  #find(host: string): Resolution {
    const { view, appsDomains } = this.#ctx
    if (view.address(this.#address)?.kind !== 'shared') return 'no-port'
    const name = appName(host, appsDomains)
    if (name === ECHO_NAME) return 'echo'
    const app = name === undefined ? undefined : view.app(name)
    if (app?.sharedV4 !== this.#address) return 'no-app'
    const route = app.port('tcp', this.#port)
    return isHttp(route) ? route : 'no-port'
  }
}
