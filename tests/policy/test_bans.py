"""Does a ban hold for whom it names, for as long as it says, and in a table that is bounded?"""

from __future__ import annotations

import math
from ipaddress import ip_address, ip_network
from random import Random

from proxyd.config.words import Invalid
from proxyd.policy.bans import Ban, Bans, make_ban, read_bans, read_network
from proxyd.policy.lists import client_bytes
from tests.support.case import Case

NOW = 1_700_000_000.0


def client(text: str) -> bytes:
    """The client with this address."""
    return client_bytes(ip_address(text).packed)


def ban(network: str, seconds: float = 60, reason: str = "") -> Ban:
    """A ban that begins now."""
    return Ban(ip_network(network), NOW + seconds, reason)


class BansTests(Case):
    def setUp(self) -> None:
        self.bans = Bans(5)

    def texts(self) -> list[str]:
        return [str(one.network) for one in self.bans]

    def test_holds(self) -> None:
        """It holds up to its end and not at it, for each address of the network and for no other."""
        mine = ban("192.0.2.0/24", 10)
        self.bans.add(mine)
        for address, now, found in [
            ("192.0.2.0", NOW, mine), ("192.0.2.255", NOW + 9.9, mine), ("192.0.2.7", NOW + 10, None),
            ("192.0.3.0", NOW, None), ("192.0.1.255", NOW, None), ("::ffff:192.0.2.9", NOW, mine),
            ("::192.0.2.9", NOW, None),
        ]:  # fmt: skip
            self.assertIs(self.bans.find(client(address), now), found, address)
        self.assertIs(self.bans.find(b"", NOW), None)

    def test_prefixes(self) -> None:
        """Bans of several lengths, and of both families, hold beside one another."""
        for network in ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/64", "::1/128"):
            self.bans.add(ban(network))
        for address, banned in [
            ("10.9.9.9", True), ("192.0.2.7", True), ("192.0.2.8", False), ("2001:db8::ffff", True),
            ("2001:db8:0:1::", False), ("::1", True), ("::2", False),
        ]:  # fmt: skip
            self.assertEqual(self.bans.find(client(address), NOW) is not None, banned, address)

    def test_everything(self) -> None:
        """Even all addresses of a family may be banned."""
        self.bans.add(ban("0.0.0.0/0"))
        self.assertIsNot(self.bans.find(client("255.255.255.255"), NOW), None)
        self.assertIs(self.bans.find(client("::1"), NOW), None)

    def test_again(self) -> None:
        """A second ban of the same network takes the place of the first, whether it is longer or not."""
        self.bans.add(ban("10.0.0.0/8", 100, "first"))
        self.bans.add(ban("10.0.0.0/8", 10, "second"))
        self.assertEqual(len(self.bans), 1)
        found = self.bans.find(client("10.0.0.1"), NOW + 9)
        assert found is not None
        self.assertEqual(found.reason, "second")
        self.assertIs(self.bans.find(client("10.0.0.1"), NOW + 11), None)
        self.assertEqual(self.bans.sweep(NOW + 11), 1)
        self.assertEqual(self.bans.sweep(NOW + 101), 0)

    def test_remove(self) -> None:
        """Who is pardoned comes in again, unless a larger network is banned too."""
        self.bans.add(ban("10.0.0.0/8"))
        self.bans.add(ban("10.0.0.1/32"))
        self.assertTrue(self.bans.remove(ip_network("10.0.0.1/32")))
        self.assertFalse(self.bans.remove(ip_network("10.0.0.1/32")))
        self.assertIsNot(self.bans.find(client("10.0.0.1"), NOW), None)
        self.assertTrue(self.bans.remove(ip_network("10.0.0.0/8")))
        self.assertIs(self.bans.find(client("10.0.0.1"), NOW), None)
        self.assertFalse(self.bans)

    def test_bound(self) -> None:
        """In a full table the ban that would end first makes room; one that is for ever goes last."""
        self.bans.add(Ban(ip_network("192.0.2.1/32"), math.inf))
        for place, seconds in enumerate((50, 20, 40, 30)):
            self.bans.add(ban(f"10.0.0.{place}/32", seconds))
        self.assertEqual(self.bans.dropped, 0)
        self.bans.add(ban("10.0.1.0/24", 60))
        self.assertEqual(self.texts(), [
            "192.0.2.1/32", "10.0.0.0/32", "10.0.0.2/32", "10.0.0.3/32", "10.0.1.0/24"
        ])  # fmt: skip
        self.assertEqual(self.bans.dropped, 1)
        self.bans.add(ban("10.0.1.0/24", 70))
        self.assertEqual((len(self.bans), self.bans.dropped), (5, 1))

    def test_spraying(self) -> None:
        """However often bans are made, replaced and removed, the table is what a plain dict would be."""
        dice, plain = Random(5), dict[str, float]()
        bans = Bans(50)
        for turn in range(5000):
            network, now = f"10.0.{dice.randrange(3)}.{dice.randrange(20)}/32", NOW + turn
            what = dice.random()
            if what < 0.7:
                until = now + dice.randrange(1, 60)
                bans.add(Ban(ip_network(network), until))
                plain[network] = until
            elif what < 0.8:
                self.assertEqual(bans.remove(ip_network(network)), plain.pop(network, None) is not None)
            else:
                ended = [one for one, until in plain.items() if until <= now]
                self.assertEqual(bans.sweep(now), len(ended))
                for one in ended:
                    del plain[one]
            while len(plain) > 50:
                raise AssertionError("the networks of this test are to fit")
            found = bans.find(client(network[:-3]), now)
            self.assertEqual(found is not None, plain.get(network, 0) > now)
            self.assertEqual({str(one.network) for one in bans}, set(plain))
        self.assertLessEqual(len(bans._ends), 2 * len(bans) + 101)

    def test_restart(self) -> None:
        """What is dumped is there again after a restart, but for what is over meanwhile."""
        self.bans.add(ban("10.0.0.0/8", 60, "too loud"))
        self.bans.add(ban("10.0.0.1/32", 10))
        self.bans.add(Ban(ip_network("2001:db8::/64"), math.inf, "for ever"))
        after = Bans(5)
        self.assertEqual(after.restore(self.bans.dump(), NOW + 30), 2)
        self.assertEqual(list(after), [one for one in self.bans if one.until > NOW + 30])
        self.assertEqual(Bans(5).restore(Bans(5).dump(), NOW), 0)

    def test_damaged(self) -> None:
        """Of what is no dump as much is taken as can be understood, and it is said what cannot."""
        for dumped in (None, 7, ["10.0.0.0/8 never"]):
            self.assertRaises(ValueError, Bans(5).restore, dumped, NOW)
        error = self.assertRaises(ValueError, self.bans.restore, "ten never\n10.0.0.1 never\n", NOW)
        self.assertEqual(self.texts(), ["10.0.0.1/32"])
        self.assertIn("line 1", str(error))

    def test_changed(self) -> None:
        """Whoever keeps the table is told when there is something new in it."""
        told: list[int] = []
        self.bans.changed = lambda: told.append(len(self.bans))
        self.bans.add(ban("10.0.0.0/8"))
        self.bans.remove(ip_network("10.0.0.0/8"))
        self.bans.remove(ip_network("10.0.0.0/8"))
        self.assertEqual(told, [1, 0])


