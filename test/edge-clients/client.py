"""Python's own HTTP clients, and the package `websockets`, against the app of this folder.

usage: client.py HOST; prints what it saw as JSON
"""

import asyncio
import http.client
import json
import sys
import urllib.request

import websockets

HOST = sys.argv[1]
WAIT_S = 10


def over_one_connection():
    connection = http.client.HTTPConnection(HOST, timeout=WAIT_S)
    connection.connect()
    before = connection.sock.getsockname()

    def ask(method, path, **more):
        connection.request(method, path, **more)
        response = connection.getresponse()
        return response.status, response.read(), response.headers

    _, body, _ = ask("GET", "/json?a=1")
    head = ask("HEAD", "/file")
    parts = (b"x" * 10_000 for _ in range(30))
    framing = {"Transfer-Encoding": "chunked"}
    chunked = ask("PUT", "/digest", body=parts, encode_chunked=True, headers=framing)
    part = ask("GET", "/file", headers={"Range": "bytes=8-17"})
    missing = ask("GET", "/nothing")
    return {
        "get": json.loads(body),
        "head": [head[0], len(head[1]), head[2]["content-length"]],
        "chunked": [chunked[0], json.loads(chunked[1])["bytes"]],
        "range": [part[0], part[1].decode()],
        "missing": missing[0],
        "same connection": connection.sock.getsockname() == before,
    }


def with_urllib():
    request = urllib.request.Request(f"http://{HOST}/digest", data=b"y" * 2_000_000)
    with urllib.request.urlopen(request, timeout=WAIT_S) as response:
        return json.loads(response.read())["bytes"]


async def over_websocket():
    async with websockets.connect(f"ws://{HOST}/ws", max_size=None) as ws:
        await ws.send("hello")
        text = await ws.recv()
        await ws.send(b"z" * (1 << 20))
        big = await ws.recv()
        await asyncio.wait_for(await ws.ping(), WAIT_S)
        await ws.close(4004)
    async with websockets.connect(f"ws://{HOST}/ws/close") as closing:
        await closing.send("x")
        await closing.wait_closed()
    return [text, len(big), ws.close_code, closing.close_code, closing.close_reason]


print(
    json.dumps(
        {
            "http.client": over_one_connection(),
            "urllib": with_urllib(),
            "websockets": asyncio.run(asyncio.wait_for(over_websocket(), WAIT_S)),
        }
    )
)
