"""
How do the clients and servers that people use speak HTTP?

``python -m tests.support.webclients KIND URL`` is one in a process of its own: it asks as its kind does,
and prints what it got as JSON; ``echo HOST PORT`` is a server of WebSockets that echoes, and ``app`` an
application for gunicorn.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import sys
from typing import Any, Callable, Iterable

LARGE = 3_000_000  # bytes


def of_httpx(url: str) -> Any:
    """Several requests on one connection, with a body that is sent in chunks, and one that is read so."""
    import httpx

    def pieces() -> Iterable[bytes]:
        for number in range(100):
            yield b"%d " % number * 1000

    with httpx.Client() as client:
        posted = client.post(url + "/echo", content=pieces())
        sent = hashlib.sha256(b"".join(pieces())).hexdigest()
        got = client.get(url + "/large")
        return {
            "same": posted.text == sent,
            "large": len(got.content),
            "head": client.head(url + "/large").status_code,
            "missing": client.get(url + "/missing").status_code,
        }


def of_requests(url: str) -> Any:
    """A session: a body of known length, an answer that is read in pieces, and one that has moved."""
    import requests

    body = b"0123456789" * 50_000
    with requests.Session() as session:
        posted = session.post(url + "/echo", data=body, timeout=60)
        with session.get(url + "/large", stream=True, timeout=60) as got:
            size = sum(map(len, got.iter_content(10_000)))
        moved = session.get(url + "/moved", timeout=60)
        return {
            "same": posted.text == hashlib.sha256(body).hexdigest(),
            "large": size,
            "moved": [each.status_code for each in moved.history] + [moved.status_code],
        }


def of_aiohttp(url: str) -> Any:
    """Many requests at once."""
    import aiohttp

    async def ask() -> Any:
        async with aiohttp.ClientSession() as session:

            async def one(number: int) -> str:
                async with session.get(f"{url}/say/{number}") as answer:
                    return str(await answer.text())

            found = await asyncio.gather(*(one(number) for number in range(200)))
            return found == [str(number) for number in range(200)]

    return asyncio.run(ask())


def of_websockets(url: str) -> Any:
    """A conversation: small and large messages, pings, and an end in order."""
    from websockets.sync.client import connect

    found = []
    with connect(url.replace("http:", "ws:"), max_size=None) as socket:
        for message in ("hello", "x" * 1_000_000, b"\x00\xff" * 1000):
            socket.send(message)
            found.append(socket.recv() == message)
        found.append(socket.ping().wait(10))
    return found


def echo(host: str, port: str) -> None:
    """Echo the messages of WebSockets."""
    from websockets.sync.server import serve

    def answer(socket: Any) -> None:
        for message in socket:
            socket.send(message)

    with serve(answer, host, int(port), max_size=None) as server:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        server.serve_forever()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """What gunicorn serves."""
    path = environ["PATH_INFO"]
    if path == "/echo":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [hashlib.sha256(environ["wsgi.input"].read()).hexdigest().encode()]
    if path == "/large":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return iter([b"x" * 10_000] * (LARGE // 10_000))
    if path.startswith("/say/"):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [path[5:].encode()]
    if path == "/who":
        told = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(told).encode()]
    if path == "/session":
        found = re.search(r"SESSION=([0-9]+)", environ.get("HTTP_COOKIE", ""))
        session = found[1] if found else str(os.getpid())
        given = [] if found else [("Set-Cookie", f"SESSION={session}; Path=/; HttpOnly")]
        start_response("200 OK", [("Content-Type", "text/plain"), *given])
        return [f"{session} at {os.getpid()}".encode()]
    if path == "/moved":
        own = f"http://{environ['SERVER_NAME']}:{environ['SERVER_PORT']}/who"
        start_response("302 Found", [("Location", own), ("Content-Length", "0")])
        return []
    start_response("404 Not Found", [("Content-Length", "0")])
    return []


CLIENTS = {"httpx": of_httpx, "requests": of_requests, "aiohttp": of_aiohttp, "websockets": of_websockets}


if __name__ == "__main__":
    if sys.argv[1] == "echo":
        echo(*sys.argv[2:])
    else:
        sys.stdout.write(json.dumps(CLIENTS[sys.argv[1]](sys.argv[2])))
