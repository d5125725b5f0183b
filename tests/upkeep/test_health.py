"""Are servers that fail found out, and servers that work left alone?"""

from __future__ import annotations

import errno
import os
from typing import Any, Optional

from twisted.internet.error import (
    ConnectBindError,
    ConnectError,
    ConnectionRefusedError,
)
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure

from proxyd.config.address import TcpAddress
from proxyd.config.health import CheckSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.probes import KINDS, HttpAsk, RedisAsk, TcpAsk
from proxyd.config.proxyprotocol import ProxyOut
from proxyd.policy.lots import PowerOfTwo
from proxyd.policy.pool import Pool
from proxyd.upkeep.health import PROBES, host_asked
from proxyd.upkeep.probes.conversation import Call
from proxyd.wire import proxyprotocol
from tests.support.case import Case
from tests.upkeep.checking import CHECKING, DOWN, UP, InMemory, no_delay, pool_of


class States(InMemory):
    """What the checks do to a server, and what they say of it."""

    def test_kinds(self) -> None:
        """Each kind that `check =` accepts has a probe, and each probe a word."""
        self.assertEqual(set(PROBES), set(KINDS))

    def test_no_check(self) -> None:
        """A pool without `check =` is left alone, and its servers are up."""
        self.pool = pool_of(TcpAddress("10.0.0.1", 80), check=None)
        checks = self.check()
        self.reactor.pump([1] * 20)
        self.assertEqual(self.attempts(), 0)
        self.assertStill(checks)

    def test_a_clock_that_is_set(self) -> None:
        """The next check comes when it would have come."""
        checks = self.check()
        for by in (-3600.0, 3600.0):
            self.accept()
            self.wall.set(by)
            self.next_check()
        self.accept()
        self.assertStill(checks)

    def test_the_whole_story(self) -> None:
        """Up with the first check, down after three that fail, up after two that pass; a line for each."""
        (server,) = self.pool.servers
        with capturedLogs() as events:
            checks = self.check()
            self.assertIs(server.state, CHECKING)
            self.accept()
            self.assertIs(server.state, UP)
            for state in (UP, UP, DOWN, DOWN, DOWN):
                self.next_check()
                self.refuse()
                self.assertIs(server.state, state)
            self.assertEqual(server.why, "connection refused (3 checks in a row)")
            for state in (DOWN, UP, UP):
                self.next_check()
                self.accept()
                self.assertIs(server.state, state)
        self.assertEqual(
            self.lines(events),
            [
                "info: [pool web] server a (10.0.0.1:80) is up: check passed (first check)",
                "warn: [pool web] server a (10.0.0.1:80) is down: connection refused (3 checks in a row)",
                "info: [pool web] server a (10.0.0.1:80) is up: check passed (2 checks in a row)",
            ],
        )
        self.assertStill(checks)

    def test_first_check_fails(self) -> None:
        """A server that refuses its first check is down at once."""
        with capturedLogs() as events:
            self.check()
            self.refuse()
        self.assertIs(self.pool.servers[0].state, DOWN)
        self.assertEqual(
            self.lines(events),
            ["warn: [pool web] server a (10.0.0.1:80) is down: connection refused (first check)"],
        )

    def test_fall_of_one(self) -> None:
        """With fall = 1 the line does not speak of several checks."""
        self.pool = pool_of(TcpAddress("10.0.0.1", 80), check=CheckSpec(fall=1))
        self.check()
        self.accept()
        self.next_check()
        self.refuse()
        self.assertEqual(self.pool.servers[0].why, "connection refused (1 check)")

    def test_each_server_by_itself(self) -> None:
        """Servers of one pool rise and fall each by its own checks."""
        self.pool = pool_of(TcpAddress("10.0.0.1", 80), TcpAddress("10.0.0.2", 80))
        checks = self.check()
        self.assertEqual([client[0] for client in self.reactor.tcpClients], ["10.0.0.1", "10.0.0.2"])
        self.refuse_host("10.0.0.1")
        self.accept()
        self.assertEqual([server.state for server in self.pool.servers], [DOWN, UP])
        self.assertIs(self.pool.pick(), self.pool.servers[1])
        self.assertStill(checks)

    def refuse_host(self, host: str) -> None:
        for client, connector in zip(self.reactor.tcpClients, self.reactor.connectors):
            if client[0] == host:
                client[2].clientConnectionFailed(connector, Failure(ConnectionRefusedError(111, "")))

    def test_black_hole(self) -> None:
        """A server that does not answer fails its check when the time limit is over, and is let go of."""
        checks = self.check()
        self.reactor.advance(1.9)
        self.assertIs(self.pool.servers[0].state, CHECKING)
        self.reactor.advance(0.2)
        self.assertIs(self.pool.servers[0].state, DOWN)
        self.assertEqual(self.pool.servers[0].why, "no answer within 2s (first check)")
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.assertStill(checks)

    def test_other_errors(self) -> None:
        """What the system says of a failed connection is what the log says."""
        for error, why in (
            (ConnectError(errno.EHOSTUNREACH, "No route to host"), "no route to host (first check)"),
            (ConnectError(errno.ENOENT, ""), "no such file or directory (first check)"),
            (ConnectError(string="odd"), "an error occurred while connecting: odd (first check)"),
        ):
            self.setUp()
            self.check()
            self.fail_with(error)
            self.assertEqual((self.pool.servers[0].state, self.pool.servers[0].why), (DOWN, why))


