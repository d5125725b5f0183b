"""Is done what was decided, does every wait for TLS end, and who is told what then?"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from proxyd.config.tls import TlsSpec
from proxyd.errors import DialFailed, Reason
from proxyd.policy.bans import Bans
from proxyd.policy.limits import Limits
from proxyd.records import Record
from proxyd.relay.pair import ProxyClient
from proxyd.relay.starttls import ask
from proxyd.relay.tally import Tally
from proxyd.wire.refusal import SSL_REQUEST
from tests.relay.test_session import FakeDatapath, SessionCase
from tests.support.peer import Ended
from tests.support.relay import ANY_PORT
from tests.support.streams import FakePeer
from tests.support.tls import Asking
from tests.wire.starttls.test_mysql import greeting, login
from tests.wire.starttls.test_pgsql import HELLO, STARTUP

GREETING = b"220 mail.example ESMTP\r\n"
EHLO = b"EHLO client.example\r\n"
PLAIN = b"250-mail.example\r\n250 HELP\r\n"
WITH = b"250-mail.example\r\n250-HELP\r\n250 STARTTLS\r\n"
GO = b"220 2.0.0 ready to start TLS\r\n"
LATER = b"421 4.3.2 service unavailable, try again later\r\n"


class Noting(FakeDatapath):
    """TLS begins, which is noted; it stands when the test says so."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.begun: list[tuple[Any, bytes]] = []  # by whom, and with what that was read already

    def start_tls(self, side: Any, tls: Any, early: bool = False) -> None:
        assert early or not side.held
        self.begun.append((side, side.held))
        side.held = b""


class Agreeing(SessionCase):
    """A client and a server that agree on TLS."""

    datapath: Noting

    def setUp(self) -> None:
        super().setUp()
        self.datapath = Noting(self.network)

    def talk(self, speaks: str, **listener: Any) -> FakePeer:
        """A client of a listener that ends TLS."""
        return self.serve([1], binds=(ANY_PORT,), speaks=speaks, tls=TlsSpec(("certificates",)), **listener)

    @property
    def server(self) -> FakePeer:
        return self.datapath.peers[0]

    def say(self, peer: FakePeer, data: bytes) -> None:
        peer.send(data)
        self.network.flush()

    def secured(self) -> None:
        """TLS that has begun stands."""
        self.datapath.begun[-1][0].handshakeCompleted()
        self.network.flush()

    def ended(self) -> Record:
        """The record, once both peers have closed as well."""
        for peer in self.network_peers():
            peer.finish()
        self.network.flush()
        return self.the_record()

    def network_peers(self) -> list[FakePeer]:
        return [self.client, *self.datapath.peers]

    def smtp(self, **listener: Any) -> None:
        """A mail client that was offered TLS."""
        self.client = self.talk("smtp", **listener)
        self.say(self.server, GREETING)
        self.say(self.client, EHLO)
        self.say(self.server, PLAIN)
        self.assertEqual(self.client.received, GREETING + WITH)


