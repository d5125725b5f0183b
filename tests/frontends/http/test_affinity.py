"""Does a browser come back to its server, and does nobody learn which that is?"""

from __future__ import annotations

import re
from typing import Any

from proxyd.config.address import TcpAddress
from proxyd.config.affinity import AffinitySpec, CookieSpec
from proxyd.frontends.http.affinity import Brought, giving
from proxyd.policy.affinity import Affinity, SealedAffinity
from proxyd.policy.server import Server
from proxyd.wire.http1 import Said
from proxyd.wire.httpfields import Field, parse_field
from tests.frontends.http.caches import FRESH, CachingCase, answer, get
from tests.frontends.http.front import OK, TOLD, HttpCase
from tests.frontends.http.test_routed import RoutedCase, edit, route
from tests.support.case import Case
from tests.support.streams import FakePeer

VIA = b"Via: 1.1 proxyd\r\n\r\n"
OURS = AffinitySpec("cookie", cookie=CookieSpec("SRV"))
THEIRS = AffinitySpec("learned_cookie", cookie=CookieSpec("SID"))
COOKIE = re.compile(rb"Set-Cookie: SRV=([A-Za-z0-9_-]{43}); Path=/; HttpOnly; SameSite=Lax\r\n").search


def said_with(*lines: bytes) -> Said:
    said = Said(1)
    said.fields = [parse_field(line) for line in lines]
    return said


class Fields(Case):
    """What is read, and what is told."""

    def edited(self, *lines: bytes, edit: Any = None) -> list[Field]:
        affinity = SealedAffinity(OURS, "web")
        affinity.secret(b"secret")
        server = Server("a", TcpAddress("10.0.0.1", 1))
        edited = giving(affinity, server, True, edit)
        assert edited is not None
        return edited([parse_field(line) for line in lines])

    def test_brought(self) -> None:
        """Our cookie is for us, and the server's is for it."""
        said = said_with(b"Accept: */*", b"Cookie: SRV=1; SID=2; SRV=3")
        ours = Brought(said, SealedAffinity(OURS, "web"))
        self.assertEqual(ours.cookie, b"1")
        self.assertEqual([field[2] for field in ours.fields], [b"Accept: */*\r\n", b"Cookie: SID=2\r\n"])
        theirs = Brought(said, Affinity(THEIRS, False))
        self.assertEqual((theirs.cookie, theirs.fields), (b"2", said.fields))

    def test_private(self) -> None:
        """No cache is to give one browser's cookie to others."""
        for control, added in [
            ([], True),
            ([b"Cache-Control: max-age=60, public"], True),
            ([b"Cache-Control: max-age=60", b"Cache-Control: Private"], False),
            ([b"Cache-Control: no-store, max-age=0"], False),
        ]:
            lines = [field[2] for field in self.edited(*control)]
            self.assertEqual(lines.count(b"Cache-Control: private\r\n"), added, control)
            self.assertEqual(sum(line.startswith(b"Set-Cookie: SRV=") for line in lines), 1)

    def test_behind_a_route(self) -> None:
        """What a route changes does not take our cookie away."""
        lines = [
            field[2] for field in self.edited(b"A: b", b"Set-Cookie: x=y", edit=lambda fields: fields[:1])
        ]
        self.assertEqual(len(lines), 3)
        self.assertEqual(lines[0], b"A: b\r\n")
        self.assertIn(b"; Secure; ", lines[1])

    def test_without_a_secret(self) -> None:
        """Nothing is changed as long as there is no secret."""
        self.assertIsNone(giving(SealedAffinity(OURS, "web"), Server("a", TcpAddress("h", 1)), False, None))


class CookieCase(HttpCase):
    def ask(self, client: FakePeer, *cookies: bytes, method: bytes = b"GET") -> None:
        lines = [method + b" /x HTTP/1.1", b"Host: example.com", *[b"Cookie: " + each for each in cookies]]
        self.say(client, b"\r\n".join([*lines, b"", b""]))

    def last(self) -> tuple[str, bytes]:
        """The server that was asked last, and what it has heard."""
        return self.pool_server(), self.heard(self.server)

    def pool_server(self) -> str:
        return {"10.0.0.1": "a", "10.0.0.2": "b", "10.0.0.3": "c"}[self.datapath.hosts[-1]]


