"""How is an answer given that is stored, or that is being fetched?"""

from __future__ import annotations

from tests.frontends.http.caches import ETAG, FRESH, CachingCase, answer, get
from tests.frontends.http.front import GET


class Given(CachingCase):
    """What is stored, to all that ask for it."""

    def test_pipelined(self) -> None:
        """Hundreds of requests at once are answered in order, and none is lost."""
        self.store()
        client = self.fill()
        self.ask(GET * 900, client)
        for _ in range(2100):
            self.clock.advance(0)
            self.network.flush()
        self.assertEqual(self.heard(client).count(b"hello"), 900)
        self.over()

    def test_head(self) -> None:
        """A HEAD gets the head of what is stored; of what is not it asks the server."""
        self.store()
        client = self.ask(get(method=b"HEAD"))
        self.assertIn(b"HEAD /x", self.heard(self.server))
        self.say(self.server, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + FRESH + b"\r\n")
        self.heard(client)
        self.fill()
        status, fields, body = self.told(self.ask(get(method=b"HEAD"), client))
        self.assertEqual((status, fields[b"content-length"], body), (200, b"5", b""))
        self.assertEqual(self.words(), ["miss", "miss", "hit"])
        self.over()

    def test_conditions(self) -> None:
        """Who has it already gets 304, who wants a part 206, and who wants what there is not 416 or 412."""
        self.store()
        self.fill(FRESH, ETAG, b"Content-Type: a/b\r\n")
        for line, status, body in (
            (b'If-None-Match: "a"', 304, b""),
            (b'If-None-Match: "b"', 200, b"hello"),
            (b"Range: bytes=1-2", 206, b"el"),
            (b"Range: bytes=9-", 416, None),
            (b'If-Match: "b"', 412, None),
        ):
            found = self.told(self.ask(get(line)))
            self.assertEqual(found[0], status, line)
            if body is not None:
                self.assertEqual(found[2], body, line)
        fields = self.told(self.ask(get(b"Range: bytes=1-2")))[1]
        self.assertEqual((fields[b"content-range"], fields[b"content-length"]), (b"bytes 1-2/5", b"2"))
        fields = self.told(self.ask(get(b'If-None-Match: "a"')))[1]
        self.assertEqual(
            (fields[b"etag"], b"content-length" in fields, b"content-type" in fields), (b'"a"', False, False)
        )
        self.assertEqual(self.told(self.ask(get(b"Range: bytes=1-2", method=b"HEAD")))[0], 200)
        self.assertEqual(self.heard(self.server), b"")
        self.over()

    def test_http10(self) -> None:
        """A client of HTTP/1.0 gets the same, and the connection ends with it."""
        self.store()
        self.fill()
        client = self.ask(b"GET /x HTTP/1.0\r\nHost: example.com\r\n\r\n")
        status, fields, body = self.told(client)
        self.assertEqual((status, fields[b"connection"], body), (200, b"close", b"hello"))
        self.over()

    def test_long(self) -> None:
        """A long body reaches who takes it slowly whole, and others are answered meanwhile."""
        body = bytes(range(256)) * 2500
        self.store()
        client = self.ask()
        self.say(self.server, answer(body, FRESH))
        self.assertEqual(self.told(client)[2], body)
        slow = self.client()
        slow.stop_reading()
        self.say(slow, GET)
        self.assertEqual(self.told(self.ask())[2], body)
        slow.read_again()
        self.network.flush()
        self.assertEqual(self.told(slow)[2], body)
        self.over()

    def test_quiet(self) -> None:
        """With ``status_header = no`` clients are not told where their answers come from."""
        self.store(status_header=False)
        self.fill()
        self.assertNotIn(b"cache-status", self.told(self.ask())[1])
        self.over()

    def test_slow_ones_and_what_has_gone(self) -> None:
        """What has gone while it is sent to slow clients counts until they have it."""
        body = b"x" * 300_000
        self.store(size=1_000_000)
        slow = []
        for number in range(10):
            target = b"/%d" % number
            self.fill(request=get(target=target), body=body)
            if len(self.cache.store):
                client = self.client()
                client.stop_reading()
                self.say(client, get(target=target))
                slow.append(client)
                self.cache.purge_url(b"http://example.com" + target)
        self.assertEqual((len(slow), len(self.cache.store)), (3, 0))
        for client in slow:
            client.read_again()
        self.network.flush()
        for client in slow:
            self.assertTrue(client.received.endswith(body))
        self.fill(request=get(target=b"/again"), body=body)
        self.assertEqual(len(self.cache.store), 1)
        self.over()
