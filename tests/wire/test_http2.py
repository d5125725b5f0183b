"""Is a head of HTTP/2 put into the words of HTTP/1.1, and refused where RFC 9113 says so?"""

from __future__ import annotations

from proxyd.wire.http1 import CHUNKED, Memory, parse_request
from proxyd.wire.http2 import FIRST_LINE, KNOWN, LONGEST_KNOWN, TUNNEL, Header, request_head, trailer_fields
from proxyd.wire.http2frames import PREFACE
from proxyd.wire.httpfields import Lines, Unacceptable
from tests.support import smuggling2
from tests.support.case import Case

GET: list[Header] = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"example.com"),
    (b":path", b"/x?y"),
]


CONNECT: list[Header] = [(b":method", b"CONNECT"), *GET[1:], (b":protocol", b"websocket")]


def without(name: bytes, *more: Header) -> list[Header]:
    """The request without one of its fields, and with others."""
    return [header for header in GET if header[0] != name] + list(more)


class Heads(Case):
    """What `request_head` makes of the fields."""

    def test_preface(self) -> None:
        """The first line of the preface is no request of HTTP/1.1, so nobody who speaks that can begin so."""
        with self.assertRaises(Unacceptable):
            parse_request(PREFACE[:FIRST_LINE], Memory(Lines()))

    def test_rebuilt(self) -> None:
        """It is a request of HTTP/1.1, for the same host and target."""
        found = request_head([*GET, (b"accept", b"*/*"), (b"te", b"trailers")], True)
        self.assertEqual((found.method, found.length), (b"GET", 0))
        self.assertEqual(
            found.head,
            b"GET /x?y HTTP/1.1\r\nHost: example.com\r\naccept: */*\r\nte: trailers\r\n\r\n",
        )
        request = parse_request(found.head, Memory(Lines()))
        assert request is not None
        self.assertEqual((request.said.length, request.said.persistent), (0, True))
        self.assertTrue(request.said.trailers)

    def test_crumbs(self) -> None:
        """Cookies that come one by one are one field for servers (RFC 9113, 8.2.3)."""
        crumbs = [(b"cookie", b"a=b"), (b"accept", b"*/*"), (b"cookie", b"c=d; e=f"), (b"cookie", b"g")]
        found = request_head([*GET, *crumbs], True)
        self.assertIn(b"\r\naccept: */*\r\ncookie: a=b; c=d; e=f; g\r\n\r\n", found.head)

    def test_tunnel(self) -> None:
        """A WebSocket is asked for as by HTTP/1.1, with a key that is ours alone."""
        found = request_head([*CONNECT, (b"sec-websocket-key", b"theirs")], False, None, lambda: b"ours")
        self.assertEqual((found.method, found.length), (b"GET", TUNNEL))
        request = parse_request(found.head, Memory(Lines()))
        assert request is not None
        self.assertEqual((request.said.upgrade, request.said.length), (b"websocket", 0))
        self.assertEqual([field[:2] for field in request.said.fields], [(b"sec-websocket-key", b"ours")])

    def test_bodies(self) -> None:
        """A body is as long as it was said to be, or comes in chunks."""
        for more, length in (([(b"content-length", b"3")], 3), ([], CHUNKED)):
            request = parse_request(request_head([*GET, *more], False).head, Memory(Lines()))
            assert request is not None
            self.assertEqual(request.said.length, length)

    def test_host(self) -> None:
        """Host stands for an :authority that is missing, and must be the same as one that is there."""
        found = request_head(without(b":authority", (b"host", b"a.example")), True)
        self.assertIn(b"\r\nHost: a.example\r\n", found.head)
        found = request_head([*GET, (b"host", b"Example.com")], True)
        self.assertEqual(found.head.lower().count(b"host:"), 1)

    def test_refused(self) -> None:
        """What RFC 9113 calls malformed is refused, and what could become a second request before all."""
        for headers, section in (
            (without(b":method"), "9113 8.3.1"),
            (without(b":scheme"), "9113 8.3.1"),
            (without(b":path"), "9113 8.3.1"),
            (without(b":authority"), "9113 8.3.1"),
            (without(b":path", (b":path", b"")), "9113 8.3.1"),
            (without(b":path", (b":path", b"x")), "9113 8.3.1"),
            (without(b":path", (b":path", b"/ HTTP/1.1")), "9113 8.3.1"),
            (without(b":method", (b":method", b"GET /y HTTP/1.1")), "9113 8.3.1"),
            (without(b":method", (b":method", b"CONNECT")), "9110 9.1"),
            (without(b":scheme", (b":scheme", b"ftp")), "9113 8.3.1"),
            (without(b":path", (b":path", b"/\r\nX: y")), "9113 8.2.1"),
            ([*GET, (b":path", b"/")], "9113 8.3"),
            ([*GET, (b":status", b"200")], "9113 8.3"),
            ([*GET, (b":protocol", b"websocket")], "8441 4"),
            ([*CONNECT, (b"content-length", b"0")], "8441 4"),
            ([*CONNECT], "8441 4"),  # and no more to come
            ([*CONNECT[:4], (b":protocol", b"connect-udp")], "8441 4"),
            ([*CONNECT[:3], CONNECT[4]], "9113 8.3.1"),
            ([*GET[:3], (b"x", b"y"), GET[3]], "9113 8.3"),
            ([*GET, (b"X", b"y")], "9113 8.2.1"),
            ([*GET, (b"", b"y")], "9113 8.2.1"),
            ([*GET, (b"x y", b"y")], "9113 8.2.1"),
            ([*GET, (b"x:", b"y")], "9113 8.2.1"),
            ([*GET, (b"x\r\ny", b"y")], "9113 8.2.1"),
            ([*GET, (b"x", b"y\r\nz: 1")], "9113 8.2.1"),
            ([*GET, (b"x", b"y\nz")], "9113 8.2.1"),
            ([*GET, (b"x", b"y\0z")], "9113 8.2.1"),
            ([*GET, (b"x", b" y")], "9113 8.2.1"),
            ([*GET, (b"x", b"y\t")], "9113 8.2.1"),
            ([*GET, (b"connection", b"close")], "9113 8.2.2"),
            ([*GET, (b"proxy-connection", b"close")], "9113 8.2.2"),
            ([*GET, (b"keep-alive", b"1")], "9113 8.2.2"),
            ([*GET, (b"upgrade", b"x")], "9113 8.2.2"),
            ([*GET, (b"transfer-encoding", b"chunked")], "9113 8.2.2"),
            ([*GET, (b"te", b"gzip")], "9113 8.2.2"),
            ([*GET, (b"host", b"other.example")], "9113 8.3.1"),
            ([*GET, (b"host", b"example.com"), (b"host", b"example.com")], "9112 3.2"),
            ([*GET, (b"content-length", b"3")], "9113 8.1.1"),
        ):
            with self.assertRaises(Unacceptable, msg=str(headers)) as caught:
                request_head(headers, True)
            self.assertEqual(caught.exception.section, section, headers)

    def test_known(self) -> None:
        """What was judged before is the same again, wherever it stands, and not all of it is remembered."""
        known: dict[Header, bytes] = {}
        headers = [
            *GET,
            (b"x", b"y"),
            (b"host", b"example.com"),
            (b"content-length", b"3"),
            (b"cookie", b"a"),
        ]
        first = request_head(headers, False, known)
        again = request_head(headers, False, known)
        self.assertEqual((again.head, again.length), (first.head, 3))
        self.assertEqual(known, {(b"x", b"y"): b"x: y\r\n"})
        with self.assertRaises(Unacceptable):
            request_head([(b"x", b"y"), *GET], True, known)
        for number in range(1000):
            request_head([*GET, (b"x", b"%d" % number), (b"z", b"z" * number)], True, known)
        self.assertLessEqual(len(known), KNOWN)
        self.assertLessEqual(max(map(len, known.values())), LONGEST_KNOWN)

    def test_smuggling(self) -> None:
        """No head of the corpus that is wrong becomes a request, and those that are right become one."""
        for one in smuggling2.corpus():
            if one.head_is_wrong:
                with self.assertRaises(Unacceptable, msg=str(one)):
                    parse_request(request_head(one.headers, one.body is None).head, Memory(Lines()))
        for one in smuggling2.lawful():
            head = request_head(one.headers, False)
            request = parse_request(head.head, Memory(Lines()))
            assert request is not None
            self.assertEqual((request.took, request.target), (len(head.head), b"/first"), one)
            length = sum(map(len, one.body or ()))
            self.assertIn(request.said.length, (length, CHUNKED), one)

    def test_trailers(self) -> None:
        """Trailers are fields, and never what would have to be known before."""
        found = trailer_fields([(b"x-sum", b"1")])
        self.assertEqual(found[0][2], b"x-sum: 1\r\n")
        for header in ((b":path", b"/"), (b"content-length", b"1"), (b"host", b"x"), (b"x", b"a\r\nb")):
            with self.assertRaises(Unacceptable, msg=str(header)):
                trailer_fields([header])
