"""A far end for flows of machines: far.py PORT.

TCP: answers a line `echo` with who came and then every byte, `send N` with N bytes and their end,
`take N` with `done` after N bytes. UDP: sends every datagram back.
"""
import hashlib, socket, sys, threading

BLOCK = bytes(range(256)) * 256


def serve(c, peer):
    with c:
        words = b""
        while not words.endswith(b"\n"):
            more = c.recv(1)
            if not more:
                return
            words += more
        verb, *rest = words.decode().split()
        if verb == "echo":
            c.sendall(f"{peer[0].removeprefix('::ffff:')} {peer[1]}\n".encode())
            while data := c.recv(65536):
                c.sendall(data)
        elif verb == "send":
            left = int(rest[0])
            while left > 0:
                c.sendall(BLOCK[: min(left, len(BLOCK))])
                left -= len(BLOCK)
        else:
            left, digest = int(rest[0]), hashlib.sha256()
            while left > 0 and (data := c.recv(65536)):
                digest.update(data)
                left -= len(data)
            c.sendall(digest.hexdigest().encode())


def tcp(port):
    s = socket.socket(socket.AF_INET6)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("::", port))
    s.listen(1024)
    while True:
        threading.Thread(target=serve, args=s.accept(), daemon=True).start()


def udp(family, port):
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind(("", port))
    while True:
        data, peer = s.recvfrom(65536)
        s.sendto(data, peer)


port = int(sys.argv[1])
for family in (socket.AF_INET, socket.AF_INET6):
    threading.Thread(target=udp, args=(family, port), daemon=True).start()
threading.Thread(target=tcp, args=(port,), daemon=True).start()
print('"ready"', flush=True)
sys.stdin.read()