class TextTests(Case):
    def test_text(self) -> None:
        """What is exported can be imported."""
        bans = [
            ban("10.0.0.0/8", 60, "two words"),
            ban("192.0.2.7/32"),
            Ban(ip_network("::1"), math.inf, "x"),
        ]
        lines = [str(one) for one in bans]
        self.assertEqual(
            lines, [f"10.0.0.0/8 {int(NOW) + 60} two words", f"192.0.2.7 {int(NOW) + 60}", "::1 never x"]
        )
        self.assertEqual(read_bans(lines, NOW), (bans, []))

    def test_lines(self) -> None:
        """Comments and bans that have ended are passed over; wrong lines are told by their number."""
        bans, wrong = read_bans(
            [
                "# x",
                "",
                f"10.0.0.1 {int(NOW)} over",
                "10.0.0.2 10m",
                "ten 10m",
                "10.0.0.3",
                "10.0.0.4 soon x",
            ],
            NOW,
        )
        self.assertEqual(bans, [ban("10.0.0.2", 600)])
        self.assertEqual(wrong, [
            (5, '"ten" is neither a network nor an address; write 192.0.2.7, for example'),
            (6, '"10.0.0.3" has no end; write 10.0.0.3 10m, for example'),
            (7, '"soon" is no end of a ban; write 10m, for example, seconds since the epoch, or never'),
        ])  # fmt: skip

    def test_ends(self) -> None:
        """An end is a duration, a time, or never; milliseconds since the epoch are a mistake."""
        for text, until in [
            ("10m", NOW + 600),
            ("1d", NOW + 86400),
            ("1800000000", 1.8e9),
            ("never", math.inf),
        ]:
            self.assertEqual(make_ban("10.0.0.1", text, "", NOW).until, until)
        for text in ("1800000000000", "-1", "0s", "10", "1e9", "٣"):
            if text == "10":
                self.assertEqual(make_ban("10.0.0.1", text, "", NOW).until, 10.0)  # which is long over
            else:
                self.assertRaises(Invalid, make_ban, "10.0.0.1", text, "", NOW)

    def test_networks(self) -> None:
        """Of a client with a prefix behind it the network is meant; a mapped address is the IPv4 one."""
        for text, network in [
            ("192.0.2.7", "192.0.2.7/32"), ("192.0.2.7/24", "192.0.2.0/24"),
            ("2001:db8::1/64", "2001:db8::/64"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"), ("::ffff:192.0.2.0/120", "192.0.2.0/24"), ("::/0", "::/0"),
        ]:  # fmt: skip
            self.assertEqual(read_network(text), ip_network(network))

    def test_reason(self) -> None:
        """A reason is one line, and not too long, whatever was written."""
        self.assertEqual(make_ban("::1", "1m", "a\nb", NOW).reason, "a\\nb")
        self.assertLess(len(make_ban("::1", "1m", "x" * 5000, NOW).reason), 250)

    def test_lasts(self) -> None:
        """For people it is said how long a ban still holds."""
        for seconds, shown in [(600, "10m"), (59.2, "1m"), (90, "90s"), (-5, "0ms"), (math.inf, "never")]:
            self.assertEqual(ban("::1", seconds).lasts(NOW), shown)
