"""Which stored answer is one to this request?"""

from __future__ import annotations

from random import Random

from proxyd.config.cache import DROP, KEEP, SORT
from proxyd.errors import Malformed
from proxyd.policy.cachekey import chosen_by, guarded, normal_query, of_pool, read_prefix, read_url, url, way
from proxyd.wire.httpfields import Field, parse_field
from tests.support.case import Case


def fields(*lines: bytes) -> list[Field]:
    return [parse_field(line) for line in lines]


class Keys(Case):
    def test_urls(self) -> None:
        """RFC 9110, 4.2.3: the host in lower case, and no port that is the scheme's own."""
        for secure, host, target, found in (
            (False, b"A.example", b"/x?Y", b"http://a.example/x?Y"),
            (False, b"a.example:80", b"/", b"http://a.example/"),
            (False, b"a.example:443", b"/", b"http://a.example:443/"),
            (True, b"a.example:443", b"/", b"https://a.example/"),
            (True, b"[::1]:8443", b"/", b"https://[::1]:8443/"),
        ):
            self.assertEqual(url(secure, host, target), found)

    def test_queries(self) -> None:
        """A query is kept, put in order or left out, and so are parameters that mean nothing."""
        for query, how, ignored, found in (
            (b"b=2&a=1", KEEP, (), b"b=2&a=1"),
            (b"b=2&a=1", SORT, (), b"a=1&b=2"),
            (b"b=2&a=1", DROP, (), None),
            (b"", KEEP, (), b""),
            (b"utm_source=x&b=2&fbclid=y", KEEP, ("utm_*", "fbclid"), b"b=2"),
            (b"utm_source=x", KEEP, ("utm_*",), None),
            (b"utm=1&xutm_=2", KEEP, ("utm_*",), b"utm=1&xutm_=2"),
            (None, SORT, ("b",), None),
        ):
            self.assertEqual(normal_query(query, how, ignored), found)

    def test_order_is_all_that_sorting_changes(self) -> None:
        """Two queries with the same parameters are one, and others are not."""
        random = Random(1)
        for _ in range(500):
            pairs = [b"%c=%d" % (random.choice(b"abc"), random.randrange(3)) for _ in range(4)]
            other = random.sample(pairs, len(pairs))
            one = normal_query(b"&".join(pairs), SORT)
            self.assertEqual(one, normal_query(b"&".join(other), SORT))
            self.assertEqual(sorted((one or b"").split(b"&")), sorted(pairs))

    def test_vary(self) -> None:
        """RFC 9111, 4.1: blanks, lines, and where they mean nothing the order and the case."""
        same = [
            (b"accept-encoding", [b"Accept-Encoding: gzip, br"], [b"Accept-Encoding: BR,gzip"]),
            (b"accept-encoding", [b"Accept-Encoding: gzip; q=0.5"], [b"Accept-Encoding: gzip;q=0.5"]),
            (b"x", [b"X: a, b"], [b"X: a", b"X: b"]),
            (b"x", [b"X: a,b"], [b"X: a , b"]),
            (b"x", [b"Y: a"], []),
        ]
        other = [
            (b"accept-encoding", [b"Accept-Encoding: gzip"], [b"Accept-Encoding: br"]),
            (b"accept-encoding", [b"Accept-Encoding:"], []),
            (b"x", [b"X: a, b"], [b"X: b, a"]),
            (b"x", [b"X: a"], [b"X: A"]),
            (b"x", [b"X:"], []),
            (b"x", [b"X: -"], []),
        ]
        for name, one, another in same:
            self.assertEqual(chosen_by([name], fields(*one)), chosen_by([name], fields(*another)), one)
        for name, one, another in other:
            self.assertNotEqual(chosen_by([name], fields(*one)), chosen_by([name], fields(*another)), one)


class Poison(Case):
    """Nothing that a client says makes an answer for others, unless it is a part of what that is known by."""

    def test_what_does_not_reach_a_server(self) -> None:
        """Fields by which frameworks are led astray are taken away, and no others."""
        head = b"GET / HTTP/1.1\r\nHost: a\r\n%sAccept: */*\r\n\r\n"
        for line in (
            b"X-Original-URL: /admin\r\n",
            b"x-rewrite-url: /admin\r\n",
            b"X-HTTP-Method-Override: DELETE\r\n",
            b"X-Host: evil\r\n",
            b"X_Host: evil\r\n",
            b"X-Forwarded-Scheme: nothttps\r\nX-Forwarded-Ssl: off\r\n",
        ):
            self.assertEqual(guarded(head % line), head % b"", line)
        self.assertEqual(guarded(head % b"X-Hosting: a\r\n"), head % b"X-Hosting: a\r\n")
        own = head % b"X-Forwarded-Ssl: on\r\n"
        self.assertEqual(guarded(own, frozenset({b"x-forwarded-ssl"})), own)

    def test_what_a_trusted_proxy_says(self) -> None:
        """It is a part of the key, but for the client's address; what others say is not sent on at all."""
        plain = way("r", fields(b"Accept: */*"), True)
        for line in (b"X-Forwarded-Host: evil", b"X-Forwarded-Proto: https", b"Forwarded: for=1;host=evil"):
            self.assertNotEqual(way("r", fields(line), True), plain, line)
            self.assertEqual(way("r", fields(line), False), plain, line)
        for line in (b"X-Forwarded-For: 192.0.2.1", b"X-Real-IP: 192.0.2.1", b"Forwarded: for=192.0.2.1"):
            self.assertEqual(way("r", fields(line), True), plain, line)
        self.assertNotEqual(way("r", [], False), way("s", [], False))
        self.assertNotEqual(way("r", [], False), way(of_pool("r"), [], False))


class Written(Case):
    def test_urls(self) -> None:
        """What people write is what is stored, in whatever way they write it."""
        for text, found in (
            (b"HTTP://A.example:80", b"http://a.example/"),
            (b"https://a.example/x/../%7ey?q", b"https://a.example/~y?q"),
        ):
            self.assertEqual(read_url(text), found)
        for text in (b"a.example/x", b"ftp://a/", b"http://a/%zz"):
            self.assertRaises(Malformed, read_url, text)

    def test_prefixes(self) -> None:
        """How they begin, too, as far as it is said; what no URL begins with is told."""
        for text, found in (
            (b"HTTP://A.example:80/Im", b"http://a.example/Im"),
            (b"https://A.ex", b"https://a.ex"),
            (b"https://", b"https://"),
            (b"http", b"http"),
            (b"", b""),
        ):
            self.assertEqual(read_prefix(text), found)
        for text in (b"a.example/x", b"ftp://a/", b"/x"):
            self.assertRaises(Malformed, read_prefix, text)
