"""Does what is longer than the memory of a cache get to its disk, and to real clients, by one fetch?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred, gatherResults

from tests.functional.test_cache import FRESH
from tests.functional.test_requests import HTTP, KEEP, sha256
from tests.support.daemon import Daemon, DaemonCase, status
from tests.support.services import nginx_http
from tests.support.stage import Finished, program

LENGTH = 24_000_000
CACHE = "[cache pages]\nsize = 2M\nmax_object = 64M\ndisk_size = 100M"


class Spilled(DaemonCase):
    """A daemon whose cache has a disk, and a memory that is a small part of what is stored."""

    async def begin(self, rate: str) -> Daemon:
        """Nginx has a large file, and a daemon is before it."""
        self.server = await nginx_http(
            self.stage, f"root files; {FRESH} limit_rate {rate}; access_log asked.log combined;"
        )
        files = self.server.folder / "files"
        files.mkdir()
        self.large = files / "large"
        self.large.write_bytes(os.urandom(LENGTH))
        (files / "small").write_bytes(b"small")
        self.folder, self.front = self.stage.subfolder("pages"), self.stage.tcp()
        daemon = await self.serve()
        for _ in range(200):  # until it is known what is on the disk nothing is written
            await self.curl("--header", "Cache-Control: no-cache", f"http://{self.front}/small")
            if self.whole(5):
                return daemon
        raise AssertionError("nothing is written")

    async def serve(self) -> Daemon:
        return await self.relay(
            self.server.place,
            front=self.front,
            listener=f"{HTTP}\ncache = pages",
            pool=f"{KEEP}\n{CACHE}\npath = {self.folder}",
        )

    async def curl(self, *arguments: Any) -> Finished:
        how = ("--silent", "--show-error", "--fail")
        return await self.stage.run(program("curl", "curl"), *how, *arguments, seconds=120.0)

    def whole(self, length: int) -> list[Path]:
        """The files that are not shorter than this, and have their names."""
        return [path for path in self.folder.glob("??/*") if path.stat().st_size > length]

    def written(self) -> list[int]:
        """The lengths of those that are being written."""
        return [path.stat().st_size for path in self.folder.glob("new/*")]

    def asked(self) -> int:
        """How often nginx was asked for it, as far as it was done with that."""
        return (self.server.folder / "asked.log").read_text().count("GET /large")

    async def get(self, number: int, *arguments: Any) -> str:
        """Have it, and say what it is."""
        got = self.stage.folder / f"got{number}"
        self.assertEqual(
            (await self.curl(*arguments, "--output", got, f"http://{self.front}/large")).status, 0
        )
        return sha256(got)

    async def test_many_at_once(self) -> None:
        """
        Many want it at once, one of them slowly: nginx is asked once, and the daemon holds little of it.

        After a restart it is there, whole and in part, nginx being gone.
        """
        daemon = await self.begin("12m")
        before = daemon.resident()
        how: list[list[str]] = [["--limit-rate", "6M"], *[[]] * 11]
        found = await gatherResults(
            [ensureDeferred(self.get(number, *each)) for number, each in enumerate(how)]
        )
        self.assertEqual(set(found), {sha256(self.large)})
        await self.stage.until(lambda: self.whole(LENGTH), "it is stored")
        await self.stage.until(self.asked, "nginx has told of it")
        self.assertEqual(self.asked(), 1)
        samples = await daemon.metrics()
        words = ("coalesced", "hit")
        told = [samples[f'proxyd_cache_requests_total{{cache="pages",result="{word}"}}'] for word in words]
        self.assertGreaterEqual(sum(told), 11)
        self.assertLess(1024 * status(daemon.child.pid, "VmHWM") - before, LENGTH // 2)
        await daemon.child.stop()
        await self.server.child.stop()
        daemon.folder.rename(self.stage.folder / "before")
        await self.serve()
        part = self.large.read_bytes()[1_000_000:9_000_000]
        for _ in range(200):  # what is on the disk is learnt behind the start
            got = await self.curl("--range", "1000000-8999999", f"http://{self.front}/large")
            if got.status == 0:
                break
        self.assertTrue(got.out == part, got.status)
        self.assertEqual(await self.get(0), sha256(self.large))

    async def test_killed(self) -> None:
        """A daemon that is killed while it writes leaves nothing of that, and fetches it again."""
        daemon = await self.begin("6m")
        url = f"http://{self.front}/large"
        client = self.stage.spawn(program("curl", "curl"), "--silent", "--output", os.devnull, url, feed=None)
        await self.stage.until(lambda: max(self.written(), default=0) > 2_000_000, "some is written")
        daemon.child.signal("KILL")
        await daemon.child.exits()
        await client.ends()
        self.assertEqual((len(self.written()), self.whole(LENGTH)), (1, []))
        daemon.folder.rename(self.stage.folder / "before")
        await self.serve()
        await self.stage.until(lambda: not self.written(), "what is not whole is thrown away")
        for _ in range(20):
            self.assertEqual(await self.get(0), sha256(self.large))
            if self.whole(LENGTH):
                break
        self.assertEqual(len(self.whole(LENGTH)), 1)
        self.assertEqual(await self.get(0), sha256(self.large))
