"""Are people and programs shown the pages that the operator has for them?"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support.daemon import Daemon, DaemonCase, twistd
from tests.support.services import nginx_http
from tests.support.stage import program

HTML = "<!DOCTYPE html><style>p {{ color: red }} p {color: red}</style><p>{reason} ({id}) for {client}</p>"


class Pages(DaemonCase):
    """curl, and a server that is not there."""

    async def curl(self, daemon: Daemon, path: str, *arguments: Any) -> str:
        """The head and the body of what curl gets."""
        out = await self.stage.check(
            program("curl", "curl"), "--silent", "--show-error", "--include", *arguments,
            f"http://{daemon.front}{path}",
        )  # fmt: skip
        return out.decode()

    async def listen(self) -> Daemon:
        for name, text in ("503.html", HTML), ("503.json", '{"error": "{message}", "id": "{id}"}'):
            (self.stage.folder / name).write_text(text)
        folder = self.stage.folder
        server = await nginx_http(self.stage, 'location / { return 503 "its own"; }')
        front = self.stage.tcp()
        return await self.start(
            f"[listener web]\nbind = {front.bind}\nprotocol = http\npool = gone\n"
            f"error_page 5xx = file:{folder}/503.html file:{folder}/503.json\n"
            "[route up]\nlistener = web\npath = /up\npool = up\n"
            "[route api]\nlistener = web\npath = /api\npool = gone\nerror_page 502 = 'no api: {status}'\n"
            f"[pool gone]\nserver a = {self.stage.tcp()}\n"
            f"[pool up]\nidle_connection_timeout = 1s\nserver a = {server.place}\n",
            front,
        )

    async def test_shown(self) -> None:
        """HTML for people, JSON for programs, of the route or the listener; a server's own stays as it is."""
        daemon = await self.listen()
        out = await self.curl(daemon, "/")
        self.assertTrue(out.startswith("HTTP/1.1 502 Bad Gateway\r\n"), out)
        self.assertIn("\r\nContent-Type: text/html; charset=utf-8\r\n", out)
        self.assertIn("\r\nCache-Control: no-store\r\n", out)
        found = re.search(r"<p>Bad Gateway \(([0-9a-f]{16})\) for 127\.[0-9.]+</p>$", out)
        assert found is not None, out
        self.assertIn("p {{ color: red }} p {color: red}", out)
        out = await self.curl(daemon, "/", "--header", "Accept: application/json")
        self.assertIn("\r\nContent-Type: application/json\r\n", out)
        told = json.loads(out.partition("\r\n\r\n")[2])
        self.assertEqual(told["error"], "The server gave no valid answer.")
        out = await self.curl(daemon, "/", "--head")
        self.assertEqual(out.partition("\r\n\r\n")[2], "")
        self.assertRegex(out, r"\r\nContent-Length: [1-9][0-9]+\r\n")
        out = await self.curl(daemon, "/api")
        self.assertTrue(out.endswith("\r\n\r\nno api: 502\n"), out)
        out = await self.curl(daemon, "/api", "--header", "Accept: application/json")
        self.assertIn("\r\nContent-Type: application/json\r\n", out)
        out = await self.curl(daemon, "/up")
        self.assertTrue(out.startswith("HTTP/1.1 503 "), out)
        self.assertTrue(out.endswith("\r\n\r\nits own"), out)
        ids = [record["unique_id"] for record in await daemon.records(6)]
        self.assertEqual((ids[0], ids[1], ids[3], ids[5]), (found.group(1), told["id"], "", ""))

    async def test_missing(self) -> None:
        """Without the file the daemon does not start, and says which one it misses."""
        front, config = self.stage.tcp(), self.stage.folder / "proxy.ini"
        config.write_text(
            f"[listener web]\nbind = {front.bind}\nprotocol = http\npool = p\n"
            "error_page 503 = file:503.html\n"
            f"[pool p]\nserver a = {self.stage.tcp()}\n"
        )
        child = twistd(self.stage, "-n", "--pidfile=", "tcpproxy", "--config", config)
        self.assertEqual(await child.ends(), 1)
        self.assertIn(f"{self.stage.folder}/503.html: cannot be read: No such file", child.err.decode())
