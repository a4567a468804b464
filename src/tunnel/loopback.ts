/** 127.64.0.1 to 127.127.255.254: far from what people use by hand, and apart for each process. */
export function loopbackAddress(pid: number, index: number): string {
  const n = (pid * 251 + index) % (64 * 256 * 254)
  return `127.${64 + Math.floor(n / (256 * 254))}.${Math.floor(n / 254) % 256}.${1 + (n % 254)}`
}
