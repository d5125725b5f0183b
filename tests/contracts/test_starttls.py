"""TLS that begins on a dial, or on a connection that has been plain before, on the lane and on Twisted's."""

from __future__ import annotations

from typing import Any, Union

from OpenSSL import SSL
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHandshakeListener
from zope.interface import implementer

from proxyd.config.address import Addresses, TcpAddress
from proxyd.errors import DialFailed, Reason, Refused
from proxyd.relay.streams import ssl_connection
from proxyd.relay.tls.parts import server_part
from tests.contracts.stream import Producer, Recorder, StreamCase
from tests.contracts.test_lane import LaneWorld
from tests.contracts.tlsworlds import StockTLSWorld, TLSWorld
from tests.contracts.worlds import PLENTY, SocketWorld
from tests.support.case import AsyncCase
from tests.support.peer import Peer, SocketPeer, listening_socket
from tests.support.tls import Asking, TLSPeer, client_part, server_context

FAMILY = SocketWorld.family


@implementer(IHandshakeListener)
class Talker(Recorder):
    """A protocol that may hold what it has heard, as sides do, and is told of the handshake."""

    held = b""

    def handshakeCompleted(self) -> None:
        self.note("stands")


class PlainFirst(TLSWorld):
    """Connections that begin without TLS."""

    speaks = False

    async def make_transport(self, factory: Any) -> Any:
        return await LaneWorld.make_transport(self, factory)

    def secure(self, peer: Peer, serves: bool) -> TLSPeer:
        """The same far end, speaking TLS from now on, as its server or its client."""
        assert isinstance(peer, SocketPeer)
        skt = peer.detach()
        secured = TLSPeer(
            self.reactor, skt, server_part(server_context(), skt) if serves else client_part(skt)
        )
        self.peers[self.peers.index(peer)] = secured
        return secured


class StockPlainFirst(StockTLSWorld, PlainFirst):
    """The same on Twisted's transports."""

    async def make_transport(self, factory: Any) -> Any:
        return await SocketWorld.make_transport(self, factory)


class StartTLSContract:
    """What holds for TLS that begins later."""

    async def begin(self: Any, tls: Union[SSL.Context, Asking]) -> None:
        """Speak TLS on the plain connection that there is."""
        plain = self.transport
        self.world.datapath().start_tls(self.protocol, tls)
        self.transport = self.protocol.transport
        self.assertIsNot(self.transport, plain)
        self.world.transports.append(self.transport)
        self.peer = self.world.secure(self.peer, isinstance(tls, Asking))

    async def talk(self: Any) -> None:
        """Both ways, and much of it."""
        before = len(self.protocol.data)
        self.peer.send(bytes(PLENTY))
        self.transport.write(bytes(PLENTY))
        await self.peer.receives(PLENTY)
        await self.receives(before + PLENTY)
        self.assertEqual(self.protocol.events, ["stands"])
        self.assertIsNotNone(ssl_connection(self.transport))

    async def test_the_peer_is_the_client(self: Any) -> None:
        """After some plain words both speak TLS, and nothing of it is seen."""
        await self.connect(Talker())
        self.assertIsNone(ssl_connection(self.transport))
        self.peer.send(b"STARTTLS")
        await self.receives(8)
        self.transport.write(b"go")
        await self.peer.receives(2)
        await self.begin(server_context())
        await self.talk()

    async def test_we_are_the_client(self: Any) -> None:
        """The other way round: we ask, and judge the server."""
        tls = Asking()
        await self.connect(Talker())
        await self.begin(tls)
        await self.talk()
        self.assertEqual(tls.told, ["connection", "established True"])
        self.transport.abortConnection()
        await self.happens("lost")
        self.assertEqual(tls.told[2:], ["ended True"])

    async def test_a_server_that_is_refused(self: Any) -> None:
        """What we think of the server ends the connection, and says why."""
        tls = Asking(DialFailed(Reason.CONNECT_TLS, "not who it should be"))
        await self.connect(Talker())
        await self.begin(tls)
        await self.happens("lost")
        self.assertIn("not who it should be", str(self.protocol.why.value))
        self.assertEqual(self.protocol.events, ["lost"])
        self.assertEqual(tls.told, ["connection", "established True"])

    async def test_what_is_held_is_refused(self: Any) -> None:
        """Bytes that came without TLS are not taken for such as came under it."""
        await self.connect(Talker())
        self.protocol.held = b"MAIL FROM:<mallory>"
        datapath = self.world.datapath()
        refused = self.assertRaises(Refused, datapath.start_tls, self.protocol, server_context())
        self.assertEqual(refused.reason, Reason.TLS_HANDSHAKE)
        self.assertIn("19 bytes", refused.detail)
        self.assertIsNone(ssl_connection(self.protocol.transport))

    async def test_what_is_held_may_be_the_beginning(self: Any) -> None:
        """Who begins TLS without waiting for an answer may have been read already."""
        await self.connect(Talker())
        self.peer = self.world.secure(self.peer, False)
        await self.receives(100)
        self.protocol.held, self.protocol.data = bytes(self.protocol.data), bytearray()
        self.world.datapath().start_tls(self.protocol, server_context(), early=True)
        self.world.transports.append(self.protocol.transport)
        self.transport = self.protocol.transport
        await self.talk()
        self.assertEqual(self.protocol.held, b"")

    async def test_a_producer_stays(self: Any) -> None:
        """Who fed the connection before feeds it then."""
        producer = Producer()
        await self.connect(Talker())
        self.transport.registerProducer(producer, True)
        await self.begin(server_context())
        await self.talk()
        self.assertRaises(RuntimeError, self.transport.registerProducer, Producer(), True)
        self.assertEqual(producer.told[:2], ["pause", "resume"])
        self.transport.unregisterProducer()

    async def test_plain_bytes_that_come_instead(self: Any) -> None:
        """They are no handshake, and end it."""
        await self.connect(Talker())
        self.world.datapath().start_tls(self.protocol, server_context())
        self.world.transports.append(self.protocol.transport)
        self.peer.send(b"MAIL FROM:<mallory>\r\n")
        await self.is_lost(ConnectionLost)
        self.assertEqual((self.protocol.events, bytes(self.protocol.data)), (["lost"], b""))


