"""What becomes of a request whose answer may be stored?"""

from __future__ import annotations

import ipaddress

from proxyd.config.http import HttpSpec
from proxyd.errors import Reason
from proxyd.policy.static import http_date
from tests.frontends.http.caches import ETAG, FRESH, CachingCase, answer, get


class Hits(CachingCase):
    """What is stored is given, and no server hears of it."""

    def test_miss_and_hit(self) -> None:
        """The first asks a server, and the next gets the same, with its age."""
        self.store()
        one = self.ask()
        self.say(self.server, answer(b"hello", FRESH, b"X: y\r\n"))
        status, fields, body = self.told(one)
        self.assertEqual((status, body, fields[b"x"]), (200, b"hello", b"y"))
        self.assertEqual(fields[b"cache-status"], b"proxyd; fwd=miss; stored")
        self.assertNotIn(b"age", fields)
        self.heard(self.server)
        self.pass_time(7)
        for client in (one, None):
            status, fields, body = self.told(self.ask(client=client))
            self.assertEqual((status, body, fields[b"x"], fields[b"age"]), (200, b"hello", b"y", b"7"))
            self.assertEqual(fields[b"cache-status"], b"proxyd; hit; ttl=53")
        self.assertEqual(self.heard(self.server), b"")
        self.assertEqual(self.words(), ["miss", "hit", "hit"])
        first, second, _ = self.notebook.requests
        self.assertEqual((first.server, first.bytes_out, first.reason), ("a", 5, Reason.ANSWERED))
        self.assertEqual((second.server, second.bytes_out, second.status), ("", 5, 200))
        self.assertEqual(self.cache.saved, 10)
        self.over()

    def test_told_what_became_of_it(self) -> None:
        """RFC 9211: whoever gets an answer is told whether it was stored, and where it has come from."""
        self.store()
        for made, asked, told in (
            (FRESH, get(), b"fwd=miss; stored"),
            (b"Cache-Control: no-store\r\n", get(b"Cache-Control: no-cache"), b"fwd=stale; fwd-status=200"),
            (FRESH, get(target=b"/n"), b"fwd=miss; stored"),
            (b"Cache-Control: private\r\n", get(target=b"/p"), b"fwd=miss"),
            (b"Cache-Control: private\r\n", get(target=b"/p"), b"fwd=miss"),  # which does not wait any more
            (FRESH, get(b"Range: bytes=0-1,3-4", target=b"/r"), b"fwd=miss"),
            (FRESH, get(b"Cache-Control: no-store", target=b"/n"), b"fwd=bypass"),
            (FRESH, get(method=b"POST", target=b"/n"), b"fwd=method"),
        ):
            client = self.ask(asked)
            self.say(self.server, answer(b"hello", made))
            self.assertEqual(self.told(client)[1][b"cache-status"], b"proxyd; " + told)
        self.over()

    def test_head_of_another(self) -> None:
        """RFC 9111, 4.3.5: what a HEAD tells to be another one by now is not given any more."""
        for said, kept in (
            (b'ETag: "a"\r\nContent-Length: 5\r\n', True),
            (b"", True),
            (b'ETag: "b"\r\nContent-Length: 5\r\n', False),
            (b"Content-Length: 6\r\n", False),
        ):
            self.store()
            self.fill(FRESH, ETAG)
            client = self.ask(get(b"Cache-Control: no-cache", method=b"HEAD"))
            self.say(self.server, b"HTTP/1.1 200 OK\r\n" + said + b"\r\n")
            self.assertEqual(self.told(client)[0], 200)
            self.assertEqual(len(self.cache.store), kept, said)
            self.over()

    def test_stale(self) -> None:
        """What is older than it may be is asked for anew."""
        self.store()
        self.fill()
        self.pass_time(61)
        client = self.ask()
        self.assertIn(b"GET /x", self.heard(self.server))
        self.say(self.server, answer(b"again", FRESH))
        self.assertEqual(self.told(client)[2], b"again")
        self.assertEqual(self.told(self.ask())[2], b"again")
        self.over()


