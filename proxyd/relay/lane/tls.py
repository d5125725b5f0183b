"""
What is a connection of the lane that speaks TLS?

OpenSSL reads and writes the socket itself, so a record costs no copy of ours, and all else is as on every
connection of the lane.  What differs:

- An edge is used up when OpenSSL wants to read, or when it has nothing and neither has the kernel.  A short
  read does not say so: a record has 16 KiB at most.
- Each direction may need the other's edge, when TLS has something to tell the peer in between.
- What ends a direction is a close_notify, ours behind all that is buffered; a FIN without one is a loss.
  The other direction goes on until it has ended too, as TLS 1.3 has it (RFC 8446, section 6.1), so a
  half-close can be passed on; a peer with an older TLS may leave at once.  Closing does not wait for the
  peer's close_notify.
- Nothing is spliced.
- Handshakes take turns: a few in a round, in the order in which they ask, behind all who have something
  to say.
"""

from __future__ import annotations

from array import array
from fcntl import ioctl
from termios import FIONREAD
from typing import Any, Callable, Optional

from OpenSSL.SSL import Connection, Error, WantReadError, WantWriteError, ZeroReturnError
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, INegotiated
from twisted.python.failure import Failure
from zope.interface import classImplements

from proxyd.errors import DialFailed
from proxyd.interfaces import ITLSClient
from proxyd.relay.lane.connection import LaneConnection
from proxyd.relay.lane.loop import ERROR, GONE, HANDSHAKES, IN, OUT, Loop
from proxyd.relay.lane.sockets import DONE, lost
from proxyd.relay.tls.words import lost_by

RECORD = 16 * 1024  # bytes in a record, at most (RFC 8446, section 5.1)

# What a record takes beside its bytes, in bytes that are moved in that time: many tiny ones are much to do.
OVERHEAD = 1024

_TALK = IN | OUT

_OTHERWISE = (WantReadError, WantWriteError, ZeroReturnError)

_waiting = array("i", [0])


class Writer:
    """Writes to a TLS connection as to a socket: says how much was taken, if only 0."""

    __slots__ = ("_peer", "_write", "crossed")

    def __init__(self, ssl: Connection, peer: str) -> None:
        self._write: Callable[[Any], int] = ssl.send
        self._peer = peer
        self.crossed = False  # it waits until something can be read

    def send(self, data: Any) -> int:
        """Send as much as the kernel takes, in however many records; raises OSError if it is lost."""
        sent = 0
        size = len(data)
        try:
            sent = self._write(data)
            if sent < size:
                view = memoryview(data)
                while sent < size:
                    sent += self._write(view[sent:])
        except WantWriteError:
            pass
        except WantReadError:
            self.crossed = True
        except Error as error:
            raise lost_by(error, self._peer) from None
        return sent


