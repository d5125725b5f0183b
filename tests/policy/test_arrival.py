"""Who counts as the same client?"""

from __future__ import annotations

from proxyd.config.balance import BalanceSpec
from proxyd.policy.arrival import Arrival, client_key, network_of
from tests.support.case import Case

ALIKE = [  # what is one client, with prefixes of 32 and 64 bits
    ("10.1.2.3", "10.1.2.3"),
    ("10.1.2.3", "::ffff:10.1.2.3"),
    ("2001:db8::1", "2001:db8::2"),
    ("2001:db8:0:0:1::", "2001:0db8::ffff:ffff:ffff:ffff"),
    ("fe80::1%eth0", "fe80::1%eth1"),
]

DIFFERENT = [
    ("10.1.2.3", "10.1.2.4"),
    ("2001:db8::1", "2001:db8:0:1::1"),
    ("::a01:203", "10.1.2.3"),  # compatible addresses are no mapped ones
]


class Networks(Case):
    """`network_of`."""

    def test_alike(self) -> None:
        """However an address is written, and wherever in its /64 it is, it is the same client."""
        for one, other in ALIKE:
            self.assertEqual(network_of(one, 32, 64), network_of(other, 32, 64), one)
            self.assertNotEqual(network_of(one, 32, 64), b"")

    def test_different(self) -> None:
        """Others are others."""
        for one, other in DIFFERENT:
            self.assertNotEqual(network_of(one, 32, 64), network_of(other, 32, 64), one)

    def test_prefixes(self) -> None:
        """With a shorter prefix more addresses are one client, with a longer one fewer."""
        for one, other, prefix4, prefix6, same in [
            ("10.1.2.3", "10.1.2.200", 24, 64, True),
            ("10.1.2.3", "10.1.3.3", 24, 64, False),
            ("10.1.2.3", "::ffff:10.1.2.200", 24, 64, True),
            ("10.1.2.3", "10.99.2.3", 8, 64, True),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", 32, 56, True),
            ("2001:db8:0:1::1", "2001:db8:0:101::1", 32, 56, False),
            ("2001:db8::1", "2001:db8::2", 32, 128, False),
        ]:
            alike = network_of(one, prefix4, prefix6) == network_of(other, prefix4, prefix6)
            self.assertEqual(alike, same, (one, other))

    def test_families(self) -> None:
        """No network of one family is one of the other's."""
        self.assertNotEqual(network_of("0.0.0.0", 8, 64), network_of("::", 8, 8))

    def test_none(self) -> None:
        """Who has no IP address, as on a unix socket, is in no network."""
        for source in ("", "not an address:", "1:2"):
            self.assertEqual(network_of(source, 32, 64), b"")
            self.assertEqual(network_of(source, 24, 64), b"")


class Keys(Case):
    """`client_key`."""

    def test_source(self) -> None:
        """By the address: neither port nor name matter."""
        key = client_key(BalanceSpec("source"))
        self.assertEqual(key(Arrival("10.0.0.1", 1, "a")), key(Arrival("10.0.0.1", 2, "b")))
        self.assertNotEqual(key(Arrival("10.0.0.1")), key(Arrival("10.0.0.2")))
        self.assertEqual(key(Arrival()), b"")

    def test_source_and_port(self) -> None:
        """By both; a client without an address has no port either."""
        key = client_key(BalanceSpec("hash", key="source+port", prefix4=24))
        self.assertEqual(key(Arrival("10.0.0.1", 7)), key(Arrival("10.0.0.2", 7)))
        self.assertNotEqual(key(Arrival("10.0.0.1", 7)), key(Arrival("10.0.0.1", 8)))
        self.assertEqual(key(Arrival(port=7)), b"")

    def test_name(self) -> None:
        """By the name that is asked for, in whatever case (RFC 6066 3: names are DNS's)."""
        key = client_key(BalanceSpec("hash", key="sni"))
        self.assertEqual(key(Arrival("10.0.0.1", 7, "A.example")), key(Arrival("::1", 8, "a.EXAMPLE")))
        self.assertNotEqual(key(Arrival(sni="a.example")), key(Arrival(sni="b.example")))
        self.assertEqual(key(Arrival("10.0.0.1", 7)), b"")
