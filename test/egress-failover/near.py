"""A machine's flows to a far end (far.py): reads commands as lines of JSON, answers each with one.

[op, address, ...]: `who`, `udp` SIZE, `ping`, `pings` COUNT, `refused` PORT, `expired` HOPS, `download` BYTES,
`upload` BYTES, `rtt` COUNT, `keep` NAME (a flow that lasts, in the background), `kept` NAME (how it did).
"""
import hashlib, json, os, socket, struct, sys, threading, time

PORT = 8000
BLOCK = bytes(range(256)) * 256
WAIT_S = 20
flows = {}


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def connect(address, line):
    s = socket.create_connection((address, PORT), WAIT_S)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.sendall(line + b"\n")
    return s


def read_line(s):
    line = b""
    while not line.endswith(b"\n"):
        more = s.recv(1)
        if not more:
            raise OSError("closed")
        line += more
    return line.decode().strip()


def who(address):
    with connect(address, b"echo") as s:
        return read_line(s).split()[0]


def udp(address, size):
    s = socket.socket(family(address), socket.SOCK_DGRAM)
    s.settimeout(2)
    # Datagrams may be cut: the far end's answer has its own way to learn what fits.
    for _ in range(8):
        s.sendto(os.urandom(8) * (size // 8), (address, PORT))
        try:
            return len(s.recv(65536))
        except TimeoutError:
            pass
    return 0


def ping(address):
    return any(pings(address, 1) for _ in range(4))


def pings(address, count):
    """Nanoseconds of each of `count` echoes that came back."""
    v6 = ":" in address
    s = socket.socket(family(address), socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
    s.settimeout(3)
    took = []
    for n in range(count):
        head = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, os.getpid() & 0xFFFF, n)
        if not v6:
            total = sum(struct.unpack("!4H", head))
            total = (total & 0xFFFF) + (total >> 16)
            head = head[:2] + struct.pack("!H", ~total & 0xFFFF) + head[4:]
        began = time.perf_counter_ns()
        s.sendto(head, (address, 0))
        try:
            while True:
                data, _ = s.recvfrom(2048)
                body = data if v6 else data[(data[0] & 15) * 4 :]
                if body[0] == (129 if v6 else 0) and body[4:8] == head[4:8]:
                    took.append(time.perf_counter_ns() - began)
                    break
        except TimeoutError:
            pass
    s.close()
    return took


def error(address, port, hops=None):
    """The ICMP error that a datagram meets."""
    s = socket.socket(family(address), socket.SOCK_DGRAM)
    s.settimeout(2)
    if hops:
        level, name = (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if ":" in address else (0, socket.IP_TTL)
        s.setsockopt(level, name, hops)
    s.setsockopt(socket.IPPROTO_IPV6 if ":" in address else 0, 25 if ":" in address else 11, 1)  # RECVERR
    s.connect((address, port))
    for _ in range(4):
        try:
            s.send(b"x")
            s.recv(16)
        except TimeoutError:
            continue
        except OSError as e:
            return os.strerror(e.errno)
    return "silence"


def download(address, size):
    digest, began = hashlib.sha256(), time.monotonic()
    with connect(address, f"send {size}".encode()) as s:
        while data := s.recv(1 << 18):
            digest.update(data)
    return [digest.hexdigest(), round(time.monotonic() - began, 2)]


def upload(address, size):
    with connect(address, f"take {size}".encode()) as s:
        left = size
        while left > 0:
            s.sendall(BLOCK[: min(left, len(BLOCK))])
            left -= len(BLOCK)
        return s.recv(128).decode()


def expected(size):
    digest, left = hashlib.sha256(), size
    while left > 0:
        digest.update(BLOCK[: min(left, len(BLOCK))])
        left -= len(BLOCK)
    return digest.hexdigest()


def rtt(address, count):
    """Nanoseconds of each exchange of one byte."""
    with connect(address, b"echo") as s:
        read_line(s)
        took = []
        for _ in range(count):
            began = time.perf_counter_ns()
            s.sendall(b"x")
            s.recv(1)
            took.append(time.perf_counter_ns() - began)
        return took


def keep(address, name):
    flow = {"exchanges": 0, "problem": None, "longestMs": 0, "over": False}
    flows[name] = flow

    def run():
        try:
            with connect(address, b"echo") as s:
                read_line(s)
                while not flow["over"]:
                    began = time.monotonic()
                    s.sendall(b"x")
                    if not s.recv(1):
                        raise OSError("closed")
                    flow["longestMs"] = max(flow["longestMs"], round((time.monotonic() - began) * 1000))
                    flow["exchanges"] += 1
                    time.sleep(0.005)
        except OSError as e:
            flow["problem"] = repr(e)

    flow["thread"] = threading.Thread(target=run, daemon=True)
    flow["thread"].start()


def kept(_, name):
    flow = flows[name]
    flow["over"] = True
    flow["thread"].join(WAIT_S)
    return {key: flow[key] for key in ("exchanges", "problem", "longestMs")}


def exchanges(_, name):
    return flows[name]["exchanges"]


OPS = {
    **{"who": who, "udp": udp, "ping": ping, "pings": pings, "download": download, "upload": upload, "rtt": rtt},
    **{"keep": keep, "kept": kept, "exchanges": exchanges, "expected": lambda _, size: expected(size)},
    "refused": lambda address, port: error(address, port),
    "expired": lambda address, hops: error(address, 7, hops),
}
print('"ready"', flush=True)
for line in sys.stdin:
    op, *words = json.loads(line)
    try:
        print(json.dumps({"ok": OPS[op](*words)}), flush=True)
    except OSError as e:
        print(json.dumps({"error": repr(e)}), flush=True)
