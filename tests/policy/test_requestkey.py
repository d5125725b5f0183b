"""Have requests that are alike the same key?"""

from __future__ import annotations

from proxyd.config.balance import BalanceSpec
from proxyd.policy.arrival import Arrival, client_key
from proxyd.policy.requestkey import request_key
from proxyd.wire.httpfields import parse_field
from tests.support.case import Case


class RequestKeyTests(Case):
    def key(self, word: str, host: bytes = b"", target: bytes = b"/", *lines: bytes) -> bytes:
        key_of = request_key(word)
        assert key_of is not None
        return key_of(host, target, [parse_field(line) for line in lines])

    def test_clients(self) -> None:
        """What is no part of requests needs none."""
        for word in ("source", "source+port", "sni"):
            self.assertIsNone(request_key(word))

    def test_host(self) -> None:
        """A host is the same however it is written."""
        self.assertEqual(self.key("host", b"Example.com:80"), b"example.com:80")

    def test_path(self) -> None:
        """A path is told apart from its query."""
        self.assertEqual(self.key("path", target=b"/a/b?c=/d?e"), b"/a/b")
        self.assertEqual(self.key("path", target=b"/a/b"), b"/a/b")

    def test_header(self) -> None:
        """Of several headers of the name the first counts, and none is no key."""
        lines = (b"X-Other: 0", b"X-Tenant: 7", b"x-tenant: 8")
        self.assertEqual(self.key("header:x-tenant", b"", b"/", *lines), b"7")
        self.assertEqual(self.key("header:x-tenant", b"", b"/", lines[0]), b"")

    def test_cookie(self) -> None:
        """So it is with cookies, whose names are told apart by their letters' case."""
        lines = (b"Cookie: user=1; User=2", b"Cookie: User=3")
        self.assertEqual(self.key("cookie:User", b"", b"/", *lines), b"2")
        self.assertEqual(self.key("cookie:USER", b"", b"/", *lines), b"")

    def test_of_an_arrival(self) -> None:
        """What a request has is the key of who comes with it."""
        key = client_key(BalanceSpec("hash", key="path"))
        self.assertEqual(key(Arrival("10.0.0.1", 7, asked=b"/a")), b"/a")
