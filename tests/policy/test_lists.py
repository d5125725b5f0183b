"""Is a client in a list of networks exactly if one of the networks has its address?"""

from __future__ import annotations

import ipaddress
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any, Iterable

from proxyd.config.lists import Clients, ListSpec, record_of
from proxyd.policy.lists import Lists, Networks, client_bytes, gather, networks_of
from tests.support.case import Case


def networks(texts: Iterable[str]) -> Networks:
    """The set of these networks."""
    return networks_of([record_of(ip_network(text)) for text in texts])


def client(text: str) -> bytes:
    """The client with this address."""
    return client_bytes(ip_address(text).packed)


def network_of(dice: Random, bits: int, prefixes: tuple[int, ...]) -> Any:
    """A network somewhere; many lie close together, so that they touch and cover one another."""
    prefix = dice.choice(prefixes)
    top = dice.choice((0, (1 << bits) - 1, dice.getrandbits(bits)))
    number = (top ^ dice.getrandbits(dice.randrange(1, bits))) >> (bits - prefix) << (bits - prefix)
    kind = ipaddress.IPv4Network if bits == 32 else ipaddress.IPv6Network
    return kind((number, prefix))


class NetworksTests(Case):
    def test_boundaries(self) -> None:
        """The first and the last address of a network are in it, their neighbours are not."""
        found = networks(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "2001:db9::1/128", "fd00::/64"])
        for address, inside in [
            ("9.255.255.255", False), ("10.0.0.0", True), ("10.255.255.255", True), ("11.0.0.0", False),
            ("192.0.2.6", False), ("192.0.2.7", True), ("192.0.2.8", False),
            ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", False), ("2001:db8::", True),
            ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", True), ("2001:db9::", False),
            ("2001:db9::1", True), ("2001:db9::2", False), ("fd00::ffff:ffff:ffff:ffff", True),
            ("fd00:0:0:1::", False), ("::", False), ("ffff::", False), ("0.0.0.0", False),
        ]:  # fmt: skip
            self.assertEqual(found.covers(client(address)), inside, address)
        self.assertEqual(found.count, 5)

    def test_ends_of_the_space(self) -> None:
        """Networks may reach to the first and to the last address there is, and may be all of them."""
        for texts, inside, outside in [
            (["0.0.0.0/0"], ["0.0.0.0", "255.255.255.255"], ["::"]),
            (["::/0"], ["::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], ["0.0.0.0"]),
            (["255.255.255.255"], ["255.255.255.255"], ["255.255.255.254", "0.0.0.0"]),
            (["0.0.0.0/1", "128.0.0.0/1"], ["0.0.0.0", "128.0.0.0", "255.255.255.255"], []),
            ([], [], ["0.0.0.0", "::", "255.255.255.255"]),
        ]:
            found = networks(texts)
            self.assertTrue(all(found.covers(client(address)) for address in inside), texts)
            self.assertFalse(any(found.covers(client(address)) for address in outside), texts)

    def test_mapped(self) -> None:
        """An IPv4 client that comes to an IPv6 socket is the IPv4 client; no IPv6 network has it."""
        found = networks(["192.0.2.0/24"])
        self.assertTrue(found.covers(client("::ffff:192.0.2.1")))
        self.assertFalse(found.covers(client("::192.0.2.1")))
        self.assertFalse(networks(["::/0"]).covers(client("::ffff:192.0.2.1")))

    def test_unix(self) -> None:
        """Who comes by a unix socket has no address: it is in a list that says so, and in no other."""
        self.assertFalse(networks(["0.0.0.0/0", "::/0"]).covers(b""))
        self.assertTrue(networks_of([], unix=True).covers(b""))
        self.assertFalse(networks_of([], unix=True).covers(client("10.0.0.1")))

    def test_against_every_network(self) -> None:
        """Whatever the networks, the answer is that of asking each of them."""
        dice = Random(7)
        for bits, prefixes in ((32, (0, 1, 8, 16, 24, 31, 32)), (128, (0, 3, 48, 63, 64, 65, 127, 128))):
            for size in [0, 1, 2, 3, 5, 8, 30, 100] * 4:
                chosen = [network_of(dice, bits, prefixes[1:] if size > 1 else prefixes) for _ in range(size)]
                sliced = [[*map(record_of, chosen[place : place + 7])] for place in range(0, size, 7)]
                [found] = [one for one in gather(sliced) if one is not None]
                edges = [int(end) for network in chosen for end in (network[0], network[-1])]
                asked = {edge + step for edge in edges for step in (-1, 0, 1)}
                asked |= {dice.getrandbits(bits) for _ in range(20)}
                for number in asked:
                    if 0 <= number < 1 << bits:
                        packed = number.to_bytes(bits // 8, "big")
                        expected = any(int(one[0]) <= number <= int(one[-1]) for one in chosen)
                        self.assertEqual(found.covers(packed), expected, (chosen, packed))

    def test_steps(self) -> None:
        """A large list is made in many steps, of which each does a little."""
        dice = Random(3)
        slices = [[dice.getrandbits(32).to_bytes(4, "big") + b"\x20" for _ in range(100)] for _ in range(200)]
        steps = list(gather(slices))
        self.assertGreater(len(steps), 200 + 2 * 200 * 100 // 1000 - 5)
        self.assertEqual([step is None for step in steps], [True] * (len(steps) - 1) + [False])


class ListsTests(Case):
    def test_members(self) -> None:
        """A line has the networks that it says itself, those of its lists, and those of files, each once."""
        lists = Lists(
            [
                ListSpec("a", Clients((ip_network("10.0.0.0/8"),), paths=("/x",))),
                ListSpec("b", Clients(paths=("/x", "/y"))),
            ]
        )
        sets = lists.members(Clients((ip_network("192.0.2.0/24"),), ("a", "b"), ("/y",)), "own")
        self.assertEqual(
            [one.name for one in sets], ["own", "file:/y", "@a", "file:/x", "file:/x", "file:/y"]
        )
        self.assertEqual(list(lists.files), ["/x", "/y"])
        self.assertIs(sets[3], sets[4])
        lists.files["/x"].networks = networks(["10.0.0.0/8"])
        self.assertTrue(sets[3].networks.covers(client("10.1.1.1")))
