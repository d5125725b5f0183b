"""
How is a client turned away who may not come in?

At accept its socket is closed before a byte is read and before a session is made, and one record is written.
A balancer that is trusted to tell of its clients is let in for that; the client that it has told of is judged
as soon as the PROXY header is read, and the balancer itself only if it has told of nobody.  Bans are for
whoever connects, and for the client as well.
"""

from __future__ import annotations

import socket
from typing import Any, Callable, Iterable, Optional

from twisted.internet.interfaces import IAddress, IProtocol
from twisted.python.failure import Failure
from zope.interface import classImplements

from proxyd.config.proxyprotocol import ProxyIn
from proxyd.errors import Reason, Refused
from proxyd.policy.admission import Admission, Refusal
from proxyd.policy.bans import Ban, Bans
from proxyd.policy.lists import client_bytes
from proxyd.relay.opening import trusts
from proxyd.relay.tally import Tally
from proxyd.walltime import WallTime


class Gate:
    """What stands before the sessions of one listener."""

    def __init__(
        self,
        admission: Admission,
        proxy_protocol: Optional[ProxyIn],
        seconds: Callable[[], float],
        wall: WallTime,
        tally: Optional[Tally] = None,
    ) -> None:
        """``tally`` is None if nothing is limited or counted."""
        self.admission = admission
        self.tally = tally
        self._senders = proxy_protocol
        self._seconds = seconds
        self._wall = wall

    @property
    def open(self) -> bool:
        """Whether nobody could be turned away at this moment, so that nobody need be looked at."""
        return self.tally is None and self.admission.open

    def turns_away(self, address: IAddress) -> Optional[Refusal]:
        """Why one who has just connected may not come in; None if it may, or must say for whom it comes."""
        client, now, tally = client_of(address), self._seconds(), self.tally
        if self.speaks_for_others(address):
            refusal = self.admission.banned(client, self._wall.now())
            return refusal or (tally.limits.refusal(now) if tally is not None else None)
        refusal = self.admission.refusal(client, self._wall.now())
        if refusal is None and tally is not None:
            # The client's own limits first: what it may not have is not taken from the listener's rate.
            refusal = tally.refusal(client) or tally.limits.refusal(now)
        return refusal

    def judge(self, sender: Any, client: Any) -> None:
        """Judge the client whose PROXY header was waited for.  Raises `Refused`."""
        if not self.open and self.speaks_for_others(sender):
            refusal = self.admission.refusal(client_of(client), self._wall.now())
            if refusal is None and self.tally is not None:
                refusal = self.tally.refusal(client_of(client))
            if refusal is not None:
                raise Refused(refusal.reason, refusal.detail)

    def speaks_for_others(self, address: Any) -> bool:
        """Whether it may tell of another client by a PROXY header."""
        return self._senders is not None and trusts(self._senders, address)


def cut_banned(sessions: Iterable[Any], ban: Ban, wall: float) -> int:
    """End the open connections of whom the ban names, as client or as balancer; how many there were."""
    table = Bans(1)
    table.add(ban)
    cut = 0
    for session in list(sessions):
        opening = session.opening
        addresses = [session.address] if opening is None else [session.address, opening.address]
        if any(table.find(client_of(address), wall) for address in addresses):
            session.cut(Reason.BANNED, str(ban))
            cut += 1
    return cut


class Unwelcome:
    """
    The protocol of a client that was turned away, where one must be made: Twisted's TLS takes no None.

    It says nothing, hears nothing, and closes before the handshake.
    """

    def makeConnection(self, transport: Any) -> None:
        transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Nothing is listened to."""

    def connectionLost(self, reason: Failure) -> None:
        """Which is what was asked for."""

    def connectionMade(self) -> None:
        """It is closed by now."""


classImplements(Unwelcome, IProtocol)


def client_of(address: Any) -> bytes:
    """The client that an address is to the policy; one without an IP address is like a unix socket's."""
    host = getattr(address, "host", "")
    if not host:
        return b""
    return client_bytes(socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host))
