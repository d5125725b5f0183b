"""
How do tests speak TLS?

`TLSPeer` is the far end of a stream that does; `contexts` makes what the two ends need; `Asking` is the
client's part of a dial.
"""

from __future__ import annotations

import socket
from functools import cache
from typing import Any, Optional

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from zope.interface import implementer

from proxyd.errors import DialFailed
from proxyd.interfaces import ITLSClient
from tests.support.certificate import key_and_certificate
from tests.support.peer import Ended, SocketPeer

RECORD = 16 * 1024

_WANTS = (SSL.WantReadError, SSL.WantWriteError)


@cache
def _own() -> tuple[Any, x509.Certificate]:
    pem = key_and_certificate()
    return load_pem_private_key(pem, None), x509.load_pem_x509_certificate(pem)


@cache
def server_context(version: int = 0) -> SSL.Context:
    """With a certificate of its own; ``version`` is the only one, if given."""
    context = SSL.Context(SSL.TLS_METHOD)
    key, certificate = _own()
    context.use_privatekey(key)
    context.use_certificate(certificate)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    _limit(context, version)
    return context


@cache
def client_context(version: int = 0) -> SSL.Context:
    """One that believes every server."""
    context = SSL.Context(SSL.TLS_METHOD)
    _limit(context, version)
    return context


def _limit(context: SSL.Context, version: int) -> None:
    if version:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)


def client_part(skt: Any, version: int = 0) -> SSL.Connection:
    """A client's connection on a socket, or in memory."""
    ssl = SSL.Connection(client_context(version), skt)
    ssl.set_connect_state()
    return ssl


@implementer(ITLSClient)
class Asking:
    """A client that writes down what it is told, and believes every server unless ``refusal`` is given."""

    def __init__(self, refusal: Optional[DialFailed] = None, preface: bytes = b"", version: int = 0) -> None:
        self.preface = preface
        self.told: list[str] = []
        self._refusal = refusal
        self._version = version

    def connection(self, skt: Any) -> SSL.Connection:
        self.told.append("connection")
        return client_part(skt, self._version)

    def established(self, ssl: SSL.Connection) -> None:
        self.told.append(f"established {ssl.get_peer_certificate() is not None}")
        if self._refusal is not None:
            raise self._refusal

    def failed(self, detail: str) -> None:
        self.told.append(f"failed {detail}")

    def ended(self, ssl: SSL.Connection) -> None:
        self.told.append(f"ended {ssl.get_session() is not None}")


class TLSPeer(SocketPeer):
    """A peer that speaks TLS; ``ssl`` is on its socket, and knows which part it has."""

    def __init__(self, reactor: Any, skt: socket.socket, ssl: SSL.Connection, keep: bool = True) -> None:
        self.ssl = ssl
        self.stands = False  # the handshake
        self.answers = False  # a close_notify with its own
        self._shaken: Optional[Deferred[bytes]] = None
        super().__init__(reactor, skt, keep)
        reactor.addWriter(self)

    def shaken(self) -> Deferred[bytes]:
        """Wait until the handshake stands."""
        return self._wait("a handshake", lambda: self.stands, lambda: self.ended is not Ended.NOT)

    def cut(self) -> None:
        """End what we say by a FIN, without a close_notify."""
        self._socket.shutdown(socket.SHUT_WR)

    def doRead(self) -> None:
        try:
            if self._stands():
                self._arrived(self.ssl.recv(max(self.read_size, RECORD)))
        except _WANTS:
            pass
        except SSL.ZeroReturnError:
            self._reactor.removeReader(self)
            self.ended = Ended.END
            if self.answers and not self._finishing:
                self.finish()
            self._changed()
        except SSL.SysCallError as error:
            if error.args[0] > 0:
                self._was_reset()
            else:
                self._was_cut()
        except SSL.Error:
            self._was_reset()

    def doWrite(self) -> None:
        try:
            if not self._stands():
                return
            while self._queue:
                data = self._queue[0]
                sent = self.ssl.send(data)
                if sent == len(data):
                    self._queue.popleft()
                else:
                    self._queue[0] = data[sent:]
            if self._finishing and not self._finished:
                self.ssl.shutdown()
                self._finished = True
            self._reactor.removeWriter(self)
        except _WANTS:
            return
        except SSL.Error:
            self._was_reset()
            return
        self._changed()

    def _stands(self) -> bool:
        if not self.stands:
            try:
                self.ssl.do_handshake()
            except SSL.WantReadError:
                self._reactor.removeWriter(self)
                raise
            self.stands = True
            self._reactor.addWriter(self)
            self._changed()
        return True

    def _was_cut(self) -> None:
        self.ended = Ended.CUT
        self.close()
