"""Do real clients get what is stored, and is a real server left in peace?"""

from __future__ import annotations

import gzip
import os
import sys
from collections import Counter
from typing import Any, Callable

from twisted.internet.defer import ensureDeferred, gatherResults

from tests.functional.test_compression import WORDS
from tests.functional.test_requests import HTTP, KEEP, sha256
from tests.support.certificate import key_and_certificate
from tests.support.daemon import Daemon, DaemonCase, descriptors
from tests.support.services import nginx_http
from tests.support.stage import PYTHONPATH, Place, program

FRESH = "add_header Cache-Control max-age=600;"
TOLD_APART = f'{FRESH} add_header Surrogate-Key "all $arg_tag"; return 200 "$request_id";'

CACHE = "[cache pages]\nmax_object = 10M\nsize = 64M"

PRIOR = "--http2-prior-knowledge"


class Cached(DaemonCase):
    """A daemon with a cache, between curl or h2load and nginx."""

    async def curl(self, *arguments: Any) -> bytes:
        return await self.stage.check(program("curl", "curl"), "--silent", "--show-error", *arguments)

    async def serve(self, *servers: Place, listener: str = "", **how: Any) -> Daemon:
        listener = f"{HTTP}\ncache = pages\n{listener}"
        return await self.relay(*servers, **{"listener": listener, "pool": f"{KEEP}\n{CACHE}", **how})

    async def words(self, daemon: Daemon, count: int) -> Counter[str]:
        """What the requests had of the cache."""
        return Counter(record["cache"] for record in await daemon.records(count))

    async def test_hits(self) -> None:
        """Clients of HTTP/1.1 and HTTP/2 get the same again, whole or in part, and nginx hears of one."""
        server = await nginx_http(self.stage, TOLD_APART)
        daemon = await self.serve(server.place)
        url = f"http://{daemon.front}/x"
        first = await self.curl(url)
        self.assertEqual(len(first), 32)
        self.assertEqual(await self.curl(PRIOR, url), first)
        self.assertEqual(await self.curl("--http1.0", url), first)
        self.assertEqual(await self.curl("--range", "4-7", url), first[4:8])
        head = await self.curl("--head", PRIOR, url)
        self.assertIn(b"content-length: 32", head.lower())
        self.assertIn(b"cache-status: proxyd; hit; ttl=", head.lower())
        self.assertNotEqual(await self.curl(f"{url}?other"), first)
        self.assertEqual(await self.words(daemon, 6), {"hit": 4, "miss": 2})
        samples = await daemon.metrics()
        self.assertEqual(samples['proxyd_cache_requests_total{cache="pages",result="hit"}'], 4)
        self.assertEqual(samples['proxyd_cache_entries{cache="pages"}'], 2)

    async def test_a_thousand_at_once(self) -> None:
        """A thousand clients who want the same megabyte at once have nginx asked once, and all get it."""
        server = await nginx_http(self.stage, f"root files; {FRESH} limit_rate 1m;")
        files = server.folder / "files"
        files.mkdir()
        (files / "large").write_bytes(os.urandom(1 << 20))
        daemon = await self.serve(server.place)
        out = await self.stage.check(
            program("h2load", "nghttp2-client"), "--h1", "-n1000", "-c1000", f"http://{daemon.front}/large"
        )
        self.assertIn(b"1000 succeeded, 0 failed, 0 errored", out)
        words = await self.words(daemon, 1000)
        self.assertEqual(words["miss"], 1, words)
        self.assertEqual(words["coalesced"] + words["hit"], 999, words)

    async def comes_whole(self, *arguments: Any, scheme: str = "http", **how: Any) -> None:
        """What is long is the same, the first time and from the cache."""
        server = await nginx_http(self.stage, f"root files; {FRESH}")
        files = server.folder / "files"
        files.mkdir()
        (files / "large").write_bytes(os.urandom(5_000_000))
        daemon = await self.serve(server.place, **how)
        got = self.stage.folder / "got"
        for _ in range(2):
            await self.curl("--fail", *arguments, "--output", got, f"{scheme}://{daemon.front}/large")
            self.assertEqual(sha256(got), sha256(files / "large"))
        self.assertEqual(await self.words(daemon, 2), {"miss": 1, "hit": 1})

    async def test_long(self) -> None:
        """Over a plain connection."""
        await self.comes_whole()

    async def test_long_http2(self) -> None:
        """Over a stream of HTTP/2."""
        await self.comes_whole(PRIOR)

    async def test_long_stock(self) -> None:
        """On Twisted's transports."""
        await self.comes_whole(listener="datapath = stock")

    async def test_long_tls(self) -> None:
        """Where TLS ends, by HTTP/1.1."""
        (self.stage.folder / "web.pem").write_bytes(key_and_certificate("localhost"))
        tls = f"tls = {self.stage.folder}/web.pem"
        await self.comes_whole("--insecure", "--http1.1", scheme="https", listener=tls)

    async def test_compressed(self) -> None:
        """
        A page is compressed while it is fetched, once; nginx is asked once, and curl gets it in each way.

        It is the same over HTTP/1.1 and HTTP/2, from a cold cache and a warm one.
        """
        lines = f"root files; {FRESH} default_type text/plain; limit_rate 1m;"
        server = await nginx_http(self.stage, lines)
        files = server.folder / "files"
        files.mkdir()
        (files / "words").write_bytes(WORDS)
        daemon = await self.serve(server.place, listener="compression = gzip max_cpu=100%")
        url = f"http://{daemon.front}/words"

        async def ask(number: int, *arguments: str) -> int:
            into = self.stage.folder / f"got{number}"
            how = ("--fail", "--output", into, "--write-out", "%{size_download}", *arguments, url)
            size = await self.curl(*how)
            self.assertEqual(sha256(into), sha256(files / "words"))
            return int(size)

        many = [("--compressed",), ("--compressed", PRIOR), (), ("--compressed",)]
        sizes = await gatherResults([ensureDeferred(ask(number, *how)) for number, how in enumerate(many)])
        sizes += [await ask(9, "--compressed"), await ask(9)]
        for size, arguments in zip(sizes, [*many, ("--compressed",), ()]):
            self.assertEqual(size < len(WORDS) // 2, "--compressed" in arguments, sizes)
        records = await daemon.records(6)
        self.assertEqual(Counter(each["encoding"] for each in records), {"gzip": 4, "": 2})
        words = Counter(each["cache"] for each in records)
        self.assertEqual((words["miss"], words["hit"] >= 2), (1, True), words)
        samples = await daemon.metrics()
        labels = 'encoding="gzip",listener="front",route=""'
        self.assertEqual(samples[f"proxyd_compression_answers_total{{{labels}}}"], 1)
        head = await self.curl("--head", "--header", "Accept-Encoding: gzip", url)
        self.assertIn(b"content-encoding: gzip", head.lower())

    async def test_decoded(self) -> None:
        """What nginx has encoded is stored so, and decoded once for those who cannot take it."""
        lines = f"root files; {FRESH} default_type text/plain; add_header Content-Encoding gzip;"
        server = await nginx_http(self.stage, lines)
        files = server.folder / "files"
        files.mkdir()
        (files / "words").write_bytes(gzip.compress(WORDS))
        daemon = await self.serve(server.place, listener="compression = decompress")
        url = f"http://{daemon.front}/words"
        for how in ((), (PRIOR,), ("--http1.0",), ("--range", "5-9")):
            self.assertTrue(await self.curl("--fail", *how, url) == WORDS, how)
        self.assertTrue(await self.curl("--fail", "--compressed", url) == WORDS)
        coded = await self.curl("--fail", "--header", "Accept-Encoding: gzip", url)
        self.assertTrue(coded == (files / "words").read_bytes())
        records = await daemon.records(6)
        self.assertEqual([each["encoding"] for each in records], ["identity"] * 4 + [""] * 2)
        self.assertEqual(Counter(each["cache"] for each in records), {"miss": 1, "hit": 5})
        samples = await daemon.metrics()
        labels = 'encoding="identity",listener="front",route=""'
        self.assertEqual(samples[f"proxyd_compression_answers_total{{{labels}}}"], 1)

    async def test_purge(self) -> None:
        """proxyctl throws away what a URL, its beginning or a tag names, and says what is stored."""
        server = await nginx_http(self.stage, TOLD_APART)
        daemon = await self.serve(server.place, proxyd="admin = unix:admin.sock")
        url = f"http://{daemon.front}/a/b?tag=t"

        async def proxyctl(*arguments: Any) -> bytes:
            return await self.stage.check(
                sys.executable, "-m", "proxyd.cli", "cache", *arguments, "--socket",
                daemon.folder / "admin.sock", environment={"PYTHONPATH": PYTHONPATH},
            )  # fmt: skip

        for what in (["--url", url], ["--prefix", f"http://{daemon.front}/a"], ["--tag", "t"]):
            before = await self.curl(url)
            self.assertEqual(await self.curl(url), before)
            self.assertEqual(await proxyctl("purge", "pages", *what), b"answers purged: 1\n")
            self.assertNotEqual(await self.curl(url), before)
            await proxyctl("purge", "pages", "--tag", "all")
        self.assertIn(b"pages", await proxyctl("list"))

    async def test_stale_if_error(self) -> None:
        """When nginx is gone, what is stale is used."""
        stale = 'add_header Cache-Control "max-age=0, stale-if-error=600"; return 200 "$request_id";'
        server = await nginx_http(self.stage, stale)
        daemon = await self.serve(server.place)
        url = f"http://{daemon.front}/x"
        first, second = await self.curl(url), await self.curl(url)
        self.assertNotEqual(first, second)
        await server.child.stop()
        self.assertEqual(await self.curl(url), second)
        self.assertEqual(await self.words(daemon, 3), {"miss": 2, "stale": 1})

    async def test_large_from_disk(self) -> None:
        """
        What is large is given from its file after a restart, nginx being gone: whole and in part, to many.

        It is so over a plain connection, which the kernel sends it to, by HTTP/2, and where TLS ends.
        """
        server = await nginx_http(self.stage, f"root files; {FRESH}")
        files = server.folder / "files"
        files.mkdir()
        large = os.urandom(5_000_000)
        (files / "large").write_bytes(large)
        folder = self.stage.subfolder("pages")
        secure = self.stage.tcp()
        (self.stage.folder / "web.pem").write_bytes(key_and_certificate("localhost"))
        tls = f"[listener secure]\nbind = {secure.bind}\nprotocol = http\npool = servers\ncache = pages"
        pool = f"{KEEP}\n{CACHE}\npath = {folder}\n{tls}\ntls = {self.stage.folder}/web.pem"
        front = self.stage.tcp()
        daemon = await self.serve(server.place, front=front, pool=pool)
        urls = [f"http://{front}/large", f"https://{secure}/large"]
        for count, url in enumerate(urls, 1):
            for _ in range(100):  # until it is known what is there, nothing is written
                how = ("--insecure", "--output", os.devnull, "--header", "Cache-Control: no-cache")
                await self.curl(*how, url)
                if sum(path.stat().st_size > len(large) for path in folder.glob("??/*")) == count:
                    break
        await daemon.child.stop()
        await server.child.stop()
        daemon.folder.rename(self.stage.folder / "before")
        daemon = await self.serve(server.place, front=front, pool=pool)
        for _ in range(100):
            if await self.curl("--range", "7-11", "--insecure", urls[1]) == large[7:12]:
                break
        ways = [["--http1.1", urls[0]], [PRIOR, urls[0]]]
        ways += [[version, "--insecure", urls[1]] for version in ("--http1.1", "--http2")]

        async def ask(*arguments: str) -> bool:
            part = await self.curl("--fail", "--range", "1000000-3999999", *arguments)
            return await self.curl("--fail", *arguments) == large and part == large[1_000_000:4_000_000]

        for way in ways:
            self.assertTrue(await ask(*way), way)
        self.assertEqual(await gatherResults([ensureDeferred(ask(*way)) for way in ways * 2]), [True] * 8)
        held = [each for each in descriptors(daemon.child.pid) if f"{folder}/" in each]
        self.assertEqual(len(held), 2, held)

    async def test_restart(self) -> None:
        """What is on the disk is given after a kill and a restart, when nginx is gone."""
        server = await nginx_http(self.stage, TOLD_APART)
        folder, front = self.stage.subfolder("pages"), self.stage.tcp()
        pool = f"{KEEP}\n{CACHE}\npath = {folder}"
        daemon = await self.serve(server.place, front=front, pool=pool)

        async def asked_until(true: Callable[[bytes], bool], *arguments: str) -> bytes:
            """What comes, when it is so: what is on the disk is learnt behind the start."""
            for _ in range(100):
                found = await self.curl(*arguments, f"http://{front}/x")
                if true(found):
                    return found
            raise AssertionError(found)

        def is_written(found: bytes) -> bool:
            return any(path.is_file() and found in path.read_bytes() for path in folder.glob("??/*"))

        first = await asked_until(is_written, "--header", "Cache-Control: no-cache")
        await daemon.child.stop()
        await server.child.stop()
        daemon.folder.rename(self.stage.folder / "before")
        await self.serve(server.place, front=front, pool=pool)
        self.assertEqual(await asked_until(lambda found: len(found) == 32), first)
