import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readAgentConfig } from './config.ts'

const good = {
  host: { id: 'iad1', region: 'iad', index: 1, underlayV4: '198.51.100.1', underlayV6: '' },
  ...{ stateDir: '/s', runDir: '/r', controlUrls: ['https://control.test:4281'] },
  tls: { ca: 'ca.pem', cert: 'cert.pem', key: 'key.pem' },
  ...{ appsDomains: ['fairway.test'], publicPrefixes: ['203.0.113.0/24', '2001:db8:1::/48'] },
}

test('a configuration is read with its defaults; a bad one is named by file and field', () => {
  const directory = mkdtempSync(join(tmpdir(), 'agent-config-'))
  const path = join(directory, 'agent.json')
  const read = (content: unknown) => {
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
    return readAgentConfig(path)
  }
  try {
    const { wanInterface, machineResolvers, cgroupRoot } = read(good)
    assert.deepEqual(
      { wanInterface, machineResolvers, cgroupRoot },
      {
        ...{ wanInterface: 'wan', machineResolvers: ['fdaa::3'], cgroupRoot: null },
      },
    )
    const code = 'bad_config'
    const urls = { ...good, controlUrls: ['http://control.test:4281'] }
    assert.throws(() => read(urls), { code, message: /agent\.json.*controlUrls\.0.*https/ })
    assert.throws(() => read({ ...good, publicPrefixes: ['x'] }), { message: /publicPrefixes\.0/ })
    assert.throws(() => read('{'), { code })
    assert.throws(() => readAgentConfig(undefined), { code, message: /no path/ })
  } finally {
    rmSync(directory, { recursive: true })
  }
})
