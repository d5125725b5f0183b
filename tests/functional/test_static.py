"""Does a site need no server, for real clients?"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from tests.support.certificate import key_and_certificate
from tests.support.daemon import DaemonCase
from tests.support.stage import program

LARGE = 30 * 1024 * 1024


class Static(DaemonCase):
    """curl and a daemon with a folder."""

    def folder(self) -> Path:
        """A small site."""
        www = self.stage.subfolder("www")
        (www / "index.html").write_text("<h1>Welcome</h1>\n")
        (www / "sub").mkdir()
        (www / "sub" / "index.html").write_text("<h1>Below</h1>\n")
        (www / "large").write_bytes(os.urandom(LARGE))
        (self.stage.folder / "secret").write_text("secret")
        (www / "link").symlink_to("../secret")
        return www

    async def curl(self, *arguments: Any) -> bytes:
        return await self.stage.check(program("curl", "curl"), "--silent", "--show-error", *arguments)

    async def test_site(self) -> None:
        """Pages, a folder without its slash, a large file whole, in part and resumed; nothing beside it."""
        www, front = self.folder(), self.stage.tcp()
        secure, pem = self.stage.tcp(), self.stage.folder / "site.pem"
        pem.write_bytes(key_and_certificate())
        sections = (
            f"[listener front]\nbind = {front.bind}\nprotocol = http\nroot = {www}\n"
            f"[listener secure]\nbind = {secure.bind}\nprotocol = http\nroot = {www}\ntls = {pem}\n"
        )
        await self.start(sections, front)
        url = f"http://{front}"
        self.assertEqual(await self.curl(f"{url}/"), b"<h1>Welcome</h1>\n")
        self.assertEqual(await self.curl("--location", f"{url}/sub"), b"<h1>Below</h1>\n")
        expected = hashlib.sha256((www / "large").read_bytes()).digest()
        got = self.stage.folder / "got"
        for ways in (
            ("--http1.1", f"{url}/large"),
            ("--http2-prior-knowledge", f"{url}/large"),
            ("--insecure", "--http1.1", f"https://{secure}/large"),
            ("--insecure", "--http2", f"https://{secure}/large"),
        ):
            await self.curl("--output", got, *ways)
            self.assertEqual(hashlib.sha256(got.read_bytes()).digest(), expected, ways)
        os.truncate(got, LARGE // 3)
        await self.curl("--continue-at", "-", "--output", got, f"{url}/large")
        self.assertEqual(hashlib.sha256(got.read_bytes()).digest(), expected)
        self.assertEqual(len(await self.curl("--range", "10-19", f"{url}/large")), 10)
        code = ("--output", "/dev/null", "--write-out", "%{http_code}", "--path-as-is")
        rows = (("/link", b"404"), ("/../secret", b"400"), ("/%2e%2e/secret", b"400"), ("/none", b"404"))
        for path, status in rows:
            self.assertEqual(await self.curl(*code, url + path), status, path)

    async def test_folder_that_is_not_there(self) -> None:
        """A daemon whose folder is not there does not start, and says which."""
        front = self.stage.tcp()
        with self.assertRaises(AssertionError) as caught:
            await self.start(
                f"[listener front]\nbind = {front.bind}\nprotocol = http\nroot = nowhere\n", front
            )
        self.assertIn("nowhere: No such file or directory", str(caught.exception))
