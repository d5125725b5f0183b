"""
What does a browser see of a site?

`visit` opens a page in Chromium, which has no window, and is led by its DevTools protocol from a process of
its own (``python -m tests.support.browser DEVTOOLS URL``) until the page says on its console that it is done;
it tells what the browser's own network log has.  `site` makes a page with assets, a script and a WebSocket.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import sys
import zlib
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Sequence
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization

from tests.support.authority import Issued
from tests.support.stage import PYTHONPATH, Place, Stage, program

IMAGES = 8
BODY = "x" * 200_000  # of a request of the page's script
MESSAGES = ("hello", "y" * 70_000)  # on its WebSocket

PATIENCE = 30.0  # seconds

PAGE = f"""<!doctype html>
<title>Page</title>
<link rel="stylesheet" href="/style.css">
{"".join(f'<img src="/image{number}.png" alt="">' for number in range(IMAGES))}
<p id="said">Hello</p>
<script src="/script.js"></script>
"""

STYLES = {"style.css": "@import url(/color.css);\n", "color.css": "p { color: rgb(1, 2, 3); }\n"}

SCRIPT = """
"use strict";
function talk(messages) {
  return new Promise((resolve, reject) => {
    const heard = [];
    const socket = new WebSocket(location.origin.replace("http", "ws") + "/socket");
    socket.onerror = () => reject("the WebSocket has failed");
    socket.onopen = () => socket.send(messages[0]);
    socket.onmessage = (event) => {
      heard.push(event.data);
      if (heard.length < messages.length) socket.send(messages[heard.length]);
      else socket.close();
    };
    socket.onclose = (event) => resolve({heard: heard, clean: event.wasClean});
  });
}
async function run() {
  await new Promise((resolve) => { window.onload = resolve; });
  const answer = await fetch("/echo", {method: "POST", body: BODY});
  const digest = await answer.text();
  const images = Array.from(document.images, (image) => image.naturalWidth);
  const color = getComputedStyle(document.getElementById("said")).color;
  const talked = await talk(MESSAGES);
  return {digest: digest, images: images, color: color, ...talked};
}
const say = (found) => console.log("done", JSON.stringify(found));
run().then(say, (wrong) => say(String(wrong)));
"""


async def visit(stage: Stage, url: str, place: Place, issued: Sequence[Issued] = ()) -> Any:
    """
    What Chromium's network log has of a page of `site`, and what the page itself has found.

    Chromium finds the page's host at a place, and trusts these certificates alone.  It remembers nothing of
    other visits.
    """
    name = urlsplit(url).hostname
    child = stage.spawn(
        program("chromium-headless-shell", "chromium-headless-shell"),
        "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server",
        "--disable-background-networking", "--remote-debugging-port=0", "--remote-allow-origins=*",
        f"--user-data-dir={mkdtemp(prefix='chromium', dir=stage.folder)}",
        f"--host-resolver-rules=MAP {name}:* {place}",
        f"--ignore-certificate-errors-spki-list={','.join(map(_fingerprint, issued))}",
    )  # fmt: skip
    devtools = (await child.says(rb"DevTools listening on (ws://\S+)")).group(1).decode()
    out = await stage.check(
        sys.executable, "-m", "tests.support.browser", devtools, url, environment={"PYTHONPATH": PYTHONPATH}
    )
    await child.exits()
    return json.loads(out)


def _fingerprint(issued: Issued) -> str:
    key = issued.private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


def site(folder: Path) -> None:
    """Write a page with its assets."""
    (folder / "index.html").write_text(PAGE)
    for name, style in STYLES.items():
        (folder / name).write_text(style)
    script = f"const BODY = {json.dumps(BODY)}, MESSAGES = {json.dumps(MESSAGES)};\n{SCRIPT}"
    (folder / "script.js").write_text(script)
    for name in (f"image{number}" for number in range(IMAGES)):
        (folder / f"{name}.png").write_bytes(_image(len(name)))


def _image(width: int) -> bytes:
    """A PNG of one line."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, 1, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1 + width)))
        + chunk(b"IEND", b"")
    )


class DevTools:
    """A conversation with the browser, and what it has told of its network."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._asked = 0
        self._answers: dict[int, Any] = {}
        self._session: dict[str, str] = {}
        self.log: dict[str, Any] = {"responses": [], "failed": [], "sockets": [], "sent": [], "received": []}
        self.done: Any = None

    def visit(self, url: str) -> None:
        """Open a page, and wait until it is done."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Network", "Runtime", "Page"):
            self._ask(f"{domain}.enable")
        said = self._ask("Page.navigate", url=url)
        assert "errorText" not in said, said
        while self.done is None:
            self._hear()

    def close(self) -> None:
        """End the browser."""
        self._session = {}
        self._ask("Browser.close")

    def _ask(self, method: str, **parameters: Any) -> Any:
        self._asked += 1
        self._socket.send(
            json.dumps({"id": self._asked, "method": method, "params": parameters, **self._session})
        )
        while self._asked not in self._answers:
            self._hear()
        answer = self._answers.pop(self._asked)
        assert "error" not in answer, answer
        return answer["result"]

    def _hear(self) -> None:
        said = json.loads(self._socket.recv(timeout=PATIENCE))
        if "id" in said:
            self._answers[said["id"]] = said
            return
        what, found = said["method"], said["params"]
        if what == "Network.responseReceived":
            response = found["response"]
            known = ("url", "status", "protocol", "connectionId", "headers")
            self.log["responses"].append({key: response[key] for key in known})
        elif what == "Network.loadingFailed":
            self.log["failed"].append(found["errorText"])
        elif what == "Network.webSocketHandshakeResponseReceived":
            self.log["sockets"].append(found["response"]["status"])
        elif what == "Network.webSocketFrameReceived" and found["response"]["opcode"] < 8:
            self.log["received"].append(found["response"]["payloadData"])
        elif what == "Network.webSocketFrameSent" and found["response"]["opcode"] < 8:
            self.log["sent"].append(found["response"]["payloadData"])
        elif what == "Runtime.consoleAPICalled" and found["args"][0].get("value") == "done":
            self.done = found["args"][1]["value"]


if __name__ == "__main__":
    from websockets.sync.client import connect

    with connect(sys.argv[1], max_size=None) as connection:
        devtools = DevTools(connection)
        devtools.visit(sys.argv[2])
        devtools.close()
        sys.stdout.write(json.dumps({**devtools.log, "page": devtools.done}))