class Asking(InMemory):
    """What is told of a server that does not answer as it should."""

    def setUp(self) -> None:
        super().setUp()
        self.pool = pool_of(TcpAddress("10.0.0.1", 80), check=CheckSpec("redis", ask=RedisAsk()))

    def test_accepts_and_is_silent(self) -> None:
        """A process that is stopped still accepts, and is down all the same."""
        checks = self.check()
        self.accept()
        self.reactor.advance(2)
        self.assertIs(self.pool.servers[0].state, DOWN)
        self.assertEqual(self.pool.servers[0].why, "no answer to PING within 2s (first check)")
        self.assertStill(checks)

    def test_says_what_is_wrong(self) -> None:
        """What the server did instead is in its snapshot, whether it breaks the protocol or just refuses."""
        for answer, why in (
            (b"-NOAUTH\r\n", "answered -NOAUTH (first check)"),
            (b"SSH-2.0-x\r\n", "sent b'SSH-2.0-x', which is no reply of Redis (first check)"),
        ):
            self.setUp()
            self.check()
            self.accept().protocol.dataReceived(answer)
            self.assertEqual((self.pool.servers[0].state, self.pool.servers[0].why), (DOWN, why))

    def test_remark(self) -> None:
        """What is to be known of a server that works is said, once for as long as it is the same."""
        remarks = iter(["it is old", "it is old", "", "it is old"])

        async def remarking(call: Call, ask: Any) -> str:
            return next(remarks)

        self.patch(self, "pool", pool_of(TcpAddress("10.0.0.1", 80), check=CheckSpec(kind="remarking")))
        PROBES["remarking"] = remarking
        self.addCleanup(PROBES.pop, "remarking")
        with capturedLogs() as events:
            checks = self.check()
            self.reactor.pump([5, 5, 5])
        about = "[pool web] server a (10.0.0.1:80)"
        remark = f"{about} passes its check, but it is old"
        up = f"info: {about} is up: check passed (first check)"
        self.assertEqual(self.lines(events), [f"warn: {remark}", up, f"warn: {remark}"])
        self.assertIs(self.pool.servers[0].state, UP)
        self.assertStill(checks)


class Elsewhere(InMemory):
    """Where servers are checked, and what a check begins with."""

    def first_words(self, check: CheckSpec, header: Optional[ProxyOut]) -> tuple[str, int, bytes]:
        self.setUp()
        servers = (ServerSpec("a", TcpAddress("10.0.0.1", 80)),)
        spec = PoolSpec("web", servers, checks=(check,), proxy_protocol=header)
        self.pool = Pool(spec, PowerOfTwo(no_delay))
        self.check()
        host, port, *_ = self.reactor.tcpClients[0]
        return host, port, self.accept().value()

    def test_port_and_address(self) -> None:
        """Another port is one of the server, another address is what it says."""
        self.assertEqual(self.first_words(CheckSpec(port=81), None)[:2], ("10.0.0.1", 81))
        other = CheckSpec(address=TcpAddress("10.0.0.9", 82))
        self.assertEqual(self.first_words(other, None)[:2], ("10.0.0.9", 82))

    def test_header(self) -> None:
        """Checks where clients are led begin with the pool's PROXY header; elsewhere only if told to."""
        header = b"PROXY UNKNOWN\r\n"
        for check, words in (
            (CheckSpec(), header),
            (CheckSpec(port=81), b""),
            (CheckSpec(port=81, send_proxy=True), header),
        ):
            self.assertEqual(self.first_words(check, ProxyOut(1))[2], words)


