"""Do the servers of a name follow its answers, and are they left alone when there is none?"""

from __future__ import annotations

from attrs import evolve

from proxyd.config.address import Address, Addresses, SrvAddress, TcpAddress
from proxyd.config.pool import ALL, ServerSpec
from proxyd.policy.names import (
    MOST_ADDRESSES,
    Answer,
    Service,
    Target,
    clamp,
    common,
    kept,
    servers_of,
    targets_of,
)
from tests.support.case import Case

HOST = ServerSpec("a", TcpAddress("db.example", 80), weight=3, backup=True)
SERVICE = ServerSpec("a", SrvAddress("_db._tcp.example"))


class Answers(Case):
    """What is known of a name."""

    def test_clamp(self) -> None:
        """A TTL is heeded within the bounds."""
        for ttl, heeded in (0, 5), (4, 5), (5, 5), (60, 60), (300, 300), (86400, 300):
            self.assertEqual(clamp(ttl, 5, 300), heeded)

    def test_order(self) -> None:
        """Families are tried in turn, IPv6 first."""
        for v4, v6, order in (
            (("1", "2", "3"), ("a",), ("a", "1", "2", "3")),
            (("1",), ("a", "b", "c"), ("a", "1", "b", "c")),
            ((), ("a",), ("a",)),
            (("1",), None, ("1",)),
            (None, None, ()),
        ):
            self.assertEqual(Answer(v4, v6).addresses, order)

    def test_kept(self) -> None:
        """What could not be learnt stays as it was, and the last address is never taken away."""
        last = Answer(("1", "2"), ("a",), 60)
        for new, known in (
            (Answer(("3",), ("b",)), (("3",), ("b",))),
            (Answer(("3",), ()), (("3",), ())),
            (Answer(("3",), None, trouble="timeout"), (("3",), ("a",))),
            (Answer(None, ("b",), trouble="timeout"), (("1", "2"), ("b",))),
            (Answer(None, (), trouble="timeout"), (("1", "2"), ())),
            (Answer((), (), trouble="no such name"), (("1", "2"), ("a",))),
            (Answer(trouble="timeout"), (("1", "2"), ("a",))),
        ):
            now = kept(last, new)
            assert now is not None
            self.assertEqual((now.v4, now.v6), known, new)

    def test_never_known(self) -> None:
        """A name that has never had an address has none."""
        self.assertIsNone(kept(None, Answer(trouble="timeout")))
        self.assertIsNone(kept(None, Answer((), (), trouble="no such name")))
        first = kept(None, Answer(("1",), None, trouble="timeout"))
        assert first is not None
        self.assertEqual(first.addresses, ("1",))

    def test_shuffled(self) -> None:
        """Addresses that are known stay where they are, and new ones follow."""
        now = kept(Answer(("1", "2", "3"), ()), Answer(("4", "3", "1"), ()))
        assert now is not None
        self.assertEqual(now.v4, ("1", "3", "4"))

    def test_bound(self) -> None:
        """Of very many addresses the same ones are used from answer to answer."""
        many = tuple(str(n) for n in range(1000))
        first = kept(None, Answer(many, ()))
        second = kept(first, Answer(many[::-1], ()))
        assert first is not None and second is not None
        self.assertEqual((len(first.addresses), second.addresses), (MOST_ADDRESSES, first.addresses))


class Targets(Case):
    """The targets of a service."""

    def weights(self, *weights: int) -> list[int | None]:
        services = [Service(f"h{n}", 80, 0, weight) for n, weight in enumerate(weights)]
        hosts: dict[str, Answer | None] = {service.host: Answer(("1",), ()) for service in services}
        return [target.weight for target in targets_of(services, hosts)]

    def test_weights(self) -> None:
        """Weights of SRV records become weights of ours in the same proportion; 0 is the least there is."""
        for given, ours in (
            ([10, 20], [10, 20]),
            ([0, 0], [1, 1]),
            ([0, 256], [1, 256]),
            ([65535, 0, 32768], [256, 1, 128]),
            ([1000, 500], [256, 128]),
        ):
            self.assertEqual(self.weights(*given), ours)

    def test_weights_of_a_priority(self) -> None:
        """A heavy target of another priority makes no difference to those that are weighed together."""
        services = [Service("a", 80, 0, 10), Service("b", 80, 0, 50), Service("c", 80, 1, 65535)]
        targets = targets_of(services, dict.fromkeys("abc", Answer(("1",))))
        self.assertEqual([target.weight for target in targets], [10, 50, 256])

    def test_hosts_without_address(self) -> None:
        """A target whose host has never resolved is left out."""
        services = [Service("a", 80, 5, 1), Service("b", 81, 6, 1), Service("c", 82, 7, 1)]
        targets = targets_of(services, {"a": None, "b": Answer(("1",), ("a",))})
        self.assertEqual(targets, (Target("b", ("a", "1"), 81, 6, 1),))


class Servers(Case):
    """What a line of the configuration stands for."""

    def names(self, line: ServerSpec, *targets: Target) -> list[tuple[str, str]]:
        return [(spec.name, str(spec.address)) for spec in servers_of(line, targets)]

    def test_one_server(self) -> None:
        """A host is one server, with as many addresses as it has; all else is as it is written."""
        for addresses, address in (
            (("1.1.1.1",), TcpAddress("1.1.1.1", 80)),
            (("::1", "1.1.1.1"), Addresses((TcpAddress("::1", 80), TcpAddress("1.1.1.1", 80)))),
        ):
            [spec] = servers_of(HOST, [Target("db.example", addresses)])
            self.assertEqual(spec, evolve(HOST, address=address, origin=TcpAddress("db.example", 80)))

    def test_all(self) -> None:
        """With resolve=all each address is a server, which is called by it."""
        found = self.names(evolve(HOST, resolve=ALL), Target("db.example", ("::1", "1.1.1.1", "::1")))
        self.assertEqual(found, [("a-::1", "[::1]:80"), ("a-1.1.1.1", "1.1.1.1:80")])

    def test_service(self) -> None:
        """Each target of a service is a server, with the weight and the priority of its record."""
        targets = [Target("h", ("1.1.1.1", "2.2.2.2"), 81, 5, 7), Target("i", ("3.3.3.3",), 82, 6, 8)]
        specs = servers_of(SERVICE, targets)
        self.assertEqual(
            [(spec.name, str(spec.address), spec.weight, spec.priority) for spec in specs],
            [("a-h:81", "1.1.1.1:81,2.2.2.2:81", 7, 5), ("a-i:82", "3.3.3.3:82", 8, 6)],
        )
        self.assertEqual(specs[1].origin, TcpAddress("i", 82))

    def test_all_of_a_service(self) -> None:
        """Each address of each target is one; one that is named twice is one."""
        targets = [Target("h", ("1.1.1.1", "::1"), 81, 5, 7), Target("i", ("1.1.1.1",), 81, 6, 8)]
        found = self.names(evolve(SERVICE, resolve=ALL), *targets)
        self.assertEqual(found, [("a-1.1.1.1:81", "1.1.1.1:81"), ("a-[::1]:81", "[::1]:81")])

    def test_moved(self) -> None:
        """A server can still be where it was if an address is the same."""
        one, other = TcpAddress("1.1.1.1", 80), TcpAddress("2.2.2.2", 80)
        cases: list[tuple[Address, Address, bool]] = [
            (one, one, True),
            (one, other, False),
            (one, TcpAddress("1.1.1.1", 81), False),
            (one, Addresses((other, one)), True),
            (Addresses((other, other)), one, False),
        ]
        for before, after, same in cases:
            self.assertIs(common(before, after), same)
