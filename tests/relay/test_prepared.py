"""Whoever connects by Twisted's endpoints has the sockets prepared, and hears what was in the way."""

from __future__ import annotations

import errno
import socket
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.error import ConnectBindError
from twisted.internet.interfaces import IReactorPluggableNameResolver, IReactorTCP
from twisted.internet.protocol import Factory, Protocol
from zope.interface.verify import verifyObject

from proxyd.config.address import Address, Addresses, TcpAddress
from proxyd.config.tcp import TcpSpec
from proxyd.relay import tcp
from proxyd.relay.dial import client_endpoint
from proxyd.relay.prepared import Prepared, prepared
from tests.support.case import AsyncCase
from tests.support.peer import PATIENCE, listening_socket

SPEC = TcpSpec(mss=1000, source="127.9.8.7")


class PreparedTests(AsyncCase):
    """The reactor whose connections are prepared."""

    def setUp(self) -> None:
        self.listening = listening_socket(socket.AF_INET, 65536)
        self.addCleanup(self.listening.close)
        self.port = self.listening.getsockname()[1]

    async def connect(self, spec: TcpSpec, address: Address) -> Any:
        """The transport of a connection by the endpoint of an address."""
        endpoint = client_endpoint(prepared(reactor, spec), address, PATIENCE)
        protocol: Any = await endpoint.connect(Factory.forProtocol(Protocol))
        self.addCleanup(protocol.transport.abortConnection)
        return protocol.transport

    async def test_each_endpoint(self) -> None:
        """An address, a name, and several addresses: whatever Twisted does of its own, the socket is ours."""
        here = TcpAddress("127.0.0.1", self.port)
        addresses: tuple[Address, ...] = here, TcpAddress("localhost", self.port), Addresses((here,))
        for address in addresses:
            transport = await self.connect(SPEC, address)
            skt, (host, _) = self.listening.accept()
            skt.close()
            self.assertEqual(host, "127.9.8.7", address)
            self.assertIn(
                transport.getHandle().getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), (1000, 988)
            )

    async def test_what_is_in_the_way(self) -> None:
        """A connection that cannot be prepared fails like one that cannot be bound, with the reason."""
        try:
            await self.connect(TcpSpec(interface="eth99"), TcpAddress("127.0.0.1", self.port))
        except ConnectBindError as error:
            self.assertIn("interface eth99: no such interface", str(error))
        else:
            raise AssertionError("it was connected")

    async def test_no_descriptor(self) -> None:
        """That none is left to try the options on is told apart, as it is no fault of the server's."""
        full = OSError(errno.EMFILE, "Too many open files")
        with mock.patch.object(tcp, "outward", side_effect=full):
            try:
                await self.connect(SPEC, TcpAddress("127.0.0.1", self.port))
            except ConnectBindError as error:
                self.assertEqual(error.osError, errno.EMFILE)
            else:
                raise AssertionError("it was connected")

    def test_all_else_is_the_reactors(self) -> None:
        """It is a reactor in every respect, and where nothing is asked it is the reactor itself."""
        of_ours: Any = Prepared(reactor, SPEC)
        self.assertTrue(verifyObject(IReactorTCP, of_ours))
        self.assertTrue(IReactorPluggableNameResolver.providedBy(of_ours))
        self.assertEqual(of_ours.callLater, reactor.callLater)
        self.assertIs(prepared(reactor, None), reactor)
