"""Whom does the resolver ask, whom does it believe, and what does it leave behind?"""

from __future__ import annotations

import os
import tempfile
from typing import Any, Callable, Optional

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.internet.task import deferLater
from twisted.names import dns
from twisted.protocols.basic import Int16StringReceiver

from proxyd.config.address import TcpAddress
from proxyd.config.resolvers import ResolversSpec
from proxyd.policy.names import Answer
from proxyd.upkeep.resolver import Resolver
from tests.support.case import AsyncCase
from tests.support.descriptors import open_files, open_files_before

reactor: Any = installed_reactor

Reply = Callable[[dns.Message], list[bytes]]  # what is sent for a question


def answer(asked: dns.Message, *records: dns.RRHeader, code: int = dns.OK) -> dns.Message:
    """An answer to what was asked, with these records."""
    message = dns.Message(id=asked.id, answer=1, rCode=code)
    message.queries = list(asked.queries)
    message.answers = list(records)
    return message


def name_of(asked: dns.Message) -> str:
    return asked.queries[0].name.name.decode()


def address(asked: dns.Message, text: str = "10.0.0.1", ttl: int = 60) -> list[bytes]:
    """The answer that a name has this address."""
    kind: Any = dns.Record_AAAA if ":" in text else dns.Record_A
    if asked.queries[0].type != kind.TYPE:
        return [answer(asked).toStr()]
    return [answer(asked, dns.RRHeader(name_of(asked), kind.TYPE, dns.IN, ttl, kind(text))).toStr()]


def with_code(code: int) -> Reply:
    return lambda asked: [answer(asked, code=code).toStr()]


def silent(asked: dns.Message) -> list[bytes]:
    return []


class Server(DatagramProtocol):
    """A name server that says what the test wants."""

    transport: Any

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.asked: list[str] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        message = dns.Message()
        message.fromStr(datagram)
        self.asked.append(name_of(message))
        for data in self.reply(message):
            self.transport.write(data, addr)


class InTCP(Int16StringReceiver):
    """The same over TCP."""

    factory: Any
    transport: Any

    def stringReceived(self, string: bytes) -> None:
        message = dns.Message()
        message.fromStr(string)
        replies = self.factory.reply(message)
        for data in replies:
            self.sendString(data)
        if not replies:
            self.transport.loseConnection()


