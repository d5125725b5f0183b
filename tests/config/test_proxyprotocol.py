"""Is a ``proxy_protocol`` taken for what an operator means by it, at a listener and at a pool?"""

from __future__ import annotations

from ipaddress import ip_network

from proxyd.config.proxyprotocol import ProxyIn, ProxyOut
from tests.config.ini import LISTENER, MINIMAL, POOL, IniCase

NOBODY = (
    "names nobody who may send a header; if everybody might, anybody could claim any address; "
    "write 10.0.0.0/8, for example"
)
NEITHER = "is neither a network nor an address; write 10.0.0.0/8, for example"


class SendersTests(IniCase):
    def senders(self, value: str) -> ProxyIn:
        found = self.load(f"{LISTENER}proxy_protocol = {value}\n{POOL}").listeners[0].proxy_protocol
        assert found is not None
        return found

    def refused(self, value: str) -> list[str]:
        place = "proxy.ini:4: [listener l] proxy_protocol: "
        problems = self.problems(f"{LISTENER}proxy_protocol = {value}\n{POOL}")
        self.assertTrue(all(problem.startswith(place) for problem in problems), problems)
        return [problem[len(place) :] for problem in problems]

    def test_networks(self) -> None:
        """Networks and single addresses of both families are taken, also all of a family."""
        found = self.senders("10.0.0.0/8 fd00::/8 192.0.2.1\n  2001:DB8::1 0.0.0.0/0 ::/0")
        networks = ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32", "2001:db8::1/128", "0.0.0.0/0", "::/0"]
        self.assertEqual(found, ProxyIn(tuple(map(ip_network, networks))))

    def test_mapped_addresses(self) -> None:
        """An IPv4 address is the same, whatever socket it comes to, so there is one way to write it."""
        self.assertEqual(
            self.refused("::ffff:10.0.0.0/104"),
            ['"::ffff:10.0.0.0/104": an IPv4 address is written as such, whatever socket it comes to'],
        )

    def test_words(self) -> None:
        """The words stand anywhere among the networks; `unix` alone is a list of senders, too."""
        self.assertEqual(self.senders("optional unix"), ProxyIn(unix=True, optional=True))
        self.assertEqual(
            self.senders("optional 10.0.0.1 unix"), ProxyIn((ip_network("10.0.0.1"),), True, optional=True)
        )

    def test_nobody(self) -> None:
        """A list of senders must be there, and the message says why."""
        self.assertEqual(self.refused("optional"), [NOBODY])
        self.assertEqual(self.refused("on"), [
            '"on" is not known; known here: unix, optional, inside_tls', NOBODY
        ])  # fmt: skip
        self.assertEqual(
            self.refused(""), ["has no value; write proxy_protocol = 10.0.0.0/8 fd00::/8, for example"]
        )

    def test_refused(self) -> None:
        """What is no network is refused with what would be right; the line is that of the word."""
        for value, reason in [
            (
                "10.0.0.1/8",
                '"10.0.0.1/8" has bits set behind its /8; '
                "write 10.0.0.0/8 for the network, 10.0.0.1 for the one address",
            ),
            (
                "fd00::1/8",
                '"fd00::1/8" has bits set behind its /8; '
                "write fd00::/8 for the network, fd00::1 for the one address",
            ),
            ("10.0.0.0/33", f'"10.0.0.0/33" {NEITHER}'),
            ("10.0.0.0/255.0.0.0", f'"10.0.0.0/255.0.0.0" {NEITHER}'),
            ("10/8", f'"10/8" {NEITHER}'),
            ("10.0.0.1:80", f'"10.0.0.1:80" {NEITHER}'),
            ("[::1]", f'"[::1]" {NEITHER}'),
            ("fe80::1%eth0", f'"fe80::1%eth0" {NEITHER}'),
            ("lb.example.com", f'"lb.example.com" {NEITHER}'),
            ("v2", f'"v2" {NEITHER}'),
            ("10.0.0.1 10.0.0.1/32", '"10.0.0.1/32" is given twice'),
            ("10.0.0.1 optinal", '"optinal" is not known; did you mean "optional"?'),
            ("10.0.0.1 unix=yes", "unix takes no value; write unix alone"),
            ("10.0.0.1 unix unix", "unix is given twice"),
        ]:
            self.assertEqual(self.refused(value), [reason])
        problems = self.problems(f"{LISTENER}proxy_protocol = unix\n  10.0.0.0/8\n  10.0.0.0/x\n{POOL}")
        self.assertEqual(problems, [f'proxy.ini:6: [listener l] proxy_protocol: "10.0.0.0/x" {NEITHER}'])


class HeaderTests(IniCase):
    def test_given(self) -> None:
        """A version, and with version 2 whatever is to be sent besides the addresses."""
        for value, header in [
            ("v1", ProxyOut(1)),
            ("v2", ProxyOut(2)),
            ("v2 crc32c unique_id", ProxyOut(2, unique_id=True, crc32c=True)),
            ("v2 alpn authority\n  ssl", ProxyOut(2, alpn=True, authority=True, ssl=True)),
        ]:
            pool = self.load(f"{MINIMAL}proxy_protocol = {value}\n").pools[0]
            self.assertEqual(pool.proxy_protocol, header)
        self.assertIs(self.load(MINIMAL).pools[0].proxy_protocol, None)

    def test_refused(self) -> None:
        """What cannot be sent is refused with what can be."""
        for value, reason in [
            ("v3", '"v3" is not known; known here: v1, v2'),
            ("on", '"on" is not known; known here: v1, v2'),
            ("crc32c v2", "begins with the version of the header; write v2 before crc32c"),
            ("v1 crc32c", 'v1 has no room for "crc32c"; write v2'),
            ("v2 crc32", '"crc32" is not known; did you mean "crc32c"?'),
            ("v2 ssl ssl", "ssl is given twice"),
            ("v2 ssl=1", "ssl takes no value; write ssl alone"),
        ]:
            problems = self.problems(f"{MINIMAL}proxy_protocol = {value}\n")
            self.assertEqual(problems, [f"proxy.ini:6: [pool p] proxy_protocol: {reason}"])
