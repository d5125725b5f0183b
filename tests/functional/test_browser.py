"""Does a page with assets, requests of its script and a WebSocket work in a real browser, and come fast?"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

from tests.functional.test_requests import HTTP, KEEP
from tests.functional.test_termination import ROOT, TerminationCase
from tests.support.browser import BODY, IMAGES, MESSAGES, site, visit
from tests.support.daemon import Daemon
from tests.support.services import gunicorn, nginx_http
from tests.support.stage import PYTHONPATH

NAME = "www.example"
TYPES = "text/html html; text/css css; text/javascript js; image/png png;"


class Browser(TerminationCase):
    """Chromium, and a daemon that leads it to nginx for files, to gunicorn, and to a server of WebSockets."""

    async def site(self, listener: str = "", cache: str = "") -> Daemon:
        """The daemon; what nginx is asked for is in ``asked``."""
        self.asked = self.stage.folder / "asked"
        web = await nginx_http(
            self.stage,
            f"root files; types {{ {TYPES} }} access_log {self.asked}; add_header Cache-Control max-age=600;",
        )
        app, sockets, front = await gunicorn(self.stage), self.stage.tcp(), self.stage.tcp()
        site(self.stage.subfolder("nginx/files"))
        echo = self.stage.spawn(
            sys.executable, "-m", "tests.support.webclients", "echo", sockets.host, str(sockets.port),
            environment={"PYTHONPATH": PYTHONPATH},
        )  # fmt: skip
        await echo.says(rb"ready")
        pools = {"files": web.place, "app": app.place, "sockets": sockets}
        return await self.start(
            f"[listener front]\nbind = {front.bind}\n{HTTP}\npool = files\n{listener}\n"
            + "[route app]\nlistener = front\npath = /echo\npool = app\n"
            + "[route sockets]\nlistener = front\npath = /socket\npool = sockets\n"
            + "".join(f"[pool {name}]\nserver a = {place}\n{KEEP}\n" for name, place in pools.items())
            + cache,
            front,
        )

    def works(self, seen: Any, scheme: str, protocol: str) -> None:
        """All came, by this protocol, and was right."""
        base = f"{scheme}://{NAME}"
        names = ["/", "/style.css", "/color.css", "/script.js", "/echo"]
        names += [f"/image{number}.png" for number in range(IMAGES)]
        found = {one["url"]: one for one in seen["responses"]}
        self.assertEqual(set(found), {base + name for name in names})
        self.assertEqual({(one["status"], one["protocol"]) for one in found.values()}, {(200, protocol)})
        self.assertEqual(seen["failed"], [])
        self.assertEqual([seen["sent"], seen["received"]], [list(MESSAGES)] * 2)
        page = json.loads(seen["page"])
        self.assertEqual(page["digest"], hashlib.sha256(BODY.encode()).hexdigest())
        self.assertEqual(page["images"], [len("image0")] * IMAGES)
        self.assertEqual((page["color"], page["clean"]), ("rgb(1, 2, 3)", True))
        self.assertEqual(page["heard"], list(MESSAGES))

    async def test_page(self) -> None:
        """By HTTP/1.1 the page comes whole, its script is answered, and its WebSocket echoes."""
        daemon = await self.site()
        self.works(await visit(self.stage, f"http://{NAME}/", daemon.front), "http", "http/1.1")

    async def test_page_over_tls(self) -> None:
        """Over TLS the same comes by HTTP/2, all on one connection, and so does the WebSocket (RFC 8441)."""
        issued = ROOT.issue(NAME)
        self.put(issued, "www.pem")
        daemon = await self.site(f"tls = {self.certs}")
        seen = await visit(self.stage, f"https://{NAME}/", daemon.front, [issued])
        self.works(seen, "https", "h2")
        self.assertEqual(len({one["connectionId"] for one in seen["responses"]}), 1)
        records = await daemon.records(len(seen["responses"]) + 1)
        socket = next(record for record in records if record.get("target") == "/socket")
        self.assertEqual((socket["version"], socket["status"]), ("2.0", 101))

    async def test_cached_and_compressed(self) -> None:
        """What a second browser is sent is from the cache, and compressed; nginx hears of the first alone."""
        issued = ROOT.issue(NAME)
        self.put(issued, "www.pem")
        daemon = await self.site(
            f"tls = {self.certs}\ncache = pages\ncompression = br gzip min_size=1 max_cpu=100%",
            "[cache pages]\n",
        )
        self.works(await visit(self.stage, f"https://{NAME}/", daemon.front, [issued]), "https", "h2")
        seen = await visit(self.stage, f"https://{NAME}/", daemon.front, [issued])
        self.works(seen, "https", "h2")
        found = {urlsplit(one["url"]).path: one["headers"] for one in seen["responses"]}
        del found["/echo"]
        for name, headers in found.items():
            self.assertRegex(headers["cache-status"], "^proxyd; hit; ttl=", name)
            coding = None if name.endswith(".png") else "br"
            self.assertEqual(headers.get("content-encoding"), coding, name)
        asked = Counter(line.split()[6] for line in self.asked.read_text().splitlines())
        self.assertEqual(asked, Counter(list(found)))