class Pace(InMemory):
    """How often a server is checked, going by what is known of it."""

    def test_fast_and_slow(self) -> None:
        """One that begins to fail, or to pass, is looked at more often; one that is down less often."""
        spec = CheckSpec(interval=5, fast=1, slow=20, timeout=0.5, rise=2, fall=2)
        self.pool = pool_of(TcpAddress("10.0.0.1", 80), check=spec)
        checks = self.check()
        for outcome, pause in (
            (self.accept, 5),
            (self.refuse, 1),
            (self.accept, 5),
            (self.refuse, 1),
            (self.refuse, 20),
            (self.accept, 1),
            (self.accept, 5),
        ):
            outcome()
            before = self.attempts()
            self.reactor.advance(pause - 0.01)
            self.assertEqual(self.attempts(), before)
            self.reactor.advance(0.02)
            self.assertEqual(self.attempts(), before + 1)
        self.assertStill(checks)


class OurOwnTrouble(InMemory):
    """A check that could not be made says nothing about the server."""

    def out_of_descriptors(self) -> None:
        self.fail_with(ConnectBindError(errno.EMFILE, "Too many open files"))

    def test_up_stays_up(self) -> None:
        """When we have no descriptor left a server that is up stays up, and one line says what is wrong."""
        with capturedLogs() as events:
            checks = self.check()
            self.accept()
            for _ in range(10):
                self.next_check()
                self.out_of_descriptors()
        self.assertIs(self.pool.servers[0].state, UP)
        self.assertEqual(
            self.lines(events)[1:],
            ["warn: [pool web] server a (10.0.0.1:80) cannot be checked, and stays up: too many open files"],
        )
        self.assertStill(checks)

    def test_down_stays_down(self) -> None:
        """Neither does it bring a server up that is down."""
        self.check()
        self.refuse()
        for _ in range(5):
            self.next_check()
            self.out_of_descriptors()
        self.assertIs(self.pool.servers[0].state, DOWN)

    def test_not_counted(self) -> None:
        """It neither adds to a row of failures nor ends it."""
        self.check()
        self.accept()
        for fail in (self.refuse, self.out_of_descriptors, self.refuse, self.out_of_descriptors):
            self.next_check()
            fail()
        self.assertIs(self.pool.servers[0].state, UP)
        self.next_check()
        self.refuse()
        self.assertIs(self.pool.servers[0].state, DOWN)

    def test_first_check(self) -> None:
        """A first check that cannot be made leaves the server unchecked, and so still in use."""
        self.check()
        self.out_of_descriptors()
        self.assertIs(self.pool.servers[0].state, CHECKING)
        self.assertIs(self.pool.pick(), self.pool.servers[0])

    def test_every_kind(self) -> None:
        """No descriptor in the system, no local port, no memory, and our own firewall are not its fault."""
        for code in (
            errno.ENFILE,
            errno.EADDRNOTAVAIL,
            errno.ENOBUFS,
            errno.ENOMEM,
            errno.EPERM,
            errno.EACCES,
        ):
            self.setUp()
            self.check()
            self.fail_with(ConnectError(code, os.strerror(code)))
            self.assertIs(self.pool.servers[0].state, CHECKING, os.strerror(code))

    def test_before_the_connection(self) -> None:
        """Whatever keeps us from having a socket of our own at all is not its fault."""
        self.check()
        self.fail_with(ConnectBindError(errno.EADDRINUSE, "Address already in use"))
        self.assertIs(self.pool.servers[0].state, CHECKING)

    def test_a_broken_probe(self) -> None:
        """A fault in the probe itself is logged with its traceback, and the server stays as it is."""

        async def broken(call: Call, ask: Any) -> str:
            raise ZeroDivisionError("a bug")

        self.patch(self, "pool", pool_of(TcpAddress("10.0.0.1", 80), check=CheckSpec(kind="broken")))
        PROBES["broken"] = broken
        self.addCleanup(PROBES.pop, "broken")
        checks = self.check()
        self.reactor.advance(20)
        self.assertIs(self.pool.servers[0].state, CHECKING)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertStill(checks)