class OtherClock(CachingCase):
    """The clock on the wall is set while something is stored."""

    def test_set(self) -> None:
        """That makes nothing older or younger than it is (RFC 9111, 4.2.3)."""
        for by in (-3600.0, 3600.0):
            self.store()
            self.fill(b"Expires: " + http_date(int(self.wall.now()) + 60) + b"\r\n")
            self.wall.set(by)
            self.pass_time(50)
            status, fields, _ = self.told(self.ask())
            self.assertEqual((status, fields[b"age"]), (200, b"50"))
            self.assertEqual(fields[b"cache-status"], b"proxyd; hit; ttl=10")
            self.assertEqual(self.notebook.requests[-1].started, self.wall.now())
            self.pass_time(11)
            self.ask()
            self.assertIn(b"GET /x", self.heard(self.server))
            self.say(self.server, answer())
            self.over()


class Wishes(CachingCase):
    """What clients say to caches."""

    def test_no_cache(self) -> None:
        """It has the server asked; unless the operator does not heed it."""
        for heeded in (True, False):
            self.store(request_directives=heeded)
            self.fill()
            client = self.ask(get(b"Cache-Control: no-cache"))
            self.assertEqual(b"GET" in self.heard(self.server), heeded)
            if heeded:
                self.say(self.server, answer(b"new", FRESH))
                self.assertEqual(self.told(client)[2], b"new")
            self.over()

    def test_no_store(self) -> None:
        """What comes of it is for this client alone."""
        self.store()
        client = self.ask(get(b"Cache-Control: no-store"))
        self.say(self.server, answer(b"hello", FRESH))
        self.assertEqual(self.told(client)[2], b"hello")
        self.assertEqual((len(self.cache.store), self.words()), (0, ["bypass"]))
        self.over()

    def test_only_if_cached(self) -> None:
        """RFC 9111, 5.2.1.7: 504 if it is not stored."""
        self.store()
        self.assertEqual(self.told(self.ask(get(b"Cache-Control: only-if-cached")))[0], 504)
        self.fill()
        self.assertEqual(self.told(self.ask(get(b"Cache-Control: only-if-cached")))[2], b"hello")
        self.over()

    def test_authorization(self) -> None:
        """What somebody gets is for nobody else, unless the server says so (RFC 9111, 3.5)."""
        self.store()
        mine = get(b"Authorization: Basic x")
        self.fill(request=mine)
        self.assertEqual(len(self.cache.store), 0)
        self.fill(
            b"Cache-Control: max-age=60, public\r\n", request=get(b"Authorization: Basic x", target=b"/y")
        )
        self.assertEqual(len(self.cache.store), 1)
        self.assertEqual(self.told(self.ask(get(target=b"/y")))[2], b"hello")
        self.over()