class OurCookie(CookieCase):
    """``affinity = cookie``."""

    def listen_for(self, **more: Any) -> None:
        self.listen(1, 1, 1, pool={"affinity": OURS, "max_idle_connections": 0, **more})
        assert isinstance(self.pool.affinity, SealedAffinity)
        self.pool.affinity.secret(b"of this pool alone")

    def given(self, client: FakePeer) -> bytes:
        """The cookie in the answer that comes now."""
        self.say(self.server, OK)
        found = COOKIE(self.heard(client))
        return found.group(1) if found is not None else b""

    def test_comes_back(self) -> None:
        """Who brings the cookie has its server; the server does not see it, and it is not given again."""
        self.listen_for()
        client = self.client()
        self.ask(client)
        self.assertEqual(self.pool_server(), "a")
        cookie = self.given(client)
        self.ask(client, b"x=y; SRV=%s; z" % cookie)
        name, heard = self.last()
        self.assertEqual(
            (name, heard), ("a", b"GET /x HTTP/1.1\r\nHost: example.com\r\nCookie: x=y; z\r\n" + TOLD + VIA)
        )
        self.say(self.server, OK)
        self.assertNotIn(b"Set-Cookie", self.heard(client))
        other = self.client()
        self.ask(other)
        self.assertEqual(self.pool_server(), "b")
        self.assertNotEqual(self.given(other), cookie)
        for _ in range(2):
            self.ask(other, b"SRV=" + cookie)
            name, heard = self.last()
            self.assertEqual((name, b"Cookie" in heard), ("a", False))
            self.assertEqual(self.given(other), b"")
        chosen = [record.chosen for record in self.notebook.requests]
        self.assertEqual(chosen, ["balance", "affinity", "balance", "affinity", "affinity"])
        self.over()

    def test_whole_answer(self) -> None:
        """The head that the browser gets."""
        self.listen_for()
        client = self.client()
        self.ask(client)
        self.say(self.server, OK)
        heard = self.heard(client)
        head = b"HTTP/1.1 200 OK\r\nDate: then\r\nSet-Cookie: SRV="
        self.assertTrue(heard.startswith(head))
        rest = b"; Path=/; HttpOnly; SameSite=Lax\r\nCache-Control: private\r\nContent-Length: 5\r\n"
        self.assertEqual(heard[len(head) + 43 :], rest + VIA + b"hello")
        self.over()

    def test_upgrade(self) -> None:
        """Who begins with a WebSocket gets its cookie, too."""
        self.listen_for()
        upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
        client = self.client(b"GET /x HTTP/1.1\r\nHost: example.com\r\n" + upgrade + b"\r\n")
        self.say(self.server, b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade + b"\r\nwelcome")
        heard = self.heard(client)
        self.assertIsNotNone(COOKIE(heard))
        self.assertTrue(heard.endswith(b"\r\n\r\nwelcome"))
        client.finish()
        self.server.finish()
        self.over()

    def test_forged(self) -> None:
        """A cookie that we did not make leads nowhere, is kept from the server, and is replaced."""
        self.listen_for()
        client = self.client()
        for name, cookie in ("a", b"SRV=b"), ("b", b"SRV=" + b"A" * 43), ("c", b"SRV="):
            self.ask(client, cookie)
            asked, heard = self.last()
            self.assertEqual((asked, b"SRV" in heard), (name, False))
            self.assertNotEqual(self.given(client), b"")
        self.over()

    def test_kept_connections(self) -> None:
        """It holds on connections that are kept as well."""
        self.listen_for(max_idle_connections=4)
        client = self.client()
        self.ask(client)
        cookie = self.given(client)
        for _ in range(3):
            self.ask(client, b"SRV=" + cookie)
            self.assertEqual(self.given(client), b"")
        self.assertEqual(self.datapath.hosts, ["10.0.0.1"])
        self.over()

    def test_unreachable(self) -> None:
        """Whose server does not answer any more has another, and is told so."""
        self.listen_for()
        client = self.client()
        self.ask(client)
        cookie = self.given(client)
        self.ask(client, b"SRV=" + cookie)
        self.server.close()
        self.network.flush()
        self.assertEqual(self.pool_server(), "b")
        again = self.given(client)
        self.assertNotIn(again, (b"", cookie))
        self.ask(client, b"SRV=" + again)
        self.assertEqual(self.pool_server(), "b")
        self.assertEqual(self.given(client), b"")
        self.over()

    def test_drained(self) -> None:
        """A server that is drained keeps its own; one that is down does not."""
        self.listen_for()
        client = self.client()
        self.ask(client)
        cookie = self.given(client)
        self.pool.drain(self.pool.servers[0], "", 0.0)
        self.ask(client, b"SRV=" + cookie)
        self.assertEqual((self.pool_server(), self.given(client)), ("a", b""))
        self.pool.disable(self.pool.servers[0], "", 0.0)
        self.ask(client, b"SRV=" + cookie)
        self.assertNotEqual(self.pool_server(), "a")
        self.assertNotEqual(self.given(client), b"")
        self.over()

    def test_pages(self) -> None:
        """What we say ourselves brings no cookie, and tells of no server."""
        self.listen_for()
        for server in self.pool.servers:
            self.pool.disable(server, "", 0.0)
        client = self.client()
        self.ask(client)
        heard = self.heard(client)
        self.assertTrue(heard.startswith(b"HTTP/1.1 503 "))
        self.assertNotIn(b"Set-Cookie", heard)
        self.over()


