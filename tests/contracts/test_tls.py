"""A stream under TLS keeps every promise of a stream, on the lane and on Twisted's transports."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener, INegotiated
from zope.interface import implementer
from zope.interface.verify import verifyObject

from proxyd.relay.streams import ssl_connection
from proxyd.relay.tls.words import CUT_SHORT
from tests.contracts.pair import PairCase
from tests.contracts.stream import PlainRecorder, StreamCase
from tests.contracts.test_pair import PairContract, PairLimitContract, PairResetContract, SidesContract
from tests.contracts.test_stream import CommonContract, HalfCloseContract, ResetContract, StreamContract
from tests.contracts.tlsworlds import (
    BackWorld,
    DialedTLSWorld,
    FrontWorld,
    StockFrontWorld,
    StockTLSWorld,
    TLS12World,
    TLSWorld,
)
from tests.contracts.worlds import PLENTY
from tests.support.tls import client_part

MANY = 300
MANY_FLIGHTS = 10


@implementer(IHandshakeListener)
class Told(PlainRecorder):
    """A protocol that is told of the handshake."""

    def handshakeCompleted(self) -> None:
        self.note("stands")


class TLSContract:
    """What holds for every stream under TLS, whoever moves its bytes."""

    async def test_a_handshake_is_told_of(self: Any) -> None:
        """Once, before any byte; and then it can be asked what was agreed upon."""
        protocol = Told()
        await self.connect(protocol)
        self.peer.send(b"x")
        await self.receives(1)
        self.assertEqual(protocol.events, ["stands"])
        ssl = ssl_connection(self.transport)
        assert ssl is not None
        self.assertEqual(ssl.get_protocol_version_name(), self.peer.ssl.get_protocol_version_name())
        self.assertEqual(ssl.get_cipher_name(), self.peer.ssl.get_cipher_name())
        self.assertTrue(verifyObject(INegotiated, self.transport))
        self.assertIsNone(self.transport.negotiatedProtocol)
        self.transport.getPeerCertificate()

    async def test_a_close_notify_is_an_end(self: Any) -> None:
        """Who says that it has ended, has; it is told the same, behind what it was sent."""
        await self.connect(PlainRecorder())
        self.transport.write(b"question")
        await self.peer.receives(8)
        self.peer.send(b"answer")
        self.peer.finish()
        await self.is_lost(ConnectionDone)
        self.assertEqual(bytes(self.protocol.data), b"answer")
        self.assertEqual(await self.peer.sees_end(), b"question")

    async def test_an_end_without_a_close_notify_is_a_loss(self: Any) -> None:
        """A FIN may be anybody's: what came before it may lack its end."""
        await self.connect()
        self.peer.send(b"half a sen")
        await self.receives(10)
        self.peer.cut()
        await self.is_lost(ConnectionLost)
        self.assertIn(CUT_SHORT, self.protocol.why.value.args)
        self.assertEqual(self.protocol.events, ["lost"])

    async def test_the_peer_resets_under_tls(self: Any) -> None:
        """A RST is told as what it is."""
        await self.connect()
        self.peer.reset()
        await self.is_lost(ConnectionLost)
        self.assertNotIn(CUT_SHORT, self.protocol.why.value.args)

    # Before the handshake stands

    async def connect_raw(self: Any) -> Any:
        self.world.speaks = False
        await self.connect(Told())
        return client_part(None)

    async def hand(self: Any, ssl: SSL.Connection, size: int = PLENTY) -> None:
        """Bring our peer's part of the handshake to the transport, in pieces of this size."""
        taken = 0
        for _ in range(MANY_FLIGHTS):
            try:
                ssl.do_handshake()
            except SSL.WantReadError:
                pass
            try:
                flight = ssl.bio_read(PLENTY)
            except SSL.WantReadError:
                flight = b""
            for start in range(0, len(flight), size):
                self.peer.send(flight[start : start + size])
                await self.peer.sent()
                await self.world.turns(1)
            if "stands" in self.protocol.events:
                return
            await self.peer.receives(taken + 1)
            ssl.bio_write(self.peer.received[taken:])
            taken = self.peer.count
        self.fail("it never stood")

    async def test_a_handshake_in_pieces(self: Any) -> None:
        """It stands, however it is cut into pieces, and what follows at once is delivered."""
        for size in (1, 3, 64, 1000):
            ssl = await self.connect_raw()
            await self.hand(ssl, size)
            ssl.send(b"hello")
            self.peer.send(ssl.bio_read(PLENTY))
            await self.receives(5)
            self.assertEqual(bytes(self.protocol.data), b"hello")

    async def fails(self: Any, *said: str) -> None:
        await self.is_lost(ConnectionLost)
        self.assertEqual((self.protocol.events, bytes(self.protocol.data)), (["lost"], b""))
        self.assertIn(" ".join(map(str, self.protocol.why.value.args)), said)

    async def test_what_is_no_handshake(self: Any) -> None:
        """Another protocol is told that it is not understood, and the reason is said."""
        for data, said in (
            (b"GET / HTTP/1.0\r\n\r\n", "TLS: http request"),
            (b"\x16\x03\x01\xff\xff" + bytes(100), "TLS: data length too long"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "TLS: the client does not speak it (wrong version number)"),
        ):
            await self.connect_raw()
            self.peer.send(data)
            await self.fails(said)
            await self.peer.sees_either()

    async def test_an_end_within_a_handshake(self: Any) -> None:
        """A client that has said half of its hello, and leaves."""
        for leaves in ("close", "finish", "reset"):
            await self.connect_raw()
            self.peer.send(b"\x16\x03\x01\x01\x00")
            await self.peer.sent()
            await self.world.turns()
            getattr(self.peer, leaves)()
            await self.is_lost(ConnectionLost)
            self.assertEqual(self.protocol.events, ["lost"])

    async def test_an_abort_within_a_handshake(self: Any) -> None:
        """It is a reset, told later and once, as every abort."""
        ssl = await self.connect_raw()
        with self.assertRaises(SSL.WantReadError):
            ssl.do_handshake()
        self.peer.send(ssl.bio_read(PLENTY)[:100])
        await self.peer.sent()
        await self.world.turns()
        self.transport.abortConnection()
        self.transport.abortConnection()
        self.assertEqual(self.protocol.events, [])
        await self.is_lost(ConnectionAborted)
        await self.peer.sees_reset()

    async def test_a_client_that_does_not_believe_us(self: Any) -> None:
        """What it thinks of our certificate is told as its alert."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_verify(SSL.VERIFY_PEER, lambda *_: False)
        self.world.context = context
        with self.assertRaises(AssertionError):
            await self.connect(Told())
        self.protocol = self.world.protocol
        await self.fails(
            "TLS: unknown ca (alert from the client)", "TLS: certificate unknown (alert from the client)"
        )

    async def test_no_version_in_common(self: Any) -> None:
        """A client that is too old is told so, and so are we."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        self.world.context, self.world.version = context, SSL.TLS1_3_VERSION
        with self.assertRaises(AssertionError):
            await self.connect(Told())
        self.protocol = self.world.protocol
        await self.fails("TLS: unsupported protocol")

    async def test_a_failure_disturbs_nobody_else(self: Any) -> None:
        """OpenSSL keeps one list of errors for all connections, and none reads another's in it."""
        await self.connect()
        peer, protocol, transport = self.peer, self.protocol, self.transport
        await self.test_what_is_no_handshake()
        await self.test_an_end_within_a_handshake()
        peer.send(b"still")
        transport.write(b"here")
        self.assertEqual(await peer.receives(4), b"here")
        await self.world.until(protocol.receives(5))
        self.assertEqual(protocol.events, [])

    async def test_many(self: Any) -> None:
        """Of connections that have come and gone nothing is left."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        kept = []
        for number in range(MANY):
            await self.connect(PlainRecorder())
            kept.append(weakref.ref(ssl_connection(self.transport)))
            self.peer.send(b"x")
            await self.receives(1)
            if number % 3 == 0:
                self.transport.loseConnection()
            elif number % 3 == 1:
                self.transport.abortConnection()
            else:
                self.peer.finish()
            await self.happens("lost")
            await self.peer.sees_either()
            self.peer.close()
        self.world.transports.clear()
        self.world.peers.clear()
        del self.protocol, self.transport, self.peer, self.world.protocol
        await self.world.moment()
        if not self.world.tidy:
            gc.collect()
        self.assertEqual([ssl for ssl in kept if ssl() is not None], [])


class TLSStreamTests(TLSContract, StreamContract, HalfCloseContract, ResetContract, StreamCase):
    make_world = TLSWorld


class TLS12StreamTests(StreamContract, HalfCloseContract, ResetContract, StreamCase):
    make_world = TLS12World


class DialedTLSStreamTests(StreamContract, HalfCloseContract, ResetContract, StreamCase):
    make_world = DialedTLSWorld


class StockTLSStreamTests(TLSContract, CommonContract, StreamCase):
    make_world = StockTLSWorld


_P, _L, _R = PairContract, PairLimitContract, PairResetContract


class FrontPairTests(PairContract, PairLimitContract, PairResetContract, SidesContract, PairCase):
    make_world = FrontWorld


class BackPairTests(PairContract, PairLimitContract, PairResetContract, SidesContract, PairCase):
    make_world = BackWorld


class StockFrontPairTests(PairCase):
    """Twisted's TLS ends as a whole when either side does, so this is what holds there."""

    make_world = StockFrontWorld
    exchange_for = _L.exchange_for
    be_reset = _R.be_reset
    be_reset_behind_bytes = _R.be_reset_behind_bytes
    test_a_byte_in_either_direction_is_not_silence = (
        PairLimitContract.test_a_byte_in_either_direction_is_not_silence
    )
    test_a_clients_reset_waits_behind_its_bytes = (
        PairResetContract.test_a_clients_reset_waits_behind_its_bytes
    )
    test_a_cut_is_a_reset_only_where_something_is_lost = (
        PairContract.test_a_cut_is_a_reset_only_where_something_is_lost
    )
    test_a_cut_is_orderly_if_nothing_is_lost_by_it = (
        PairContract.test_a_cut_is_orderly_if_nothing_is_lost_by_it
    )
    test_a_cut_with_bytes_on_the_way = _P.test_a_cut_with_bytes_on_the_way
    test_a_reset_does_not_wait_for_ever = _R.test_a_reset_does_not_wait_for_ever
    test_a_server_that_dies_silently_is_noticed = (
        PairLimitContract.test_a_server_that_dies_silently_is_noticed
    )
    test_a_servers_reset_waits_behind_its_bytes = (
        PairResetContract.test_a_servers_reset_waits_behind_its_bytes
    )
    test_a_silent_connection_ends = _L.test_a_silent_connection_ends
    test_a_stall_one_way_does_not_stop_the_other = _P.test_a_stall_one_way_does_not_stop_the_other
    test_a_stalled_reader_bounds_memory = _P.test_a_stalled_reader_bounds_memory
    test_an_abort_while_paused_leaves_nothing = _P.test_an_abort_while_paused_leaves_nothing
    test_an_end_waits_behind_the_bytes = _P.test_an_end_waits_behind_the_bytes
    test_both_have_finished_with_bytes_on_the_way = _P.test_both_have_finished_with_bytes_on_the_way
    test_both_reset_at_once = _R.test_both_reset_at_once
    test_silence_with_bytes_on_the_way = _L.test_silence_with_bytes_on_the_way
    test_the_client_resets = _R.test_the_client_resets
    test_the_server_resets = _R.test_the_server_resets
    test_what_is_held_before_joining_is_bounded = _P.test_what_is_held_before_joining_is_bounded


class TLSPairTests(PairContract, PairLimitContract, PairResetContract, SidesContract, PairCase):
    make_world = TLSWorld