class ResolverTests(AsyncCase):
    """Real sockets on loopback; trial fails a test that leaves one, or a timer."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def server(self, reply: Reply, in_tcp: Optional[Reply] = None) -> tuple[Server, TcpAddress]:
        """A name server, and its address."""
        server, place = Server(reply), 0
        if in_tcp is not None:
            factory: Any = Factory.forProtocol(InTCP)
            factory.noisy, factory.reply = False, in_tcp
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")
            self.addCleanup(port.stopListening)
            place = port.getHost().port
        udp = reactor.listenUDP(place, server, interface="127.0.0.1")
        self.addCleanup(udp.stopListening)
        return server, TcpAddress("127.0.0.1", udp.getHost().port)

    def resolver(self, *servers: TcpAddress, **options: Any) -> Resolver:
        spec = ResolversSpec(servers, **{"timeout": 0.05, "tries": 1, "hosts": "", **options})
        return Resolver(reactor, spec, os.path.join(self.folder, "resolv.conf"))

    def write(self, name: str, text: str) -> str:
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    # Whom it asks

    async def test_the_next_server(self) -> None:
        """Who is silent, not there, broken or unwilling is passed over."""
        good, at_good = self.server(address)
        nobody = TcpAddress("127.0.0.1", 1)
        for reply in silent, with_code(dns.ESERVER), with_code(dns.EREFUSED):
            bad, at_bad = self.server(reply)
            found = await self.resolver(at_bad, nobody, at_good).host("db.example")
            self.assertEqual((found.addresses, found.trouble), (("10.0.0.1",), ""))
            self.assertEqual(bad.asked, ["db.example"] * 2)

    async def test_all_in_trouble(self) -> None:
        """Each is asked as often as is wanted, and the last trouble is told."""
        bad, at_bad = self.server(silent)
        for first, trouble in (
            (at_bad, f"{at_bad} does not answer"),
            (TcpAddress("127.0.0.1", 1), "127.0.0.1:1 does not listen"),
            (self.server(with_code(dns.ESERVER))[1], "says server failure"),
            (self.server(with_code(9))[1], "says code 9"),
        ):
            found = await self.resolver(first, tries=3).host("db.example")
            self.assertEqual((found.v4, found.v6), (None, None))
            self.assertSubstring(trouble, found.trouble)
        self.assertEqual(len(bad.asked), 6)

    async def test_no_such_name(self) -> None:
        """That there is no such name is an answer: nobody else is asked."""
        other, at_other = self.server(address)
        _, at_first = self.server(with_code(dns.ENAME))
        found = await self.resolver(at_first, at_other).host("db.example")
        self.assertEqual((found.v4, found.v6, other.asked), ((), (), []))

    async def test_one_family_in_trouble(self) -> None:
        """What was learnt of the other one is told."""

        def reply(asked: dns.Message) -> list[bytes]:
            return address(asked) if asked.queries[0].type == dns.A else with_code(dns.ESERVER)(asked)

        _, at = self.server(reply)
        found = await self.resolver(at).host("db.example")
        self.assertEqual((found.v4, found.v6, found.ttl), (("10.0.0.1",), None, 60))
        self.assertEqual(
            found.trouble, f"only of IPv4 addresses something was learnt; {at} says server failure"
        )
        self.assertSubstring("server failure", found.trouble)

    async def test_hosts_file(self) -> None:
        """The names in it are not asked for; a change of it is heeded."""
        server, at = self.server(address)
        hosts = self.write("hosts", "10.9.9.9 db.example\n::9 db.example\n")
        resolver = self.resolver(at, hosts=hosts)
        self.assertEqual(await resolver.host("DB.example"), Answer(("10.9.9.9",), ("::9",)))
        self.write("hosts", "")
        self.assertEqual((await resolver.host("db.example")).v4, ("10.0.0.1",))
        os.unlink(hosts)
        self.assertEqual((await resolver.host("db.example")).v4, ("10.0.0.1",))
        self.assertEqual(len(server.asked), 4)

    async def test_localhost(self) -> None:
        """It is this host, whatever name servers say (RFC 6761)."""
        for name in "localhost", "db.LocalHost.":
            self.assertEqual((await self.resolver().host(name)).addresses, ("::1", "127.0.0.1"))

    async def test_search(self) -> None:
        """A short name is searched in the domains of resolv.conf, until a name service is in trouble."""

        def reply(asked: dns.Message) -> list[bytes]:
            name = name_of(asked)
            if name == "db.b.example":
                return address(asked)
            return with_code(dns.ESERVER if name == "bad.a.example" else dns.ENAME)(asked)

        server, at = self.server(reply)
        self.write("resolv.conf", "search a.example b.example\n")
        resolver = self.resolver()
        self.patch(
            resolver, "_system", lambda own=resolver._system: type(own())((at,), own().domains, own().dots)
        )
        self.assertEqual((await resolver.host("db")).v4, ("10.0.0.1",))
        self.assertEqual(list(dict.fromkeys(server.asked)), ["db.a.example", "db.b.example"])
        server.asked.clear()
        self.assertSubstring("server failure", (await resolver.host("bad")).trouble)
        self.assertEqual(list(dict.fromkeys(server.asked)), ["bad.a.example"])

    async def test_resolv_conf(self) -> None:
        """Without servers of our own those of resolv.conf are asked, as it is at that moment."""
        resolver = self.resolver()
        for line, asked in ("", "127.0.0.1:53"), ("nameserver 127.9.9.9", "127.9.9.9:53"):
            self.write("resolv.conf", line)
            self.assertSubstring(asked, (await resolver.host("db.example")).trouble)

    async def test_a_name_that_is_too_long(self) -> None:
        """Nobody is asked for what can be no name once a domain is appended."""
        self.write("resolv.conf", f"nameserver 127.0.0.1\nsearch {'a.' * 100}example\n")
        found = await self.resolver().host("b" * 60)
        self.assertSubstring("too long", found.trouble)

    # Whom it believes

    async def test_what_is_no_answer(self) -> None:
        """Garbage, other numbers, other questions and questions are not heard; what follows is."""

        def reply(asked: dns.Message) -> list[bytes]:
            other_id, other_name = answer(asked), answer(asked)
            other_id.id ^= 1
            other_name.queries = [dns.Query("other.example", asked.queries[0].type)]
            question, no_question = answer(asked), answer(asked)
            question.answer, no_question.queries = 0, []
            wrong = [message.toStr() for message in (other_id, other_name, question, no_question)]
            return [b"", b"garbage", b"\xff" * 600, *wrong, *address(asked)]

        found = await self.resolver(self.server(reply)[1], timeout=10.0).host("db.example")
        self.assertEqual((found.v4, found.trouble), (("10.0.0.1",), ""))

    async def test_records_of_others(self) -> None:
        """Only what belongs to the name, or to what it is an alias of, is taken; the least TTL holds."""

        def reply(asked: dns.Message) -> list[bytes]:
            name, kind = name_of(asked), asked.queries[0].type
            records = [
                dns.RRHeader("real.example", dns.A, dns.IN, 50, dns.Record_A("10.0.0.1")),
                dns.RRHeader("DB.example", dns.CNAME, dns.IN, 40, dns.Record_CNAME("Middle.example")),
                dns.RRHeader("other.example", dns.A, dns.IN, 1, dns.Record_A("10.9.9.9")),
                dns.RRHeader("middle.example", dns.CNAME, dns.IN, 70, dns.Record_CNAME("real.example")),
                dns.RRHeader("loop.example", dns.CNAME, dns.IN, 70, dns.Record_CNAME("loop.example")),
            ]
            return [answer(asked, *(records if kind == dns.A or name == "loop.example" else ())).toStr()]

        resolver = self.resolver(self.server(reply)[1])
        found = await resolver.host("db.example")
        self.assertEqual((found.addresses, found.ttl), (("10.0.0.1",), 40))
        self.assertEqual((await resolver.host("loop.example")).addresses, ())

    async def test_targets_that_cannot_be(self) -> None:
        """Targets without a name or a port are left out; none at all is no answer (RFC 2782)."""

        def reply(asked: dns.Message) -> list[bytes]:
            name = name_of(asked)
            targets = [("ok.example", 80)] if name == "_some._tcp.example" else []
            targets += [("", 80), ("no.port", 0), ("not/a host", 80)]
            records = [
                dns.RRHeader(name, dns.SRV, dns.IN, 60, dns.Record_SRV(1, 2, port, target))
                for target, port in targets
            ]
            return [answer(asked, *records).toStr()]

        resolver = self.resolver(self.server(reply)[1])
        some = await resolver.services("_some._tcp.example.")
        assert some.each is not None
        self.assertEqual([service.host for service in some.each], ["ok.example"])
        self.assertEqual((await resolver.services("_none._tcp.example")).each, ())

    # TCP

    def truncated(self, asked: dns.Message) -> list[bytes]:
        message = answer(asked)
        message.trunc = 1
        return [message.toStr()]

    async def test_in_tcp(self) -> None:
        """What does not fit into a datagram is asked for in TCP, of the same server."""
        _, at = self.server(self.truncated, address)
        found = await self.resolver(at, timeout=10.0).host("db.example")
        self.assertEqual((found.v4, found.trouble), (("10.0.0.1",), ""))

    async def test_trouble_in_tcp(self) -> None:
        """Who does not listen there, closes, or sends garbage is in trouble."""

        for in_tcp, trouble in (
            (None, "cannot be reached in TCP"),
            (silent, "closed the connection"),
            (lambda asked: [b"garbage"], "sent something else than an answer"),
        ):
            _, at = self.server(self.truncated, in_tcp)
            found = await self.resolver(at, timeout=10.0).host("db.example")
            self.assertEqual(found.v4, None)
            self.assertSubstring(trouble, found.trouble)
            await deferLater(reactor, 0)

    # What it leaves

    async def test_giving_up(self) -> None:
        """To cancel a look-up closes its sockets."""
        server, at = self.server(silent)
        await deferLater(reactor, 0)  # the reactor itself needs some to start
        before = open_files_before()
        asking = Deferred.fromCoroutine(self.resolver(at, timeout=60.0).host("db.example"))
        while len(server.asked) < 2:
            await deferLater(reactor, 0)
        self.assertEqual(open_files(), before + 2)
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
        self.assertEqual(open_files(), before)