class Behind(Agreeing):
    """With servers that speak first."""

    def test_a_whole_mail(self) -> None:
        """TLS begins, and what is within goes to the server as it is."""
        self.smtp()
        self.say(self.client, b"STARTTLS\r\n")
        self.assertEqual(self.client.received, GREETING + WITH + GO)
        ((side, early),) = self.datapath.begun
        self.assertEqual((side.pair.client, early), (side, b""))
        self.secured()
        self.say(self.client, EHLO)
        self.say(self.server, PLAIN)
        self.say(self.client, b"MAIL FROM:<a@example>\r\nand more")
        self.assertEqual(self.server.received, EHLO * 2 + b"MAIL FROM:<a@example>\r\nand more")
        self.say(self.server, b"250 as it is\r\n")
        self.assertTrue(self.client.received.endswith(b"250 as it is\r\n"))
        self.assertEqual(self.ended().reason, Reason.CLIENT_FINISHED)

    def test_no_tls(self) -> None:
        """A client that never begins TLS is let go in time, and told."""
        self.smtp(handshake_timeout=3.0)
        self.pass_time(4)
        self.assertTrue(self.client.received.endswith(LATER))
        record = self.ended()
        self.assertEqual((record.reason, record.detail), (Reason.OPENING_TIMEOUT, "it did not begin TLS"))

    def test_endless_handshake(self) -> None:
        """So is one that begins it and never comes to an end."""
        self.smtp(handshake_timeout=3.0)
        self.say(self.client, b"STARTTLS\r\n")
        self.pass_time(4)
        record = self.ended()
        self.assertEqual(record.reason, Reason.OPENING_TIMEOUT)
        self.assertEqual(record.detail, "it did not finish the TLS handshake")

    def test_a_client_that_takes_its_time(self) -> None:
        """Once there is TLS a client may be silent as long as anywhere."""
        self.smtp(handshake_timeout=3.0, idle_timeout=30.0)
        self.say(self.client, b"STARTTLS\r\n")
        self.secured()
        self.pass_time(20)
        self.say(self.client, EHLO)
        self.assertEqual(self.server.received, EHLO * 2)
        self.say(self.server, PLAIN)
        self.pass_time(40)
        self.assertEqual(self.ended().reason, Reason.IDLE_TIMEOUT)

    def test_a_silent_server(self) -> None:
        """It is the server's fault if it does not greet."""
        self.client = self.talk("smtp", idle_timeout=5.0)
        self.pass_time(7)
        self.assertEqual(self.client.received, LATER)
        record = self.ended()
        self.assertEqual(record.reason, Reason.STARTTLS_REFUSED)
        self.assertEqual(record.detail, "did not answer in time, before TLS was agreed on")

    def test_a_client_that_leaves(self) -> None:
        """Its end is passed on, and the server's ends it all; so is a reset."""
        self.smtp()
        self.client.finish()
        self.network.flush()
        self.assertIs(self.server.ended, Ended.END)
        self.server.finish()
        record = self.the_record()
        self.assertEqual(record.reason, Reason.CLIENT_GONE)

    def test_a_client_that_is_lost(self) -> None:
        """Nobody waits for it, and the server is let go."""
        self.smtp()
        self.client.reset()
        self.network.flush()
        self.assertIs(self.server.ended, Ended.RESET)
        self.assertEqual(self.the_record().reason, Reason.CLIENT_GONE)

    def test_a_server_that_leaves(self) -> None:
        """Its client is told, in the words of the protocol."""
        for end in (FakePeer.finish, FakePeer.reset):
            self.setUp()
            self.smtp()
            end(self.server)
            self.network.flush()
            self.assertEqual(self.client.received, GREETING + WITH + LATER)
            record = self.ended()
            self.assertEqual(record.reason, Reason.STARTTLS_REFUSED)

    def test_injected(self) -> None:
        """Whoever is behind what looks like a client, its words go to nobody, and nothing is answered."""
        self.smtp()
        self.say(self.client, b"STARTTLS\r\nRSET\r\n")
        self.assertEqual((self.client.received, self.server.received), (GREETING + WITH, EHLO))
        self.assertEqual((self.ended().reason, self.datapath.begun), (Reason.STARTTLS_MALFORMED, []))

    def test_leave_is_taken(self) -> None:
        """When QUIT was answered, both are closed in order."""
        self.smtp()
        self.say(self.client, b"QUIT\r\n")
        self.say(self.server, b"221 bye\r\n")
        self.assertTrue(self.client.received.endswith(b"221 bye\r\n"))
        self.assertIs(self.server.ended, Ended.END)
        self.assertEqual(self.ended().reason, Reason.CLIENT_FINISHED)

    def test_cut(self) -> None:
        """A stop of the daemon ends it as anything else."""
        self.smtp()
        (session,) = self.factory.sessions
        session.cut(Reason.DRAINED)
        self.assertEqual(self.ended().reason, Reason.DRAINED)

    def test_counted(self) -> None:
        """A client that owes TLS is in the midst of its opening until that stands."""
        self.client = self.talk("smtp")
        self.client.reset()
        self.the_record()
        self.notebook.records.clear()
        limits = Limits(self.factory.spec)
        self.factory.tally = Tally("front", limits, (), Bans(1), self.clock.seconds, self.wall)
        self.client = self.connect()
        self.assertEqual(limits.handshakes, 0)
        self.say(self.datapath.peers[-1], GREETING)
        self.assertEqual(limits.handshakes, 1)
        self.say(self.client, b"STARTTLS\r\n")
        self.assertEqual(limits.handshakes, 1)
        self.secured()
        self.assertEqual(limits.handshakes, 0)
        self.assertEqual(self.ended().reason, Reason.CLIENT_GONE)

    def test_mysql_is_numbered(self) -> None:
        """A refusal of MySQL has the number that its client waits for."""
        self.client = self.talk("mysql")
        self.say(self.server, greeting(False))
        before = len(self.client.received)
        self.say(self.client, len(login(False)).to_bytes(3, "little") + b"\1" + login(False))
        self.assertEqual(self.client.received[before + 3], 2)
        self.assertIn(b"#HY000Connections using insecure transport", self.client.received)
        self.assertEqual((self.ended().reason, self.server.received), (Reason.TLS_REQUIRED, b""))


