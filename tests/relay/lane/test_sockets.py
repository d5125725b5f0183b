"""What a connected socket tells of itself."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from proxyd.relay.lane.sockets import ConnectedSocket
from proxyd.relay.streams import address_of
from tests.support.case import Case
from tests.support.peer import socket_pair


class SocketsTests(Case):
    """Addresses and options, by family."""

    def test_what_accept_tells(self) -> None:
        """The name of a peer becomes Twisted's address of its family; a unix client has no name."""
        cases: list[tuple[Any, Any]] = [
            (("10.0.0.1", 80), IPv4Address("TCP", "10.0.0.1", 80)),
            (("fe80::1", 80, 0, 2), IPv6Address("TCP", "fe80::1", 80, 0, 2)),
            ("", UNIXAddress(None)),
            ("/run/s", UNIXAddress(b"/run/s")),
        ]
        for name, address in cases:
            self.assertEqual(address_of(name), address)

    def test_both_ends(self) -> None:
        """The peer is the one that accept told of, and our own end is the socket's."""
        for family in socket.AF_INET, socket.AF_INET6, socket.AF_UNIX:
            near, far = socket_pair(family, 4096)
            with near, far:
                connected = ConnectedSocket(near, near.getpeername())
                self.assertIs(connected.getHandle(), near)
                self.assertEqual(connected.getPeer(), address_of(far.getsockname()))
                self.assertEqual(connected.getHost(), address_of(far.getpeername()))

    def test_options(self) -> None:
        """NODELAY and keepalive can be set and read; a unix socket takes NODELAY without effect."""
        near, far = socket_pair(socket.AF_INET, 4096)
        with near, far:
            connected = ConnectedSocket(near, near.getpeername())
            for wanted in True, False:
                connected.setTcpNoDelay(wanted)
                connected.setTcpKeepAlive(wanted)
                self.assertEqual((connected.getTcpNoDelay(), connected.getTcpKeepAlive()), (wanted, wanted))
        near, far = socket_pair(socket.AF_UNIX, 4096)
        with near, far:
            ConnectedSocket(near, "").setTcpNoDelay(True)
            self.assertEqual(near.fileno() >= 0, True)
