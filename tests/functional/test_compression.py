"""Do real clients get from a real server what it has, in whichever coding they take?"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.support.daemon import DaemonCase
from tests.support.services import nginx, nginx_http
from tests.support.stage import program

WORDS = "".join(
    json.dumps({"number": number, "square": number**2}) + "\n" for number in range(20_000)
).encode()

BINARY = "application/octet-stream"


class Compression(DaemonCase):
    """curl and nginx, and a daemon between them that compresses."""

    async def curl(self, *arguments: Any) -> bytes:
        return await self.stage.check(
            program("curl", "curl"), "--silent", "--show-error", "--fail", *arguments
        )

    async def test_each(self) -> None:
        """Each coding, by HTTP/1.1 and HTTP/2: what arrives is what was there, and less was sent."""
        server = await nginx(self.stage)
        (server.folder / "files" / "words.txt").write_bytes(WORDS)
        daemon = await self.relay(
            server.place,
            listener=f"protocol = http\ncompression = zstd br gzip max_cpu=100% types=text/*,{BINARY}",
            pool="idle_connection_timeout = 1s",
        )
        url, count = f"http://{daemon.front}/words.txt", 0
        for coding in ("gzip", "br", "zstd"):
            for version in ("--http1.1", "--http2-prior-knowledge"):
                got = self.stage.folder / "got"
                asked = (version, "--output", got, "--write-out", "%{size_download}", url)
                out = await self.curl("--compressed", "--header", f"Accept-Encoding: {coding}", *asked)
                self.assertEqual(hashlib.sha256(got.read_bytes()).digest(), hashlib.sha256(WORDS).digest())
                self.assertLess(int(out), len(WORDS) // 3, (coding, version))
                count += 1
        records = await daemon.records(count)
        self.assertEqual(
            [record["encoding"] for record in records], ["gzip", "gzip", "br", "br", "zstd", "zstd"]
        )
        metrics = await daemon.metrics()
        for coding in ("gzip", "br", "zstd"):
            labels = f'encoding="{coding}",listener="front",route=""'
            self.assertEqual(metrics[f"proxyd_compression_answers_total{{{labels}}}"], 2)
            self.assertEqual(
                metrics[f'proxyd_compression_bytes_total{{direction="in",{labels}}}'], 2 * len(WORDS)
            )

    async def test_revalidated(self) -> None:
        """A page that is compressed on the way, and has not changed, is not sent again."""
        server = await nginx(self.stage)
        (server.folder / "files" / "words.txt").write_bytes(WORDS)
        daemon = await self.relay(
            server.place,
            listener=f"protocol = http\ncompression = gzip max_cpu=100% types=text/*,{BINARY}",
            pool="idle_connection_timeout = 1s",
        )
        url, tag, got = (
            f"http://{daemon.front}/words.txt",
            self.stage.folder / "tag",
            self.stage.folder / "got",
        )
        how = ("--compressed", "--output", got, "--write-out", "%{http_code}")
        self.assertEqual(await self.curl(*how, "--etag-save", tag, url), b"200")
        self.assertTrue(tag.read_text().startswith("W/"), tag.read_text())
        self.assertEqual(await self.curl(*how, "--etag-compare", tag, url), b"304")

    async def test_decoded(self) -> None:
        """What nginx has encoded is decoded for who cannot take it, and passed on to who can."""
        lines = "root files; gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;"
        server = await nginx_http(self.stage, lines)
        (server.folder / "files").mkdir()
        (server.folder / "files" / "words.txt").write_bytes(WORDS)
        route = "[route all]\nlistener = front\npool = servers\nrequest_header = set Accept-Encoding gzip"
        daemon = await self.relay(
            server.place,
            listener="protocol = http\ncompression = decompress",
            pool=f"idle_connection_timeout = 1s\n{route}",
        )
        url = f"http://{daemon.front}/words.txt"
        self.assertEqual(await self.curl(url), WORDS)
        coded = await self.curl("--header", "Accept-Encoding: gzip", url)
        self.assertEqual(coded[:2], b"\x1f\x8b")
        self.assertEqual([each["encoding"] for each in await daemon.records(2)], ["identity", ""])
