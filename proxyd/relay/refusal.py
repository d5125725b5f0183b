"""
How does a client leave that gets no server?

One who is turned away at accept is a socket and no more: it is closed, reset, dropped without a word, or kept
waiting in a tarpit.  One that has a session is told why in the protocol that it speaks, if the listener knows
that.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from typing import Any

from proxyd.config.refusal import CLOSE, DROP, TARPIT, RefuseSpec
from proxyd.errors import Malformed, Reason
from proxyd.relay.deadlines import Wheel
from proxyd.relay.opening import Early
from proxyd.wire import refusal

RETRY_AFTER = 5  # seconds, for those who can be told; what HAProxy and nginx leave to their users

MOST_ANSWERS = 2  # before a refusal: PostgreSQL's clients ask for TLS and for GSSAPI, each once

SMALLEST_BUFFER = 1  # the kernel makes the least of it that there is

# What a driver may take for "too many connections", and try again; and what will be no better then.
_WHY = {
    Reason.QUEUE_FULL: refusal.TOO_MANY,
    Reason.QUEUE_TIMEOUT: refusal.TOO_MANY,
    Reason.DESCRIPTORS: refusal.TOO_MANY,
    Reason.TLS_REQUIRED: refusal.NO_TLS,
    Reason.STARTTLS_LOGIN: refusal.NO_LOGIN,
}

_TCP_REPAIR = 19  # linux/tcp.h; Python does not name it

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time


class Exit:
    """The way out of one listener for those who may not come in."""

    def __init__(self, spec: RefuseSpec, wheel: Wheel) -> None:
        self._spec = spec
        self._wheel = wheel
        self._held: deque[tuple[float, Any]] = deque()  # until when, and the socket; the first to go first
        self.due = 0  # the wheel's

    def __len__(self) -> int:
        """How many are kept waiting."""
        return len(self._held)

    def send_away(self, skt: Any) -> None:
        """Do with a socket that was just accepted what the listener says; it is ours from now on."""
        how = self._spec.how
        if how == TARPIT and len(self._held) < self._spec.most:
            self._hold(skt)
        elif how == CLOSE:
            skt.close()
        elif how == DROP:
            drop(skt)
        else:
            reset(skt)

    def overdue(self) -> None:
        """Let those go who have been kept for long enough."""
        now = self._wheel.clock.seconds()
        while self._held and self._held[0][0] <= now:
            reset(self._held.popleft()[1])
        self._wait()

    def close(self) -> None:
        """Let everybody go."""
        self._wheel.disarm(self)
        while self._held:
            reset(self._held.popleft()[1])

    def _hold(self, skt: Any) -> None:
        # It is not watched, and nothing of it is read: what it sends fills a buffer of the least size.
        skt.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALLEST_BUFFER)
        self._held.append((self._wheel.clock.seconds() + self._spec.hold, skt))
        if len(self._held) == 1:
            self._wait()

    def _wait(self) -> None:
        if self._held:
            self._wheel.arm(self, max(0.0, self._held[0][0] - self._wheel.clock.seconds()))


def reset(skt: Any) -> None:
    """Close a socket so that its peer is reset."""
    skt.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    skt.close()


def drop(skt: Any) -> None:
    """
    Close a socket so that its peer hears nothing of it, and keeps a connection that is none.

    As HAProxy's silent-drop: with CAP_NET_ADMIN the kernel forgets the socket (TCP_REPAIR); without it the
    reset is sent with a hop limit of one, and gets no further than the first router.
    """
    if skt.family == socket.AF_UNIX:
        skt.close()
        return
    try:
        skt.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    except OSError:
        if skt.family == socket.AF_INET6:
            skt.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 1)
        skt.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)  # an IPv4 client may have come to an IPv6 socket
        reset(skt)
        return
    skt.close()


async def hear_out(speaks: str, early: Early) -> bool:
    """Wait until the client would understand a refusal, and answer it until then; False if it never will."""
    answers = 0
    while answers <= MOST_ANSWERS:
        try:
            answer = refusal.before(speaks, early.bytes)
        except Malformed:
            return False
        if answer is None:
            if not await early.more():
                return False
        elif answer[1]:
            answers += 1
            if answers <= MOST_ANSWERS:
                early.side.transport.write(answer[0])
                early.take(answer[1])
        else:
            return True
    return False


def words(speaks: str, reason: Reason, number: int = 0) -> bytes:
    """What a client is told that is refused for this reason; ``number`` is that of a packet of MySQL."""
    return refusal.refusal(speaks, _WHY.get(reason, refusal.UNAVAILABLE), RETRY_AFTER, number)
