import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseFlow } from './conntrack.ts'

test('conntrack: lines of flows, as the command prints them', () => {
  assert.deepEqual(
    parseFlow(
      'tcp      6 431999 ESTABLISHED src=172.16.0.2 dst=198.19.9.1 sport=3072 dport=8000 src=198.19.9.1 dst=198.51.100.2 sport=8000 dport=3073 [ASSURED] mark=0 use=1',
    ),
    {
      ...{ protocol: 'tcp', state: 'ESTABLISHED', source: '172.16.0.2' },
      ...{ destination: '198.19.9.1', destinationPort: 8_000 },
      ...{ answerTo: '198.51.100.2', answerPort: 3_073 },
    },
  )
  const udp = parseFlow(
    'udp      17 29 src=fdaa:0:1::2 dst=2001:db8::1 sport=60000 dport=9 [UNREPLIED] src=2001:db8::1 dst=2001:db8:e001::2 sport=9 dport=3500 mark=0 use=1',
  )!
  assert.deepEqual([udp.state, udp.answerTo, udp.answerPort], ['', '2001:db8:e001::2', 3_500])
  const echo = parseFlow(
    'icmp     1 29 src=172.16.0.2 dst=198.19.9.1 type=8 code=0 id=77 src=198.19.9.1 dst=198.51.100.2 type=0 code=0 id=3080 mark=0 use=1',
  )!
  assert.deepEqual([echo.destinationPort, echo.answerPort], [0, 3_080])
  assert.equal(parseFlow(''), undefined)
  assert.equal(parseFlow('conntrack v1.4.7 (conntrack-tools): 0 flow entries'), undefined)
})
