/** The app that a Host header names under one of the domains (lower case); undefined: none. */
export function appName(host: string, domains: readonly string[]): string | undefined {
  const name = host.toLowerCase().replace(/:\d*$/, '').replace(/\.$/, '')
  for (const domain of domains) {
    const cut = name.length - domain.length - 1
    if (cut <= 0 || name.charCodeAt(cut) !== 46 || !name.endsWith(domain)) continue
    const label = name.slice(0, cut)
    // A name below an app's own is not the app.
    return label.includes('.') ? undefined : label
  }
  return undefined
}
