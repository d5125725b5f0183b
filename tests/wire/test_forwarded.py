"""Is it the client that a trusted proxy was asked by, whatever that client has said itself?"""

from __future__ import annotations

from proxyd.wire.forwarded import MOST_HOPS, asked_by
from proxyd.wire.httpfields import parse_field
from tests.support.case import Case

PROXIES = ("10.0.0.1", "10.0.0.2", "fd00::1")


class AskedBy(Case):
    """Lists as proxies make them, and as those make them who would be somebody else."""

    def asked_by(self, *lines: bytes, name: bytes = b"x-forwarded-for") -> object:
        """Who is told of by these lines."""
        return asked_by([parse_field(line) for line in lines], name, PROXIES.__contains__)

    def test_x_forwarded_for(self) -> None:
        """The last address that is none of a proxy that is believed; what stands before it counts nothing."""
        for said, found in (
            (b"192.0.2.1", ("192.0.2.1", 0)),
            (b"192.0.2.1, 10.0.0.1", ("192.0.2.1", 0)),
            (b"192.0.2.1,10.0.0.1 , 10.0.0.2", ("192.0.2.1", 0)),
            (b"198.51.100.7, 192.0.2.1", ("192.0.2.1", 0)),
            (b"10.0.0.2, 192.0.2.1, 10.0.0.1", ("192.0.2.1", 0)),
            (b"10.0.0.2, 10.0.0.1", ("10.0.0.2", 0)),  # a proxy that asks for itself
            (b"192.0.2.1:4711", ("192.0.2.1", 4711)),
            (b"2001:db8::1", ("2001:db8::1", 0)),
            (b"[2001:db8::1]", ("2001:db8::1", 0)),
            (b"[2001:db8::1]:80", ("2001:db8::1", 80)),
            (b"2001:DB8:0::1, fd00:0::1", ("2001:db8::1", 0)),
            (b"::ffff:192.0.2.1", ("192.0.2.1", 0)),
            (b"evil, 10.0.0.1", ("10.0.0.1", 0)),
            (b"unknown", None),
            (b"192.0.2.1,", None),
            (b"192.0.2.256", None),
            (b"192.0.2.1 10.0.0.1", None),
            (b"192.0.2.1:x", None),
            (b"192.0.2.1:65536", None),
            (b"dead", None),
            (b"", None),
        ):
            self.assertEqual(self.asked_by(b"X-Forwarded-For: " + said), found, said)

    def test_several_fields(self) -> None:
        """Several fields are one list; another field says nothing here."""
        self.assertEqual(
            self.asked_by(b"X-Forwarded-For: 192.0.2.1", b"X-Forwarded-For: 10.0.0.1"), ("192.0.2.1", 0)
        )
        self.assertIsNone(self.asked_by(b"X-Real-IP: 192.0.2.1"))
        self.assertIsNone(self.asked_by())

    def test_forwarded(self) -> None:
        """The same of Forwarded, with what it may quote."""
        for said, found in (
            (b"for=192.0.2.1", ("192.0.2.1", 0)),
            (b'For="[2001:db8::1]:4711";proto=https', ("2001:db8::1", 4711)),
            (b'for="192.0.2.1:80";by=10.0.0.1, for=10.0.0.1', ("192.0.2.1", 80)),
            (b"proto=http; for=192.0.2.1 ;host=a", ("192.0.2.1", 0)),
            (b'for=198.51.100.7;host="a,for=10.0.0.1", for=192.0.2.1', ("192.0.2.1", 0)),
            (b'for=192.0.2.1;host="x, for=198.51.100.7", for=10.0.0.1', ("192.0.2.1", 0)),
            (b"for=unknown", None),
            (b"for=_hidden, for=10.0.0.1", ("10.0.0.1", 0)),
            (b"proto=https", None),
            (b"xfor=192.0.2.1", None),
            (b'for=192.0.2.1;host="a;for=198.51.100.7;", for=10.0.0.1', ("192.0.2.1", 0)),
            # A client that would have what is quoted read as if it were not, in a proxy's own element.
            (b'x=", for="[2001:db8::1]";host="h,for=198.51.100.7"', ("2001:db8::1", 0)),
            (b'x=", for=192.0.2.1;host=",for=198.51.100.7,z"', None),
            (b'x=", for=192.0.2.1;host=",for=198.51.100.7;z="', None),
            # Or would not be told of at all, and pass for the proxy itself.
            (b'for=", for=192.0.2.1;proto=http', ("192.0.2.1", 0)),
            (b"=, for=192.0.2.1, for=10.0.0.1", ("192.0.2.1", 0)),
            (b'for="192.0.2.1', None),
        ):
            self.assertEqual(self.asked_by(b"Forwarded: " + said, name=b"forwarded"), found, said)

    def test_bounded(self) -> None:
        """Of a list that is very long only so many are looked at."""
        said = b"192.0.2.1" + b", 10.0.0.1" * MOST_HOPS
        self.assertEqual(self.asked_by(b"X-Forwarded-For: " + said), ("10.0.0.1", 0))
        said = b"for=192.0.2.1" + b", for=10.0.0.1" * MOST_HOPS
        self.assertEqual(self.asked_by(b"Forwarded: " + said, name=b"forwarded"), ("10.0.0.1", 0))
