"""A session whose client speaks TLS with us: what it waits for, what it writes down, and how it fails."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.task import deferLater

from proxyd.config.address import TcpAddress
from proxyd.errors import Reason
from proxyd.records import Record
from proxyd.relay.lane.datapath import Lane
from proxyd.relay.stock import Stock
from tests.support.case import AsyncCase
from tests.support.echo import EchoFactory
from tests.support.peer import PATIENCE, Ended, SocketPeer, listening_socket
from tests.support.relay import Relay
from tests.support.tls import TLSPeer, client_part, server_context

reactor: Any = real_reactor

MUCH = 1024 * 1024


class Contract:
    """What holds on each datapath."""

    async def serve(self: Any, **listener: Any) -> None:
        """A relay whose TLS ends, in front of an echo that counts who comes."""
        echo: Any = reactor.listenTCP(0, EchoFactory(), interface="127.0.0.1")
        self.addCleanup(echo.stopListening)
        server = TcpAddress("127.0.0.1", echo.getHost().port)
        context = server_context()
        self.relay = Relay(reactor, server, lane=self.make_datapath(reactor), front=context, **listener)
        self.addCleanup(self.relay.stop)

    def dial(self: Any) -> socket.socket:
        skt = socket.create_connection(("127.0.0.1", self.relay.address.port))
        skt.setblocking(False)
        return skt

    def client(self: Any) -> TLSPeer:
        skt = self.dial()
        peer = TLSPeer(reactor, skt, client_part(skt))
        self.addCleanup(peer.close)
        return peer

    def raw(self: Any) -> SocketPeer:
        peer = SocketPeer(reactor, self.dial())
        self.addCleanup(peer.close)
        return peer

    async def record(self: Any) -> Record:
        """The only one, when nothing else is left."""
        end = reactor.seconds() + PATIENCE
        while not self.relay.notebook.records or self.relay.left():
            self.assertLess(reactor.seconds(), end)
            await deferLater(reactor, 0.005)
        (record,) = self.relay.notebook.records
        assert isinstance(record, Record)
        return record

    async def test_what_is_written_down(self: Any) -> None:
        """The bytes are those within TLS, and the record has its version and cipher."""
        await self.serve()
        peer = self.client()
        peer.send(bytes(MUCH))
        self.assertEqual(await peer.receives(MUCH), bytes(MUCH))
        tls = f"{peer.ssl.get_protocol_version_name()}/{peer.ssl.get_cipher_name()}"
        peer.finish()
        await peer.sees_end()
        peer.close()
        record = await self.record()
        self.assertEqual((record.bytes_in, record.bytes_out), (MUCH, MUCH))
        self.assertEqual(record.tls, tls)
        self.assertIs(record.reason, Reason.CLIENT_FINISHED)

    async def test_what_is_no_tls(self: Any) -> None:
        """It is told apart, with what it was, and no server hears of it."""
        await self.serve()
        peer = self.raw()
        peer.send(b"GET / HTTP/1.0\r\n\r\n")
        await peer.sees_either()
        peer.close()
        record = await self.record()
        self.assertEqual((record.reason, record.detail), (Reason.TLS_HANDSHAKE, "TLS: http request"))
        self.assertEqual((record.server, record.bytes_in, record.tls), ("", 0, ""))

    async def test_a_handshake_that_takes_too_long(self: Any) -> None:
        """It ends in its time, also where words are known in which a client is refused."""
        await self.serve(handshake_timeout=0.05, speaks="http")
        peer = self.raw()
        peer.send(b"\x16\x03\x01\x02\x00\x01")
        await peer.sees_either()
        self.assertEqual((peer.count, peer.ended in (Ended.END, Ended.RESET)), (0, True))
        peer.close()
        record = await self.record()
        self.assertIs(record.reason, Reason.OPENING_TIMEOUT)
        self.assertEqual((record.server, record.connect_seconds), ("", None))

    async def test_one_that_leaves(self: Any) -> None:
        """Who comes and goes without a word has left, or failed with a word."""
        await self.serve()
        peer = self.raw()
        peer.finish()
        await peer.sees_either()
        peer.close()
        record = await self.record()
        self.assertIn(record.reason, (Reason.TLS_HANDSHAKE, Reason.CLIENT_GONE))
        self.assertEqual(record.server, "")

    async def test_a_server_that_is_not_there(self: Any) -> None:
        """The handshake stands, and the client is then let go in order."""
        await self.serve()
        with listening_socket(socket.AF_INET, 65536) as gone:
            port = gone.getsockname()[1]
        (server,) = self.relay.pool.servers
        server.address = TcpAddress("127.0.0.1", port)
        peer = self.client()
        await peer.sees_either()
        peer.close()
        record = await self.record()
        self.assertIs(record.reason, Reason.CONNECT_REFUSED)
        self.assertNotEqual(record.tls, "")


class LaneTests(Contract, AsyncCase):
    make_datapath = Lane


class StockTests(Contract, AsyncCase):
    make_datapath = Stock
