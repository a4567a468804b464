import assert from 'node:assert/strict'
import { afterEach, describe, test } from 'node:test'
import { ADDRESS, eventually, Lab } from '../testing-edge.ts'
import { proxyHeader } from './proxy-header.ts'

const lab = new Lab()
afterEach(() => lab.close())

describe('raw TCP', () => {
  test('octets both ways, an end as an end', async () => {
    let got = ''
    const port = await lab.app((socket) => {
      socket.write('banner\n')
      socket.on('data', (data: Buffer) => (got += String(data)))
      socket.on('end', () => socket.end(`you said ${got}`))
    })
    const edge = await lab.simple(port, { handlers: [] })
    const client = lab.client(edge.port)
    await client.until('banner\n')
    client.socket.end('\0\x01binary')
    assert.equal(await client.end(), 'banner\nyou said \0\x01binary')
    await eventually(() => edge.count('connections') === 0)
  })

  test('an app that ends first', async () => {
    const port = await lab.app((socket) => socket.end('bye'))
    const edge = await lab.simple(port, { handlers: [] })
    const client = lab.client(edge.port)
    assert.equal(await client.end(), 'bye')
    client.socket.end()
    await eventually(() => edge.count('connections') === 0)
  })

  test('what an app does not read waits with the client', async () => {
    const port = await lab.app((socket) => socket.pause())
    const edge = await lab.simple(port, { handlers: [] })
    const client = lab.client(edge.port)
    const part = Buffer.alloc(1 << 20)
    let sent = 0
    const more = () => {
      while (sent < 64 && client.socket.write(part)) sent++
    }
    client.socket.on('drain', more)
    more()
    for (let last = -1; last !== sent; ) {
      last = sent
      await new Promise((resolve) => setTimeout(resolve, 150))
    }
    assert.ok(sent < 32, `${sent} MB went out while nobody read`)
  })

  test('another machine when one refuses; a reset when all do', async () => {
    const port = await lab.app((socket) => socket.end('alive'))
    const services = (internalPort: number) => [{ port: 80, internalPort, handlers: [] }]
    const dead = { id: 'm1', services: services(1) }
    const alive = { id: 'm2', services: services(port) }
    const app = { name: 'hello', addresses: [ADDRESS] }
    const one = await lab.edge([{ ...app, machines: [dead, alive] }], { random: () => 0.99 })
    assert.equal(await lab.client(one.port).end(), 'alive')
    const none = await lab.edge([{ ...app, machines: [dead] }])
    const client = lab.client(none.port)
    await eventually(() => client.error === 'ECONNRESET')
    assert.deepEqual(
      new Set(none.logs.map(({ code, machine }) => `${code} ${machine}`)),
      new Set(['PC01 m1', 'PC01 ']),
    )
  })

  test('v2 header before the first octet', async () => {
    const port = await lab.app((socket) => socket.once('data', (data: Buffer) => socket.end(data)))
    const edge = await lab.simple(port, { handlers: ['proxy_proto'], proxyProtoVersion: 'v2' })
    const client = lab.client(edge.port)
    const text = await client.end()
    assert.equal(text.slice(0, 14), '\r\n\r\n\0\r\nQUIT\n\x21\x11')
    assert.equal(text.length, 28)
  })
})

describe('PROXY headers', () => {
  const v4 = {
    clientAddress: '192.0.2.1',
    clientPort: 258,
    localAddress: '203.0.113.5',
    localPort: 80,
  }
  const v6 = { ...v4, clientAddress: '2001:db8::1', localAddress: '2001:db8:1::5' }
  const hex = (text: string) => Buffer.from(text, 'latin1').toString('hex')

  test('v1', () => {
    assert.equal(proxyHeader(v4, 'v1'), 'PROXY TCP4 192.0.2.1 203.0.113.5 258 80\r\n')
    assert.equal(proxyHeader(v6, 'v1'), 'PROXY TCP6 2001:db8::1 2001:db8:1::5 258 80\r\n')
  })

  test('v2', () => {
    const signature = '0d0a0d0a000d0a515549540a'
    assert.equal(hex(proxyHeader(v4, 'v2')), `${signature}2111000cc0000201cb00710501020050`)
    assert.equal(
      hex(proxyHeader(v6, 'v2')),
      `${signature}2121002420010db800000000000000000000000120010db800010000000000000000000501020050`,
    )
  })
})