class TLSConnection(LaneConnection):
    """One connected socket on the lane, under TLS, and the protocol that it serves."""

    __slots__ = ("_client", "_crossed", "_preface", "_read_record", "_shaking", "_writer", "ssl")

    def __init__(
        self,
        loop: Loop,
        skt: Any,
        peer: Any,
        protocol: Any,
        ssl: Connection,
        client: Optional[ITLSClient] = None,
        preface: bytes = b"",
    ) -> None:
        """
        ``ssl`` is on the socket, and knows which part it has in the handshake.

        If that is the client's, ``client`` judges the server.  ``preface`` goes before TLS.
        """
        super().__init__(loop, skt, peer, protocol)
        self.ssl = ssl
        self._client = client
        self._preface = preface
        self._writer = Writer(ssl, "client" if client is None else "server")
        self._send = self._writer.send
        self._read_record: Callable[[int], bytes] = ssl.recv
        self._shaking = True  # hands, and what is written meanwhile waits
        self._blocked = True
        self._crossed = client is not None  # reading, or the handshake, waits until something can be written

    def __repr__(self) -> str:
        state = "lost" if not self.connected else "shaking hands" if self._shaking else "connected"
        return f"<TLSConnection {state}, {self._buffered} buffered>"

    # What the loop calls

    def event(self, mask: int) -> None:
        if self._shaking:
            self._serve_handshake(mask)
            return
        peer = self._pump
        if (
            mask == _TALK
            and peer is not None
            and self._reading
            and not (peer._blocked or self._blocked or self._gone or self._crossed)
            and peer._doom is None
        ):
            # The way of nearly all events, in one piece, as in every connection of the lane.
            try:
                data = self._read_record(RECORD)
            except _OTHERWISE:
                pass  # told apart below, by trying again
            except Error as error:
                self._lose(self._told_by(error))  # OpenSSL says what is wrong only once
                return
            else:
                count = len(data)
                self.protocol.received += count
                try:
                    sent = peer._send(data)
                except OSError:
                    sent = 0
                if sent < count:
                    peer._take(memoryview(data)[sent:])
                elif count < RECORD and not self._has_more():
                    self._loop.calm = 0
                    self._readable = False
                    return
        if self._crossed or self._writer.crossed:
            self._crossed = self._writer.crossed = False
            mask |= _TALK
        self._serve(mask)

    def go_on(self) -> None:
        if not (self._shaking and self.connected and self._doom is None):
            super().go_on()
        elif self.disconnecting and not self._buffered:
            self._lose(DONE)
        elif self._loop.handshakes < HANDSHAKES:
            self._loop.handshakes += 1
            self._shake_hands()
        else:
            self._loop.again(self)

    def take_over(self, plain: LaneConnection) -> None:
        """Be to the protocol what another connection on the same socket was, which serves it no more."""
        self.bufferSize = plain.bufferSize
        self.disconnecting = plain.disconnecting
        self.producer, plain.producer = plain.producer, None
        self.streamingProducer = plain.streamingProducer
        self.producerPaused = plain.producerPaused
        self._reading = plain._reading
        self._gone = plain._gone
        self._failed = plain._failed
        self._doom = plain._doom
        self._preface += b"".join(plain._queue or ())
        plain.connected = False
        plain.protocol = None
        plain._reading = False  # it may be in the midst of delivering what has led to this
        plain._queue = None
        plain._buffered = 0
        self._loop.again(self)

    # The handshake

    def _serve_handshake(self, mask: int) -> None:
        if mask & GONE:
            self._gone = True
            self._failed = self._failed or bool(mask & ERROR)
        # Until there is something to read, the server's part has nothing to do.
        if self._doom is None and (self._crossed or self._preface or mask & (IN | GONE)):
            self._loop.again(self)  # behind those who have something to say

    def _shake_hands(self) -> None:
        """Go on with the handshake, which it does whether it is paused or not."""
        if self._preface and not self._sent_preface():
            return
        try:
            self.ssl.do_handshake()
        except (WantReadError, WantWriteError) as wanted:
            self._crossed = isinstance(wanted, WantWriteError)
            return
        except Error as error:
            self._lose(self._told_by(error))
            return
        if self._client is not None:
            try:
                self._client.established(self.ssl)
            except DialFailed:
                self._lose(Failure())
                return
        self._shaking = self._blocked = self._crossed = False
        self._readable = True  # what came behind the handshake makes no further edge
        if IHandshakeListener.providedBy(self.protocol):
            self.protocol.handshakeCompleted()
        self._loop.again(self)

    def _sent_preface(self) -> bool:
        try:
            self._preface = self._preface[self._socket.send(self._preface) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(lost(error))
        return self.connected and not self._preface

    def _told_by(self, error: Error) -> Failure:
        """The loss that OpenSSL tells of."""
        return lost(lost_by(error, "client" if self._client is None else "server"))

    # Receiving

    def can_be_spliced(self) -> bool:
        return False

    def unread(self) -> Callable[[], object]:
        of_socket, pending = super().unread(), self.ssl.pending
        return lambda: pending() or of_socket()

    def _has_more(self) -> bool:
        """Whether the kernel has something of which OpenSSL does not know yet."""
        ioctl(self._socket.fileno(), FIONREAD, _waiting)
        return _waiting[0] > 0

    def _read(self) -> None:
        """Pass on what there is, a record at a time at most."""
        loop = self._loop
        left = loop.burst
        while self._reading:
            size = RECORD
            peer = self._pump
            if peer is None and self.bufferSize < RECORD:
                size = self.bufferSize
            try:
                data = self._read_record(size)
            except WantReadError:
                self._readable = False
                return
            except WantWriteError:
                self._crossed = True
                return
            except ZeroReturnError:
                self._end()
                return
            except Error as error:
                self._lose(self._told_by(error))
                return
            count = len(data)
            if peer is None:
                self.protocol.dataReceived(data)
            else:
                self.protocol.received += count
                peer._take(memoryview(data))
            if count < size:
                loop.calm = 0
                if self._reading and not self._gone and not self._has_more():
                    self._readable = False
                    return
            left -= count + OVERHEAD
            if left <= 0:
                loop.again(self)
                return

    def _end(self) -> None:
        """The peer has sent its close_notify."""
        if self._doom is not None or IHalfCloseableProtocol.providedBy(self.protocol):
            super()._end()
            return
        self._readable = False
        self._ended = True
        self.loseConnection()

    # Ending

    def _finish(self) -> None:
        if self._sent_close_notify():
            self._finished = True
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.writeConnectionLost()

    def leave(self) -> bool:
        return False  # not without close_notify

    def _takes_leave(self) -> bool:
        return self._shaking or self._finished or self._sent_close_notify()

    def _sent_close_notify(self) -> bool:
        try:
            self.ssl.shutdown()
        except WantWriteError:
            self._blocked = True
            return False
        except Error:
            pass  # it is gone already, which reading will tell
        return True

    def _close(self, orderly: bool) -> None:
        if orderly and not self._ended and self._has_more():
            # Such as tickets, which nobody has asked for.  A socket that is closed with them unread drops
            # what it still has to send.
            try:
                self._socket.recv_into(self._loop.scratch)
            except OSError:
                pass
        super()._close(orderly)

    def _lose(self, reason: Failure) -> None:
        client, self._client = self._client, None
        if client is not None and not self._shaking:
            client.ended(self.ssl)
        super()._lose(reason)

    # What is known of it

    @property
    def negotiatedProtocol(self) -> Optional[bytes]:
        """What ALPN has chosen."""
        return self.ssl.get_alpn_proto_negotiated() or None

    def getPeerCertificate(self) -> Any:
        """What the peer has shown, if it had to."""
        return self.ssl.get_peer_certificate()


classImplements(TLSConnection, INegotiated)