class StartTLSTests(StartTLSContract, StreamCase):
    make_world = PlainFirst

    async def test_what_waits_goes_before(self) -> None:
        """What was written before and has not left yet does so without TLS."""
        await self.connect(Talker())
        self.peer.stop_reading()
        self.transport.write(bytes(PLENTY))
        await self.world.turns()
        self.world.datapath().start_tls(self.protocol, server_context())  # type: ignore[attr-defined]
        self.world.transports.append(self.protocol.transport)  # type: ignore[attr-defined]
        self.protocol.transport.write(b"under TLS")
        self.peer.read_again()
        self.assertEqual(await self.peer.receives(PLENTY), bytes(PLENTY))
        await self.world.turns()
        self.assertEqual(self.peer.count, PLENTY)


class StockStartTLSTests(StartTLSContract, StreamCase):
    make_world = StockPlainFirst


class DialTLSContract:
    """What holds for dials with TLS."""

    async def dial(self: Any, tls: Asking, ssl: bool = True) -> Any:
        """Begin to dial, and accept it."""
        self.protocol = Talker()
        self.listener = listening_socket(FAMILY, 65536)
        self.addCleanup(self.listener.close)
        host, port = self.listener.getsockname()[:2]
        dialed = self.world.datapath().dial(TcpAddress(host, port), self.protocol, tls=tls)
        self.listener.setblocking(False)
        theirs = None
        while theirs is None:
            await self.world.turns(1)
            try:
                theirs, _ = self.listener.accept()
            except BlockingIOError:
                pass
        theirs.setblocking(False)
        if ssl:
            self.peer: Peer = TLSPeer(real_reactor, theirs, server_part(server_context(), theirs))
        else:
            self.peer = SocketPeer(real_reactor, theirs)
        self.world.peers.append(self.peer)
        return dialed

    async def fails(self: Any, tls: Asking, dialed: Any, *said: str) -> None:
        try:
            await self.world.until(dialed)
        except DialFailed as failed:
            self.assertEqual(failed.reason, Reason.CONNECT_TLS)
            self.assertIn(failed.detail, said)
            self.assertEqual(tls.told[-1], f"failed {failed.detail}")
        else:
            self.fail("it was reached")
        self.assertEqual((self.protocol.events, self.protocol.transport), ([], None))

    async def test_it_fires_when_the_handshake_stands(self: Any) -> None:
        """Not before; then the side is connected, and what the server says at once is delivered."""
        tls = Asking()
        dialed = await self.dial(tls)
        self.peer.send(b"welcome")
        await self.world.until(dialed)
        self.assertEqual(tls.told, ["connection", "established True"])
        await self.world.until(self.protocol.receives(7))
        self.protocol.transport.write(b"thanks")
        self.assertEqual(await self.peer.receives(6), b"thanks")
        self.assertIsNotNone(ssl_connection(self.protocol.transport))
        self.protocol.transport.abortConnection()
        await self.world.until(self.protocol.happens("lost"))
        self.assertEqual(tls.told[2:], ["ended True"])

    async def test_a_preface(self: Any) -> None:
        """What is to be said before TLS arrives before the hello."""
        dialed = await self.dial(Asking(preface=b"PROXY UNKNOWN\r\n"), ssl=False)
        said = await self.peer.receives(100)
        self.assertEqual((said[:15], said[15:17]), (b"PROXY UNKNOWN\r\n", b"\x16\x03"))
        dialed.addErrback(lambda failure: failure.trap(CancelledError))
        dialed.cancel()
        await self.peer.sees_either()

    async def test_a_server_that_speaks_something_else(self: Any) -> None:
        """It was not reached, and the side knows nothing of it."""
        tls = Asking()
        dialed = await self.dial(tls, ssl=False)
        self.peer.send(b"220 mail.example.com ESMTP\r\n")
        said = "TLS: the server does not speak it"
        whys = ("wrong version number", "packet length too long")
        await self.fails(tls, dialed, *(f"{said} ({why})" for why in whys))

    async def test_a_server_that_leaves(self: Any) -> None:
        """Nor one that closes or resets."""
        for leaves, said in (("finish", "TLS: it ended without close_notify"), ("reset", "")):
            tls = Asking()
            dialed = await self.dial(tls, ssl=False)
            await self.peer.receives(100)
            getattr(self.peer, leaves)()
            await self.fails(
                tls,
                dialed,
                said or "Connection reset by peer",
                str(ConnectionLost()),
            )

    async def test_a_server_that_is_not_believed(self: Any) -> None:
        """Nor one whose handshake stands, but is not who it should be."""
        tls = Asking(DialFailed(Reason.CONNECT_TLS, "its certificate is for another"))
        dialed = await self.dial(tls)
        await self.fails(tls, dialed, "its certificate is for another")
        await self.peer.sees_either()

    async def test_a_cancelled_dial(self: Any) -> None:
        """Who gives up during the handshake is rid of it."""
        tls = Asking()
        dialed = await self.dial(tls, ssl=False)
        await self.peer.receives(100)
        dialed.cancel()
        self.failureResultOf(dialed, CancelledError)
        await self.peer.sees_either()
        self.assertIsNone(self.protocol.transport)

    async def test_nobody_there(self: Any) -> None:
        """A refused connection is told as without TLS."""
        with listening_socket(FAMILY, 65536) as listener:
            host, port = listener.getsockname()[:2]
        address = Addresses((TcpAddress(host, port),))
        dialed = self.world.datapath().dial(address, Talker(), tls=Asking())
        try:
            await self.world.until(dialed)
        except DialFailed as failed:
            self.assertEqual(failed.reason, Reason.CONNECT_REFUSED)
        else:
            self.fail("it was reached")


class DialCase(AsyncCase):
    """A test of a dial."""

    make_world: Any

    def setUp(self) -> None:
        self.world = self.make_world(real_reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.close()))

    async def close(self) -> None:
        """Leave nothing to the next test."""
        for peer in self.world.peers:
            peer.close()
        transport = self.protocol.transport if hasattr(self, "protocol") else None
        if transport is not None and transport.connected:
            transport.abortConnection()
        await self.world.turns()
        await self.world.close()


class DialTLSTests(DialTLSContract, DialCase):
    make_world = TLSWorld


class StockDialTLSTests(DialTLSContract, DialCase):
    make_world = StockTLSWorld
