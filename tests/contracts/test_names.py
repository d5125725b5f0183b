"""What does a name service answer, the one in memory and a real one alike?"""

from __future__ import annotations

from typing import Any

from proxyd.config.address import TcpAddress
from proxyd.config.resolvers import ResolversSpec
from proxyd.policy.names import Service
from proxyd.upkeep.resolver import Resolver
from tests.support.case import AsyncCase
from tests.support.names import Zone
from tests.support.services import Dnsmasq
from tests.support.stage import Stage

TTL = 7

HOSTS = {
    "db.example": ("10.0.0.1", "10.0.0.2", "fd00::1"),
    "one.example": ("10.0.0.3",),
    "six.example": ("fd00::6",),
    "many.example": tuple(f"10.1.0.{n}" for n in range(200)),
}

TARGETS = (Service("db.example", 5432, 10, 60), Service("one.example", 5433, 20, 0))


class NamesContract:
    """What `proxyd.upkeep.names` relies on; ``asks`` is who is asked."""

    async def test_host(self: Any) -> None:
        """A host has the addresses of both families, and their TTL."""
        answer = await self.asks.host("db.example")
        self.assertEqual((sorted(answer.v4), answer.v6), (["10.0.0.1", "10.0.0.2"], ("fd00::1",)))
        self.assertEqual((answer.ttl, answer.trouble), (TTL, ""))

    async def test_one_family(self: Any) -> None:
        """Of a family that it has not a host has no address, which is no trouble."""
        for name, v4, v6 in ("one.example", ("10.0.0.3",), ()), ("six.example", (), ("fd00::6",)):
            answer = await self.asks.host(name)
            self.assertEqual((answer.v4, answer.v6, answer.trouble), (v4, v6, ""))

    async def test_more_than_a_datagram_holds(self: Any) -> None:
        """However many addresses a host has, all are told."""
        answer = await self.asks.host("many.example")
        self.assertEqual(sorted(answer.v4), sorted(HOSTS["many.example"]))

    async def test_no_such_host(self: Any) -> None:
        """It is learnt that there is none."""
        answer = await self.asks.host("nobody.example")
        self.assertEqual((answer.v4, answer.v6, answer.any), ((), (), False))
        self.assertEqual(answer.trouble, "there is no such name, or it has no address")

    async def test_services(self: Any) -> None:
        """A service has targets, each with its port, priority and weight, the first ones first."""
        services = await self.asks.services("_db._tcp.example")
        self.assertEqual((services.each, services.ttl, services.trouble), (TARGETS, TTL, ""))

    async def test_no_such_service(self: Any) -> None:
        """It is learnt that there is none."""
        services = await self.asks.services("_none._tcp.example")
        self.assertEqual((services.each, services.ttl), ((), 0))
        self.assertIn("no SRV record", services.trouble)

    async def test_trouble(self: Any) -> None:
        """When the name service fails nothing is learnt, and it is said why."""
        await self.breaks()
        answer, services = await self.asks.host("db.example"), await self.asks.services("_db._tcp.example")
        self.assertEqual((answer.v4, answer.v6, services.each), (None, None, None))
        self.assertTrue(answer.trouble and services.trouble)


class InMemory(NamesContract, AsyncCase):
    """The one that other tests use."""

    def setUp(self) -> None:
        self.asks = Zone(TTL)
        self.asks.hosts.update(HOSTS)
        self.asks.targets["_db._tcp.example"] = TARGETS

    async def breaks(self) -> None:
        self.asks.trouble = "timeout"


class Real(NamesContract, AsyncCase):
    """Ours, which asks dnsmasq by UDP and TCP."""

    async def setUp(self) -> None:  # type: ignore[override]
        from twisted.internet import reactor

        self.dns = Dnsmasq(Stage(reactor, self.addCleanup), TTL)
        self.dns.hosts = dict(HOSTS)
        self.dns.records = [
            *(f"srv-host=_db._tcp.example,{t.host},{t.port},{t.priority},{t.weight}" for t in TARGETS),
            "cname=alias.example,db.example",
        ]
        await self.dns.start()
        server = TcpAddress(self.dns.place.host, self.dns.place.port)
        self.asks = Resolver(reactor, ResolversSpec((server,), hosts="", timeout=10.0, tries=1))

    async def breaks(self) -> None:
        assert self.dns.child is not None
        await self.dns.child.stop()

    async def test_alias(self) -> None:
        """An alias has the addresses of the host that it leads to."""
        answer = await self.asks.host("alias.example")
        self.assertEqual((sorted(answer.v4 or ()), answer.ttl), (["10.0.0.1", "10.0.0.2"], TTL))

    async def test_refused(self) -> None:
        """A server that refuses to say has said nothing about the name."""
        answer = await self.asks.host("elsewhere.invalid")
        self.assertEqual((answer.v4, answer.trouble), (None, f"{self.dns.place} says refused"))
