"""Echo requests without Debian's ping: ADDRESS COUNT INTERVAL_S [SOURCE]; prints how many came back."""
import os, select, socket, struct, sys, time

address, count, interval = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
v6 = ':' in address
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW,
                  socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
if len(sys.argv) > 4:
    s.bind((sys.argv[4], 0))
ident = os.getpid() & 0xFFFF


def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def request(seq):
    kind = 128 if v6 else 8
    head = struct.pack('!BBHHH', kind, 0, 0, ident, seq)
    return head if v6 else struct.pack('!BBHHH', kind, 0, checksum(head), ident, seq)


def reply(data):
    body = data if v6 else data[(data[0] & 15) * 4:]
    kind, _, _, i, seq = struct.unpack('!BBHHH', body[:8])
    return seq if kind == (129 if v6 else 0) and i == ident else None


seen = set()
for n in range(count):
    try:
        s.sendto(request(n), (address, 0))
    except OSError:
        pass
    end = time.time() + (interval if n < count - 1 else 1)
    while len(seen) <= n or n < count - 1:
        left = end - time.time()
        if left <= 0 or not select.select([s], [], [], left)[0]:
            break
        try:
            seen.add(reply(s.recv(2048)))
        except OSError:
            continue
        seen.discard(None)
print(len(seen))
