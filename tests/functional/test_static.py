"""Does a site need no server, for real clients?"""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from tests.support.certificate import key_and_certificate
from tests.support.daemon import DaemonCase
from tests.support.services import nginx_http
from tests.support.stage import program

LARGE = 30 * 1024 * 1024

GZIP = "gzip on; gzip_vary on; gzip_min_length 1024; gzip_types text/plain; gzip_static on;"

CODE = ("--output", "/dev/null", "--write-out", "%{http_code}")


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
        code = (*CODE, "--path-as-is")
        rows = (("/link", b"404"), ("/../secret", b"400"), ("/%2e%2e/secret", b"400"), ("/none", b"404"))
        for path, status in rows:
            self.assertEqual(await self.curl(*code, url + path), status, path)

    async def test_compressed(self) -> None:
        """Files are compressed for who takes that, as by nginx with gzip and gzip_static."""
        www, front = self.stage.subfolder("www"), self.stage.tcp()
        words = "".join(f"word {number} of very many\n" for number in range(40_000)).encode()
        (www / "words.txt").write_bytes(words)
        (www / "page.html").write_bytes(words[:5000])
        (www / "short.html").write_bytes(b"short")
        (www / "ready.txt").write_bytes(words[:9000])
        (www / "ready.txt.gz").write_bytes(gzip.compress(words[:9000]))
        peer = await nginx_http(self.stage, f"root {www}; {GZIP}")
        await self.start(
            f"[listener front]\nbind = {front.bind}\nprotocol = http\nroot = {www} precompressed=gzip\n"
            "compression = gzip max_cpu=100%\n",
            front,
        )

        async def told(place: Any, target: str, *options: str) -> tuple[Any, ...]:
            """The status, the coding, Vary, whether the tag is weak, and the body."""
            head, body = self.stage.folder / "head", self.stage.folder / "body"
            body.write_bytes(b"")
            await self.curl("--dump-header", head, "--output", body, *options, f"http://{place}/{target}")
            first, *others = head.read_text().lower().splitlines()
            fields = dict(line.split(": ", 1) for line in others if line)
            self.tag = fields["etag"]
            known = fields.get("content-encoding"), fields.get("vary"), self.tag[:2] == "w/"
            return first.split()[1], *known, body.read_bytes()

        for target, body in (
            ("words.txt", words),
            ("page.html", words[:5000]),
            ("short.html", b"short"),
            ("ready.txt", words[:9000]),
        ):
            for options in (["--compressed"], [], ["--compressed", "--head"]):
                for _ in range(2):
                    found = await told(front, target, *options)
                    same = await told(peer.place, target, *options)
                    self.assertEqual(found[:-1], same[:-1], (target, options))
                if "--head" not in options:
                    self.assertTrue(found[-1] == body == same[-1], (target, options))
            url = f"http://{front}/{target}"
            script = f"import requests, sys; sys.stdout.buffer.write(requests.get({url!r}).content)"
            self.assertTrue(await self.stage.check(sys.executable, "-c", script) == body, target)
            await told(front, target, "--compressed")
            known = "--header", "If-None-Match: " + self.tag.replace("w/", "W/")
            out = await self.curl(*CODE, "--compressed", *known, url)
            self.assertEqual(out, b"304", target)

    async def test_paced(self) -> None:
        """With a bandwidth a file comes whole, on each datapath and under TLS, compressed or not."""
        www = self.stage.subfolder("www")
        data = os.urandom(100_000).hex().encode()
        (www / "data.txt").write_bytes(data)
        pem = self.stage.folder / "site.pem"
        pem.write_bytes(key_and_certificate())
        fronts = [self.stage.tcp() for _ in range(4)]
        ways = ("", "datapath = stock", f"tls = {pem}", f"tls = {pem}\ndatapath = stock")
        sections = "".join(
            f"[listener front{number}]\nbind = {front.bind}\nprotocol = http\nroot = {www}\n"
            f"bandwidth = out=1M/s\ncompression = gzip max_cpu=100%\n{way}\n"
            for number, (front, way) in enumerate(zip(fronts, ways))
        )
        await self.start(sections, fronts[0])
        for front, way in zip(fronts, ways):
            url = f"http{'s' if 'tls' in way else ''}://{front}/data.txt"
            for options in ([], ["--compressed"]):
                self.assertTrue(await self.curl("--insecure", *options, url) == data, (way, options))

    async def test_folder_that_is_not_there(self) -> None:
        """A daemon whose folder is not there does not start, and says which."""
        front = self.stage.tcp()
        with self.assertRaises(AssertionError) as caught:
            await self.start(
                f"[listener front]\nbind = {front.bind}\nprotocol = http\nroot = nowhere\n", front
            )
        self.assertIn("nowhere: No such file or directory", str(caught.exception))
