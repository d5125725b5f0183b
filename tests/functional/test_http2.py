"""Do clients of HTTP/2 get what those of HTTP/1.1 get?"""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import Any

from twisted.internet.threads import deferToThread

from tests.functional.test_requests import HTTP, KEEP, sha256
from tests.functional.test_termination import ROOT, TerminationCase
from tests.support import smuggling, smuggling2
from tests.support.daemon import Daemon, DaemonCase
from tests.support.markers import Client
from tests.support.markers2 import attack
from tests.support.origins import Echo, requests_in
from tests.support.services import nginx
from tests.support.stage import Place, program

LARGE = 20 * 1024 * 1024
PRIOR = "--http2-prior-knowledge"


class Http2Case(DaemonCase):
    """Clients of HTTP/2, and servers that are asked by HTTP/1.1."""

    async def curl(self, *arguments: Any) -> bytes:
        return await self.stage.check(program("curl", "curl"), "--silent", "--show-error", *arguments)

    async def relay(self, *servers: Place, **how: Any) -> Daemon:
        return await super().relay(*servers, **{"listener": HTTP, "pool": KEEP, **how})


class Http2(Http2Case):
    """curl and h2load, and nginx."""

    async def goes_both_ways(self, front: Place) -> None:
        """Send a large body through a daemon at ``front`` and fetch it again."""
        server = await nginx(self.stage)
        daemon = await self.relay(server.place, front=front)
        sent, got = self.stage.folder / "sent", self.stage.folder / "got"
        sent.write_bytes(os.urandom(LARGE))
        url = f"http://{front}/large"
        await self.curl(PRIOR, "--fail", "--upload-file", sent, url)
        self.assertEqual(sha256(server.folder / "files" / "large"), sha256(sent))
        await self.curl(PRIOR, "--fail", "--output", got, url)
        self.assertEqual(sha256(got), sha256(sent))
        self.assertIn(b"HTTP/2 200", await self.curl(PRIOR, "--head", url))
        up, down, head = await daemon.records(3)
        self.assertEqual([up["version"], up["status"], up["reason"]], ["2.0", 201, "answered"])
        self.assertGreater(up["bytes_in"], LARGE)
        self.assertGreater(down["bytes_out"], LARGE)
        self.assertEqual([head["method"], head["status"]], ["HEAD", 200])

    async def test_large_bodies(self) -> None:
        """20 MB arrive unchanged at the server, and come back unchanged."""
        await self.goes_both_ways(self.stage.tcp())

    async def test_ipv6(self) -> None:
        """The same over IPv6."""
        await self.goes_both_ways(self.stage.tcp6())

    async def test_many(self) -> None:
        """A thousand requests on ten connections, ten at a time on each, are all answered."""
        server = await nginx(self.stage)
        (server.folder / "files" / "small").write_bytes(b"small\n")
        daemon = await self.relay(server.place)
        out = await self.stage.check(
            program("h2load", "nghttp2-client"), "-n1000", "-c10", "-m10", f"http://{daemon.front}/small"
        )
        found = re.search(rb"(\d+) succeeded, (\d+) failed, (\d+) errored", out)
        assert found is not None, out
        self.assertEqual(found.groups(), (b"1000", b"0", b"0"))
        records = await daemon.records(1000)
        self.assertEqual({record["version"] for record in records}, {"2.0"})


class OverTls(TerminationCase):
    """The same where TLS ends."""

    async def test_alpn(self) -> None:
        """Over TLS it is agreed upon by ALPN, many requests share a connection, and HTTP/1.1 is there too."""
        self.put(ROOT.issue("a.example"), "a.pem")
        daemon = await self.serve(await self.web(), listener=HTTP, pool=KEEP)
        out = await self.curl(daemon.front, "a.example", "--http2", "--include")
        self.assertIn("HTTP/2 200", out)
        out = await self.curl(daemon.front, "a.example", "--http1.1", "--include")
        self.assertIn("HTTP/1.1 200", out)
        self.assertEqual([one["version"] for one in await daemon.records(2)], ["2.0", "1.1"])


class Smuggling(Http2Case):
    """No stream answers, or makes, another one's request."""

    async def test_permissive_server(self) -> None:
        """What one that takes anything gets is what was answered, each with one framing."""
        echo = Echo(self.stage)
        daemon = await self.relay(echo.place, listener=HTTP, pool=KEEP)
        cases = [(one, False) for one in smuggling2.corpus()] + [(one, True) for one in smuggling2.lawful()]

        def ask() -> Counter[bytes]:
            answered: Counter[bytes] = Counter()
            other = Client(daemon.front, "127.0.0.3")
            for number, (one, lawful) in enumerate(cases):
                answered.update(attack(daemon.front, other, one, number, "whole", lawful))
            for number, old in enumerate(smuggling.corpus(), len(cases)):
                one = smuggling2.translated(old)
                answered.update(attack(daemon.front, other, one, number, "whole", None))
            other.close()
            return answered

        answered = await deferToThread(ask)
        await daemon.leaves_nothing()
        seen = Counter(target for data in echo.heard for target, _ in requests_in(bytes(data)))
        self.assertEqual([target for target in seen if b"smuggled" in target], [])
        self.assertEqual([target for target in answered if seen[target] < answered[target]], [])