class BehindACache(CachingCase):
    """Where answers are stored."""

    def test_stored(self) -> None:
        """What all get leads nobody anywhere, and what is for one alone brings the cookie."""
        self.store(1, 1, pool={"affinity": OURS})
        assert isinstance(self.pool.affinity, SealedAffinity)
        self.pool.affinity.secret(b"of this pool alone")
        client = self.ask()
        self.say(self.server, answer(b"hello", FRESH))
        self.assertNotIn(b"set-cookie", self.told(client)[1])
        client = self.ask(get(target=b"/own"), client)
        self.assertEqual(self.datapath.hosts[-1], "10.0.0.2")
        self.say(self.server, answer(b"hello", b"Cache-Control: no-store\r\n"))
        found = COOKIE(self.heard(client))
        assert found is not None
        for target in (b"/own", b"/more", b"/own"):
            self.ask(get(b"Cookie: SRV=" + found.group(1), target=target), client)
            self.assertNotIn(b"SRV", self.heard(self.server))
            self.say(self.server, answer(b"hello", b"Cache-Control: no-store\r\n"))
            self.assertNotIn(b"set-cookie", self.told(client)[1])
        self.assertEqual(self.datapath.hosts, ["10.0.0.1", "10.0.0.2"])
        self.over()

    def test_learned(self) -> None:
        """A session that begins in such an answer is learned."""
        self.store(1, 1, pool={"affinity": THEIRS})
        client = self.ask()
        self.say(self.server, answer(b"hello", b"Set-Cookie: SID=1\r\nCache-Control: no-store\r\n"))
        self.heard(client)
        self.assertEqual(len(self.pool.affinity.table) if self.pool.affinity else 0, 1)
        self.over()


class OnRoutes(RoutedCase):
    """Where each request takes its route."""

    def test_changed(self) -> None:
        """A route that changes fields leaves our cookie out as well, and so does the pool for the rest."""
        changed = edit("set", "X-A", "b")
        self.routes(route("r", "api", {"path": ("/v1",)}, request_header=(changed,)), affinity=OURS)
        client = self.client()
        for target, host, more in (b"/v1", "10.0.1.1", b"X-A: b\r\n"), (b"/", "10.0.0.1", b""):
            self.say(client, self.get(target, b"example.com", b"Cookie: SRV=%s; a=b" % (b"x" * 43)))
            head = b"GET %s HTTP/1.1\r\nHost: example.com\r\nCookie: a=b\r\n" % target
            self.assertEqual(
                (self.heard(self.server), self.datapath.hosts[-1]), (head + more + TOLD + VIA, host)
            )
            self.say(self.server, OK)
        self.over()


class TheirCookie(CookieCase):
    """``affinity = learned_cookie``."""

    def test_learned(self) -> None:
        """The server that has begun a session has its requests; the cookie stays as it is."""
        self.listen(1, 1, 1, pool={"affinity": THEIRS, "max_idle_connections": 0})
        client = self.client()
        self.ask(client)
        self.say(self.server, OK)
        self.ask(client)
        answer = OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: SID=1234; Path=/\r\n\r\n")
        self.say(self.server, answer)
        self.assertEqual((self.pool_server(), self.heard(client).count(b"Set-Cookie")), ("b", 1))
        for _ in range(3):
            self.ask(client, b"a=b; SID=1234")
            name, heard = self.last()
            self.assertEqual((name, b"Cookie: a=b; SID=1234\r\n" in heard), ("b", True))
            self.say(self.server, OK)
        self.ask(client, b"SID=5678")
        self.assertEqual(self.pool_server(), "c")
        self.say(self.server, OK)
        self.assertEqual((len(self.pool.affinity.table) if self.pool.affinity else 0), 1)
        self.over()