class Keys(CachingCase):
    """What makes an answer another one."""

    def test_vary(self) -> None:
        """An answer that goes by a field of requests is for those that say the same."""
        self.store()
        self.fill(FRESH, b"Vary: X\r\n", request=get(b"X: 1"), body=b"one")
        self.fill(FRESH, b"Vary: X\r\n", request=get(b"X: 2"), body=b"two")
        for value, body in ((b"1", b"one"), (b"2", b"two")):
            self.assertEqual(self.told(self.ask(get(b"X: " + value)))[2], body)
        self.assertEqual(self.words()[2:], ["hit", "hit"])
        self.over()

    def test_queries(self) -> None:
        """Parameters in another order, and those that mean nothing, make no other answer."""
        self.store(query="sort", ignore_parameters=("utm_*",))
        client = self.ask(get(target=b"/x?b=1&utm_source=z&a=2"))
        self.assertIn(b"GET /x?a=2&b=1 HTTP", self.heard(self.server))
        self.say(self.server, answer(b"hello", FRESH))
        self.heard(client)
        self.assertEqual(self.told(self.ask(get(target=b"/x?a=2&b=1&utm_medium=q")))[2], b"hello")
        self.over()

    def test_paths(self) -> None:
        """A path is the same in whatever way it is written, for the cache and for the server."""
        self.store()
        client = self.ask(get(target=b"/a/../%78"))
        self.assertIn(b"GET /x HTTP", self.heard(self.server))
        self.say(self.server, answer(b"hello", FRESH))
        self.heard(client)
        self.assertEqual(self.told(self.ask(get(target=b"//x")))[2], b"hello")
        self.assertEqual(self.told(self.ask(get(target=b"/%2fx")))[0], 400)
        self.over()

    def test_poison(self) -> None:
        """Nobody makes an answer for others by fields that are no part of what it is known by."""
        self.store()
        evil = [
            b"X-Forwarded-Host: evil",
            b"X-Host: evil",
            b"X-Original-URL: /admin",
            b"Forwarded: host=evil",
        ]
        self.ask(get(*evil))
        asked = self.heard(self.server).lower()
        for word in (b"evil", b"admin"):
            self.assertNotIn(word, asked)
        self.over()

    def test_trusted(self) -> None:
        """What a trusted proxy says of the host is a part of what the answer is known by."""
        network = ipaddress.ip_network("10.9.9.9/32")
        self.store(http=HttpSpec(trusted=(network,)))
        self.fill(request=get(b"X-Forwarded-Host: a"), body=b"a")
        self.fill(request=get(b"X-Forwarded-Host: b"), body=b"b")
        self.assertEqual(self.told(self.ask(get(b"X-Forwarded-Host: a")))[2], b"a")
        self.over()

    def test_servers_own_name(self) -> None:
        """What leads to the server leads to us, also when it is stored."""
        self.store()
        self.fill(FRESH, b"Location: http://10.0.0.1:1/y\r\n")
        self.assertEqual(self.told(self.ask())[1][b"location"], b"http://example.com/y")
        self.over()


class Changes(CachingCase):
    """What makes what is stored invalid."""

    def test_unsafe(self) -> None:
        """RFC 9111, 4.4: a POST that has done something, with what it names; not one that failed."""
        self.store()
        self.fill()
        self.fill(request=get(target=b"/y"))
        client = self.ask(get(method=b"POST"))
        self.say(self.server, answer(b"", status=b"500 No"))
        self.assertEqual(len(self.cache.store), 2)
        self.ask(get(method=b"POST"), client)
        self.say(self.server, answer(b"", b"Content-Location: /y\r\n"))
        self.assertEqual(len(self.cache.store), 0)
        self.assertEqual(self.words()[2:], ["bypass", "bypass"])
        self.over()

    def test_what_is_on_its_way(self) -> None:
        """An answer that was asked for before the change is not stored behind it."""
        self.store()
        early = self.ask()
        slow = self.server
        other = self.ask(get(method=b"POST"))
        self.say(self.server, answer(b""))
        self.heard(other)
        late = self.ask(client=other)  # who has changed it sees that
        self.say(self.server, answer(b"new", b"Cache-Control: no-store\r\n"))
        self.assertEqual(self.told(late)[2], b"new")
        self.say(slow, answer(b"old", FRESH))
        self.assertEqual(self.told(early)[2], b"old")
        self.assertEqual(len(self.cache.store), 0)
        self.over()

    def test_purge(self) -> None:
        """PURGE is for those whom the operator names; without them it is a method like others."""
        self.store(purge=(ipaddress.ip_network("10.9.9.9/32"),))
        self.fill()
        self.assertEqual(self.told(self.client(get(method=b"PURGE"), host="10.8.8.8"))[0], 403)
        self.assertEqual(self.told(self.ask(get(method=b"PURGE")))[0], 200)
        self.assertEqual(self.told(self.ask(get(method=b"PURGE")))[0], 404)
        self.assertEqual((len(self.cache.store), self.cache.purged), (0, 1))
        self.over()
        self.store()
        self.ask(get(method=b"PURGE"))
        self.assertIn(b"PURGE /x", self.heard(self.server))
        self.over()