class Before(Agreeing):
    """PostgreSQL, whose clients are heard before a server is dialed."""

    def test_asked_for(self) -> None:
        """A server is dialed when a startup packet has come by TLS."""
        self.client = self.talk("pgsql")
        self.say(self.client, SSL_REQUEST)
        self.assertEqual((self.client.received, len(self.datapath.begun)), (b"S", 1))
        self.secured()
        self.say(self.client, STARTUP[:9])
        self.assertEqual(self.datapath.dialed, [])
        self.say(self.client, STARTUP[9:])
        self.assertEqual(self.server.received, STARTUP)
        self.assertEqual(self.ended().reason, Reason.CLIENT_FINISHED)

    def test_refused(self) -> None:
        """One without TLS is told, and costs no server anything."""
        self.client = self.talk("pgsql")
        self.say(self.client, STARTUP)
        self.assertIn(b"C28000\0MTLS is required\0", self.client.received)
        self.assertEqual((self.ended().reason, self.datapath.dialed), (Reason.TLS_REQUIRED, []))

    def test_at_once(self) -> None:
        """TLS that begins with the first byte must be for PostgreSQL (ALPN), as it is not here."""
        self.client = self.talk("pgsql")
        self.say(self.client, HELLO)
        self.assertEqual(self.datapath.begun[0][1], HELLO)
        self.secured()
        self.say(self.client, STARTUP)
        record = self.ended()
        self.assertEqual((record.reason, self.datapath.dialed), (Reason.TLS_HANDSHAKE, []))

    def test_silent(self) -> None:
        """One that says nothing within TLS waits no longer than for that."""
        self.client = self.talk("pgsql", handshake_timeout=3.0)
        self.say(self.client, SSL_REQUEST)
        self.secured()
        self.pass_time(4)
        record = self.ended()
        self.assertEqual(record.detail, "it did not go on after TLS had begun")

    def test_gone(self) -> None:
        """One that leaves before it has said enough was no client."""
        self.client = self.talk("pgsql")
        self.say(self.client, SSL_REQUEST[:5])
        self.client.finish()
        self.assertEqual(self.ended().reason, Reason.CLIENT_GONE)


class Asks(Agreeing):
    """A server that is asked for TLS before its side of the session is connected."""

    def setUp(self) -> None:
        super().setUp()
        self.tls = Asking(preface=b"PROXY\r\n")
        self.told: list[str] = []
        self.side = ProxyClient(self)
        self.asked: Deferred[Any] = Deferred.fromCoroutine(
            ask("smtp", self.dial, self.datapath, self.tls, self.side)
        )

    parting = False

    def side_spoke(self, side: Any) -> None:
        self.told.append("spoke")

    def side_lost(self, side: Any, orderly: bool, detail: str = "") -> None:
        self.told.append("lost")

    def dial(self, side: ProxyClient) -> Deferred[Any]:
        reached: Deferred[Any] = Deferred()
        self.datapath.peers.append(self.network.connect(side))
        reached.callback("where")
        return reached

    def test_asked(self) -> None:
        """The side is connected when TLS stands, with the greeting that its client has not heard."""
        self.say(self.server, GREETING)
        self.say(self.server, PLAIN)
        self.assertEqual(self.server.received, b"PROXY\r\nEHLO localhost\r\nSTARTTLS\r\n")
        self.assertFalse(self.side.connected)
        self.say(self.server, b"220 go\r\n")
        self.secured()
        self.assertEqual(self.successResultOf(self.asked), "where")
        self.assertEqual((self.side.connected, self.side.held, self.told), (True, GREETING, []))
        self.say(self.server, b"more")
        self.assertEqual((self.side.held, self.told), (GREETING + b"more", ["spoke"]))
        self.server.reset()
        self.network.flush()
        self.assertEqual(self.told, ["spoke", "lost"])

    def test_refused(self) -> None:
        """A server that would not is let go, and its side was never connected."""
        self.say(self.server, b"554 no\r\n")
        failed = self.failureResultOf(self.asked, DialFailed)
        self.assertEqual(
            (failed.value.reason, failed.value.detail), (Reason.STARTTLS_REFUSED, "greets with 554 no")
        )
        self.assertEqual((self.side.connected, self.told, self.tls.told), (False, [], []))
        self.assertIs(self.server.ended, Ended.RESET)

    def test_no_handshake(self) -> None:
        """TLS that fails is told to whoever keeps its sessions."""
        for said in (GREETING, PLAIN, b"220 go\r\n"):
            self.say(self.server, said)
        self.server.reset()
        self.network.flush()
        failed = self.failureResultOf(self.asked, DialFailed)
        self.assertEqual(failed.value.reason, Reason.CONNECT_TLS)
        self.assertEqual(self.tls.told, [f"failed {failed.value.detail}"])

    def test_cancelled(self) -> None:
        """Who does not wait any more ends it at once."""
        self.say(self.server, GREETING)
        self.asked.cancel()
        self.failureResultOf(self.asked, CancelledError)
        self.network.flush()
        self.assertIs(self.server.ended, Ended.RESET)
        self.assertEqual(self.network.open(), [])
