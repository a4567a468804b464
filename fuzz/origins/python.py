"""Python's own server as an origin, with a reader of chunks as people write them.

Prints its port, then one JSON line for each request that it saw or would not read.
"""

import hashlib
import http.client
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

http.client._MAXHEADERS = 512
lock = threading.Lock()


def tell(**line):
    with lock:
        sys.stdout.write(json.dumps({"origin": "python", **line}) + "\n")
        sys.stdout.flush()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def send_error(self, code, message=None, explain=None):
        tell(refused=f"{code} {message}")
        self.close_connection = True
        body = b"refused\n"
        self.wfile.write(
            b"HTTP/1.1 %d Refused\r\nX-Origin: python\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (code, len(body), body)
        )
        self.wfile.flush()

    def log_message(self, *args):
        pass

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self.chunks()
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def chunks(self):
        content = b""
        while True:
            size = int(self.rfile.readline().split(b";")[0], 16)
            if size == 0:
                while (line := self.rfile.readline()) != b"\r\n":
                    if not line:
                        raise ValueError("the trailers broke off")
                return content
            content += self.rfile.read(size)
            self.rfile.readline()

    def answer(self):
        # A broken body is one that the edge gave up on: then this connection is at its end.
        try:
            content = self.body()
        except ValueError:
            self.close_connection = True
            return
        if self.headers.get("Content-Length") and len(content) < int(self.headers["Content-Length"]):
            self.close_connection = True
            return
        fields = [text for pair in self.headers.items() for text in pair]
        # `self.path` has been tidied; the line says what came.
        method, target, _ = self.requestline.split(" ")
        tell(
            method=method,
            target=target,
            fields=fields,
            bodyBytes=len(content),
            digest=hashlib.sha1(content).hexdigest(),
        )
        saw = str(self.headers.get("Fly-Request-Id"))
        body = b"" if method == "HEAD" else b"seen\n"
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\nX-Saw: %s\r\nContent-Length: 5\r\n\r\n%s" % (saw.encode(), body)
        )
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
