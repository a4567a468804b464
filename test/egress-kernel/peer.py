"""Both ends of connections for the tests of egress, and an ear on the wire between.

sink PORT...             accepts on every address, says who came as "address port mss", echoes;
                         several may share a port
hold COUNT ADDR PORT     opens connections one by one until one fails and says what became of them;
                         keeps them until its input ends; each line of input is one more round
talk ADDR4 ADDR6 PORT    new connections and datagrams all the time and one connection that lasts,
                         per family, until its input ends; then says how they did
send ADDR PORT SOURCE    one datagram from a source port
capture DEVICE GOOD...   counts packets that come in by their source until its input ends; those
                         whose source begins with none of GOOD are listed
"""
import errno, json, resource, select, socket, struct, sys, threading, time

most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def say(value):
    print(json.dumps(value), flush=True)


def sink(ports):
    poll = select.epoll()
    listeners, peers = {}, {}
    for port in ports:
        s = socket.socket(socket.AF_INET6)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind(("::", int(port)))
        s.listen(4096)
        listeners[s.fileno()] = s
        poll.register(s, select.EPOLLIN)
    say("listening")
    while True:
        for fd, _ in poll.poll():
            if fd in listeners:
                c, peer = listeners[fd].accept()
                mss = c.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
                try:
                    c.sendall(f"{peer[0].removeprefix('::ffff:')} {peer[1]} {mss}\n".encode())
                    peers[c.fileno()] = c
                    poll.register(c, select.EPOLLIN)
                except OSError:
                    c.close()
                continue
            try:
                data = peers[fd].recv(4096)
                if data:
                    peers[fd].sendall(data)
                    continue
            except OSError:
                pass
            poll.unregister(fd)
            peers.pop(fd).close()


def connect(address, port, timeout=5):
    s = socket.socket(family(address))
    s.settimeout(timeout)
    s.connect((address, port))
    banner = b""
    while not banner.endswith(b"\n"):
        banner += s.recv(64)
    source, source_port, mss = banner.decode().split()
    return s, (source, int(source_port), int(mss))


def hold(count, address, port):
    held = []
    while True:
        came, failed, began = [], None, 0
        for _ in range(count):
            began = time.monotonic()
            try:
                s, came_as = connect(address, port)
            except OSError as e:
                failed = errno.errorcode.get(e.errno or 0, "ETIMEDOUT")
                break
            held.append(s)
            came.append(came_as)
        say({"came": came, "failed": failed, "tookMs": round((time.monotonic() - began) * 1000)})
        if not sys.stdin.readline():
            return


def talk(address4, address6, port):
    over, told = threading.Event(), {"lasting": {}, "brief": {}}

    def lasting(address):
        n, problem, source = 0, None, None
        try:
            s, source = connect(address, port)
            while not over.is_set():
                s.sendall(b"p")
                if not s.recv(16):
                    problem = "closed"
                    break
                n += 1
                time.sleep(0.01)
        except OSError as e:
            problem = repr(e)
        told["lasting"][address] = {"exchanges": n, "problem": problem, "source": source}

    def brief(address):
        sources, failed, datagrams = {}, 0, 0
        u = socket.socket(family(address), socket.SOCK_DGRAM)
        while not over.is_set():
            try:
                s, came_as = connect(address, port, 2)
                sources[came_as[0]] = sources.get(came_as[0], 0) + 1
                s.close()
            except OSError:
                failed += 1
            # Also from ports of its own choice, one after the other.
            try:
                u.sendto(b"u", (address, 9))
                f = socket.socket(family(address), socket.SOCK_DGRAM)
                f.bind(("::" if ":" in address else "0.0.0.0", 40000 + datagrams % 1000))
                f.sendto(b"f", (address, 9))
                f.close()
                datagrams += 2
            except OSError:
                pass
            time.sleep(0.005)
        told["brief"][address] = {"sources": sources, "failed": failed, "datagrams": datagrams}

    threads = [
        threading.Thread(target=run, args=(a,)) for a in (address4, address6) for run in (lasting, brief)
    ]
    for t in threads:
        t.start()
    say("talking")
    sys.stdin.read()
    over.set()
    for t in threads:
        t.join()
    say(told)


def send(address, port, source):
    s = socket.socket(family(address), socket.SOCK_DGRAM)
    s.bind(("::" if ":" in address else "0.0.0.0", source))
    s.sendto(b"x", (address, port))


def capture(device, good):
    """`src=`: a prefix as text, canonical IPv6 in full hextets as socket.inet_ntop writes it."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.ntohs(3))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
    s.bind((device, 3))
    seen, bad = {}, []
    poll = select.poll()
    poll.register(s, select.POLLIN)
    poll.register(sys.stdin, select.POLLIN | select.POLLHUP)
    say("capturing")
    ending = None
    while ending is None or time.monotonic() < ending:
        ready = [fd for fd, _ in poll.poll(50)]
        if sys.stdin.fileno() in ready:
            poll.unregister(sys.stdin)
            ending = time.monotonic() + 0.3
        if s.fileno() not in ready:
            continue
        data, (_, protocol, kind, *_) = s.recvfrom(128)
        if kind == 4 or protocol not in (0x0800, 0x86DD):  # outgoing, or no IP
            continue
        v4 = protocol == 0x0800
        source = socket.inet_ntop(*((socket.AF_INET, data[12:16]) if v4 else (socket.AF_INET6, data[8:24])))
        upper, at = (data[9], (data[0] & 15) * 4) if v4 else (data[6], 40)
        port = struct.unpack("!H", data[at : at + 2])[0] if upper in (6, 17) else 0
        key = f"{source} {upper} {port >> 10 if upper in (6, 17) else -1}"
        seen[key] = seen.get(key, 0) + 1
        if not any(source.startswith(g) for g in good) and len(bad) < 100:
            bad.append(f"{source} protocol {upper} port {port} {data[:60].hex()}")
    dropped = struct.unpack("II", s.getsockopt(263, 6, 8))[1]
    say({"seen": seen, "bad": bad, "dropped": dropped})


mode, *words = sys.argv[1:]
if mode == "sink":
    sink(words)
elif mode == "hold":
    hold(int(words[0]), words[1], int(words[2]))
elif mode == "talk":
    talk(words[0], words[1], int(words[2]))
elif mode == "send":
    send(words[0], int(words[1]), int(words[2]))
else:
    capture(words[0], words[1:])
