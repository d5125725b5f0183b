"""How do clients leave that get no server: what do they hear, and what is left of them?"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.task import Clock

from proxyd.config.refusal import CLOSE, DROP, RESET, TARPIT, RefuseSpec
from proxyd.errors import Reason
from proxyd.policy.state import State
from proxyd.relay.deadlines import Wheel
from proxyd.relay.refusal import Exit, drop, words
from tests.relay.test_session import SessionCase
from tests.support.case import Case
from tests.support.peer import Ended
from tests.support.streams import FakePeer
from tests.wire.test_refusal import SSL, STARTUP


class Words(SessionCase):
    """A client of a pool of which no server is up."""

    def refused(self, speaks: str, said: bytes = b"", **listener: Any) -> FakePeer:
        """The client, once it has said that and has been refused as far as it goes."""
        client = self.serve([2], retries=0, speaks=speaks, **listener)
        client.send(said)
        self.network.flush()
        return client

    def test_told_at_once(self) -> None:
        """Who waits for the server to speak is told at once, and hears the end of it."""
        client = self.refused("smtp")
        self.assertEqual(client.received, b"421 4.3.2 service unavailable, try again later\r\n")
        client.finish()
        record = self.the_record()
        self.assertEqual((client.ended, record.reason), (Ended.END, Reason.CONNECT_REFUSED))

    def test_what_is_unread_does_not_matter(self) -> None:
        """What a client has sent and goes on sending takes the word from nobody."""
        client = self.refused("http", b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"x" * 40_000)
        client.send(b"y" * 40_000)
        self.network.flush()
        self.assertEqual(client.received, words("http", Reason.CONNECT_REFUSED))
        client.finish()
        self.network.flush()
        self.assertEqual(client.ended, Ended.END)
        self.the_record()

    def test_a_client_that_stays(self) -> None:
        """A client that does not close is cut soon after."""
        self.refused("redis")
        self.pass_time(3.0)
        self.assertEqual(self.the_record().reason, Reason.CONNECT_REFUSED)

    def test_pgsql(self) -> None:
        """PostgreSQL's clients are refused encryption, then heard out, and then told."""
        client = self.refused("pgsql", SSL)
        self.assertEqual(client.received, b"N")
        client.send(STARTUP)
        self.network.flush()
        self.assertEqual(client.received, b"N" + words("pgsql", Reason.CONNECT_REFUSED))
        client.finish()
        self.the_record()

    def test_pgsql_that_only_asks_for_encryption(self) -> None:
        """A client asks for each kind of encryption once; one that goes on asking is closed."""
        client = self.refused("pgsql", SSL * 8000)
        self.assertLessEqual(len(client.received), 2)
        self.assertEqual(self.the_record().reason, Reason.CONNECT_REFUSED)

    def test_pgsql_that_says_nothing(self) -> None:
        """Who says nothing that must be heard is closed without a word, and soon."""
        client = self.refused("pgsql")
        self.pass_time(4.0)
        self.assertEqual((client.received, client.ended), (b"", Ended.END))
        self.the_record()

    def test_another_protocol(self) -> None:
        """So is who speaks something else."""
        client = self.refused("pgsql", b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(client.received, b"")
        self.pass_time(2.0)
        self.the_record()

    def test_a_client_that_leaves(self) -> None:
        """A client that is gone before it could be told leaves nothing, and the reason is the first one."""
        client = self.refused("pgsql", SSL)
        client.reset()
        self.assertEqual(self.the_record().reason, Reason.CONNECT_REFUSED)

    def test_a_client_that_has_finished(self) -> None:
        """A client that has said all is told, and closed."""
        client = self.serve([3], retries=0, speaks="http")
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        client.finish()
        self.network.flush()
        self.pass_time(6.0)
        self.assertEqual(client.received, words("http", Reason.CONNECT_TIMEOUT))
        self.the_record()

    def test_without_words(self) -> None:
        """Without ``speaks`` it is closed, or reset where that is wanted."""
        for how, ended in ((CLOSE, Ended.END), (RESET, Ended.RESET), (TARPIT, Ended.RESET)):
            client = self.refused("", refuse=RefuseSpec(how))
            self.assertEqual((client.received, client.ended), (b"", ended))
            self.the_record()
            self.notebook.records.clear()

    def test_no_server(self) -> None:
        """Nobody is up: it is told, too."""
        client = self.serve([1], speaks="ftp")
        client.finish()
        self.network.flush()
        for peer in self.datapath.peers:
            peer.finish()
        self.the_record()
        self.pool.turned(self.pool.servers[0], State.DOWN, "", 0.0)
        client = self.connect()
        self.assertEqual(client.received, b"421 service unavailable, try again later\r\n")
        client.finish()
        self.network.flush()
        self.assertEqual(self.notebook.records[1].reason, Reason.NO_SERVER)


class Exits(Case):
    """Sockets that were just accepted, and may not come in."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wheel = Wheel(self.clock)

    def sent_away(self, spec: RefuseSpec, times: int = 1) -> tuple[Exit, list[socket.socket]]:
        """The way out, and the clients."""
        way_out = Exit(spec, self.wheel)
        self.addCleanup(way_out.close)
        clients = []
        with socket.create_server(("127.0.0.1", 0)) as server:
            for _ in range(times):
                client = socket.create_connection(server.getsockname())
                self.addCleanup(client.close)
                client.settimeout(20)
                accepted, _ = server.accept()
                way_out.send_away(accepted)
                clients.append(client)
        return way_out, clients

    def hears(self, client: socket.socket) -> str:
        """What the client hears now."""
        client.setblocking(False)
        try:
            return "the end" if client.recv(1) == b"" else "a byte"
        except BlockingIOError:
            return "nothing"
        except ConnectionResetError:
            return "a reset"

    def test_close_and_reset(self) -> None:
        """A closed one hears the end, a reset one the reset; nothing is kept."""
        for how, heard in ((CLOSE, "the end"), (RESET, "a reset")):
            way_out, [client] = self.sent_away(RefuseSpec(how))
            self.assertEqual((self.hears(client), len(way_out), len(self.wheel)), (heard, 0, 0))

    def test_drop(self) -> None:
        """A dropped one hears nothing, or without the privilege a reset if there is no router between."""
        _, [client] = self.sent_away(RefuseSpec(DROP))
        self.assertIn(self.hears(client), ("nothing", "a reset"))

    def test_drop_without_the_privilege(self) -> None:
        """The reset gets no further than the first router, also to an IPv4 client of an IPv6 socket."""

        class Unprivileged:
            def __init__(self, family: int) -> None:
                self.family = family
                self.options: list[tuple[int, int]] = []

            def setsockopt(self, level: int, name: int, value: Any) -> None:
                if (level, name) == (socket.IPPROTO_TCP, 19):
                    raise PermissionError
                self.options.append((level, name))

            def close(self) -> None:
                self.options.append((0, 0))

        ttl, hops = (socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
        linger = (socket.SOL_SOCKET, socket.SO_LINGER)
        for family, limits in ((socket.AF_INET, [ttl]), (socket.AF_INET6, [hops, ttl])):
            skt = Unprivileged(family)
            drop(skt)
            self.assertEqual(skt.options, [*limits, linger, (0, 0)])

    def test_tarpit(self) -> None:
        """One in the tarpit hears nothing until its time is over, and each has a time of its own."""
        way_out, [first] = self.sent_away(RefuseSpec(TARPIT, hold=10.0))
        self.clock.advance(4.0)
        self.assertEqual((self.hears(first), len(way_out)), ("nothing", 1))
        for _ in range(30):
            self.clock.advance(0.25)
        self.assertEqual((self.hears(first), len(way_out), len(self.wheel)), ("a reset", 0, 0))

    def test_tarpit_is_bounded(self) -> None:
        """Whom the tarpit has no room for is reset at once; when it closes, so are all."""
        way_out, clients = self.sent_away(RefuseSpec(TARPIT, most=2), times=4)
        heard = [self.hears(client) for client in clients]
        self.assertEqual((heard, len(way_out)), (["nothing"] * 2 + ["a reset"] * 2, 2))
        way_out.close()
        self.assertEqual([self.hears(client) for client in clients[:2]], ["a reset"] * 2)
        self.assertEqual((len(way_out), len(self.wheel), self.clock.getDelayedCalls()), (0, 0, []))

    def test_a_unix_socket(self) -> None:
        """What has no hop limit is closed."""
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        Exit(RefuseSpec(DROP), self.wheel).send_away(ours)
        self.assertEqual(self.hears(theirs), "the end")