class ByName(InMemory):
    """Servers that are checked at an address that is given by a name, by ``address=``."""

    def setUp(self) -> None:
        super().setUp()
        elsewhere = TcpAddress("db.example", 80)
        self.pool = pool_of(TcpAddress("10.0.0.1", 80), check=CheckSpec(address=elsewhere))

    def test_resolved(self) -> None:
        """A name is looked up for each check."""
        checks = self.check()
        self.names.answer("10.0.0.7")
        self.accept()
        self.assertEqual(self.reactor.tcpClients[0][:2], ("10.0.0.7", 80))
        self.assertIs(self.pool.servers[0].state, UP)
        self.assertStill(checks)

    def test_unknown(self) -> None:
        """A name that is not found leaves a new server unchecked, and one that was up as it was."""
        checks = self.check()
        self.names.answer()
        self.assertIs(self.pool.servers[0].state, CHECKING)
        self.next_check()
        self.names.answer("10.0.0.7")
        self.accept()
        with capturedLogs() as events:
            for _ in range(5):
                self.next_check()
                self.names.answer()
        self.assertIs(self.pool.servers[0].state, UP)
        self.assertEqual(len(events), 1)
        self.assertEqual(events[0]["log_level"], LogLevel.warn)
        self.assertSubstring(
            "server a (10.0.0.1:80) cannot be checked, and stays up: its name did not resolve",
            formatEvent(events[0]),
        )
        self.assertStill(checks)

    def test_slow(self) -> None:
        """A name service that does not answer in time takes down nobody, and may answer late."""
        checks = self.check()
        self.names.answer("10.0.0.7")
        self.accept()
        self.next_check()
        for _ in range(5):
            self.reactor.advance(2)
            self.names.answer("10.0.0.7")
            self.reactor.advance(3)
        self.assertIs(self.pool.servers[0].state, UP)
        self.assertEqual(self.attempts(), 1)
        self.assertStill(checks)

    def test_black_hole(self) -> None:
        """A server whose name is found, but who does not answer, is down."""
        checks = self.check()
        self.names.answer("10.0.0.7")
        self.reactor.advance(2)
        self.assertIs(self.pool.servers[0].state, DOWN)
        self.assertStill(checks)

    def test_stopped_while_asking(self) -> None:
        """To stop while a name is looked up leaves nothing and says nothing."""
        with capturedLogs() as events:
            checks = self.check()
            self.assertStill(checks)
            self.names.answer("10.0.0.7")
        self.assertEqual(events, [])
        self.assertEqual(self.attempts(), 0)


class Closing(InMemory):
    """How a probe takes its leave."""

    def test_fin(self) -> None:
        """A connection that was accepted is closed at once, in the ordinary way and without a word."""
        self.check()
        transport = self.accept()
        self.assertTrue(transport.disconnecting)
        self.assertFalse(transport.aborted)
        self.assertEqual(transport.value(), b"")

    def test_header(self) -> None:
        """A server that expects a PROXY header is told that the connection is ours (LOCAL, UNKNOWN)."""
        for wanted, header in (
            (ProxyOut(1), b"PROXY UNKNOWN\r\n"),
            (ProxyOut(2, unique_id=True), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"),
            (ProxyOut(2, crc32c=True), proxyprotocol.v2_local(crc32c=True)),
        ):
            self.setUp()
            self.pool = pool_of(TcpAddress("10.0.0.1", 80), proxy_protocol=wanted)
            checks = self.check()
            transport = self.accept()
            self.assertEqual((transport.value(), transport.disconnecting), (header, True))
            self.assertIs(self.pool.servers[0].state, UP)
            self.assertStill(checks)

    def test_abort(self) -> None:
        """One that does not close within a second is aborted; the check has passed all the same."""
        checks = self.check()
        transport = self.accept(closes=False)
        self.reactor.advance(0.9)
        self.assertFalse(transport.aborted)
        self.reactor.advance(0.2)
        self.assertTrue(transport.aborted)
        self.assertIs(self.pool.servers[0].state, UP)
        self.assertStill(checks)

    def test_accepted_at_the_last_moment(self) -> None:
        """A server that accepts just before the time limit has passed, however long the closing takes."""
        checks = self.check()
        self.reactor.advance(1.9)
        transport = self.accept(closes=False)
        self.reactor.advance(0.2)
        self.assertTrue(transport.aborted)
        self.assertIs(self.pool.servers[0].state, UP)
        self.assertStill(checks)

    def test_stopped_while_connecting(self) -> None:
        """To stop while a connection is being made gives it up, and is no failure of the server."""
        with capturedLogs() as events:
            checks = self.check()
            self.assertStill(checks)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.assertIs(self.pool.servers[0].state, CHECKING)
        self.assertEqual(events, [])

    def test_stopped_while_closing(self) -> None:
        """To stop while a connection is being closed aborts it."""
        with capturedLogs() as events:
            checks = self.check()
            transport = self.accept(closes=False)
            self.assertStill(checks)
        self.assertTrue(transport.aborted)
        self.assertEqual(events, [])


class NameTests(Case):
    def test_host_asked(self) -> None:
        """A check of HTTP asks in TLS for the host that it asks for within; others ask for nothing."""
        for ask, name in (
            (HttpAsk(host="Www.example.com:443"), "www.example.com"),
            (HttpAsk(host="www.example.com"), "www.example.com"),
            (HttpAsk(), ""),
            (HttpAsk(host="b\u00fccher.example"), ""),
            (HttpAsk(host="[::1]:80"), ""),
            (TcpAsk(), ""),
        ):
            self.assertEqual(host_asked(ask), name)
