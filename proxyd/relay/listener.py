"""
How are clients accepted?

A listener is bound before the daemon goes to the background and drops its privileges, and fails loudly
there; it accepts once it is started.  It takes a small fixed batch of clients a turn, so that a flood of
new ones does not delay those that are being served (Twisted's own port takes 100 and more).
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import Any, Callable, Mapping, Optional, Protocol, Sequence, Union, cast

from OpenSSL.SSL import Context
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IProtocolFactory,
    IReadDescriptor,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

from proxyd.config.address import Bind, EndpointBind, FdBind, SystemdBind, TcpBind, UnixBind
from proxyd.config.tcp import UNTOUCHED, TcpSpec
from proxyd.errors import StartError
from proxyd.interfaces import IDatapath
from proxyd.relay.capacity import RETRY_SECONDS, Capacity
from proxyd.relay.streams import Socket, address_of
from proxyd.relay.tcp import tune_listening

ACCEPTS_PER_TURN = 16

FIRST_SYSTEMD_FD = 3  # sd_listen_fds(3)

Tune = Callable[[socket.socket], None]

log = Logger(__name__)


def open_socket(
    bind: Bind, environ: Mapping[str, str], tcp: TcpSpec = UNTOUCHED, degraded: Optional[list[str]] = None
) -> socket.socket:
    """
    A listening socket for a bind, or `StartError` with a line that says what is wrong.

    What of ``tcp`` the host does not let us set is added to ``degraded``.
    """

    def tune(skt: socket.socket) -> None:
        lines = tune_listening(skt, tcp)
        if degraded is not None:
            degraded.extend(lines)

    try:
        if isinstance(bind, TcpBind):
            return _open_tcp(bind, tune)
        if isinstance(bind, UnixBind):
            return _open_unix(bind)
        if isinstance(bind, SystemdBind):
            return _inherited(_systemd_fd(bind, environ), tune)
        assert isinstance(bind, FdBind)
        return _inherited(bind.fd, tune)
    except OSError as error:
        raise StartError((f"cannot listen on {bind.text}: {_explained(error)}",)) from None


def _explained(error: OSError) -> str:
    text = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        return f"{text} (another process listens there)"
    if error.errno == errno.EACCES:
        return f"{text} (a port below 1024 needs root or CAP_NET_BIND_SERVICE)"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{text} (no interface of this host has that address)"
    return text


def _open_tcp(bind: TcpBind, tune: Tune) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    skt = socket.socket(family, socket.SOCK_STREAM)
    try:
        skt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # tcp and tcp6 may then share a port number, as with nginx's ipv6only=on.
            skt.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        tune(skt)
        where = socket.getaddrinfo(bind.host, bind.port, family, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        skt.bind(where[0][4])
        skt.listen(bind.backlog)
        skt.setblocking(False)
    except BaseException:
        skt.close()
        raise
    return skt


def _open_unix(bind: UnixBind) -> socket.socket:
    _remove_stale(bind.path)
    skt = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        skt.bind(bind.path)
        os.chmod(bind.path, bind.mode)
        skt.listen(bind.backlog)
        skt.setblocking(False)
    except BaseException:
        skt.close()
        raise
    return skt


def _remove_stale(path: str) -> None:
    """Remove the socket that a killed process left behind; a file, or a socket in use, is left alone."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "a file that is no socket is in the way")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)


def _inherited(fd: int, tune: Tune) -> socket.socket:
    skt = socket.socket(fileno=os.dup(fd))
    try:
        listening = skt.type == socket.SOCK_STREAM and skt.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if not listening:
            raise OSError(errno.EINVAL, "the inherited descriptor is no listening stream socket")
        if skt.family != socket.AF_UNIX:
            tune(skt)
        skt.setblocking(False)
    except BaseException:
        skt.close()
        raise
    os.close(fd)  # or closing ours would leave the socket listening, and clients waiting during a drain
    return skt


def _systemd_fd(bind: SystemdBind, environ: Mapping[str, str]) -> int:
    """The descriptor that systemd passed, by sd_listen_fds(3)."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdigit():
        raise OSError(errno.ENOENT, "systemd has passed no socket to this process")
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    index = bind.index
    if index is None:
        if bind.name not in names:
            raise OSError(errno.ENOENT, f"systemd has passed no socket named {bind.name!r}, only {names}")
        index = names.index(bind.name)
    if index >= int(count):
        raise OSError(errno.ENOENT, f"systemd has passed {count} sockets; there is none at index {index}")
    return FIRST_SYSTEMD_FD + index


class AcceptingFactory(Protocol):
    """A protocol factory that wants to know of clients that had to be turned away."""

    def sends_away(self, skt: Any, peer: Any) -> bool:
        """Whether a client that was accepted may not come in; then its socket is the factory's."""

    def shed(self, address: IAddress) -> None:
        """A client was turned away because the process has no descriptor left."""


class Listener:
    """
    A listening socket, and the factory whose protocols speak with those who connect.

    ``datapath`` makes a transport of each accepted socket; ``capacity``, if given, pauses the listener
    while the process is full.  ``degraded`` is what the host did not let us set on the socket.  With ``tls``
    TLS ends here.
    """

    def __init__(
        self,
        reactor: Any,
        datapath: IDatapath,
        skt: socket.socket,
        factory: IProtocolFactory,
        capacity: Optional[Capacity] = None,
        degraded: Sequence[str] = (),
        tls: Optional[Context] = None,
    ) -> None:
        self.degraded = tuple(degraded)
        self._reactor = reactor
        self._datapath = datapath
        self._socket = skt
        self.factory = factory
        self._capacity = capacity
        # Other factories, of pages for example, take everybody.
        self._sends_away: Optional[Callable[[Any, Any], bool]] = getattr(factory, "sends_away", None)
        self._tls = tls
        self._family = int(skt.family)
        self._accepting = False
        self._retry: Optional[IDelayedCall] = None
        self._path = self._own_path()
        if capacity is not None:
            capacity.add(self)

    def __repr__(self) -> str:
        return f"<Listener {self.getHost() if self._socket.fileno() >= 0 else 'stopped'}>"

    def startListening(self) -> None:
        """Begin to accept, or, while the process is full, to wait until there is room."""
        self.factory.doStart()
        if self._capacity is None or self._capacity.admits(self):
            self.resume()

    def stopListening(self) -> None:
        """Accept no more, and close the socket; accepted connections go on."""
        if self._socket.fileno() < 0:
            return
        self.pause()
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._socket.close()
        if self._path is not None:
            path, inode = self._path
            try:
                if os.stat(path).st_ino == inode:
                    os.unlink(path)
            except OSError:
                pass  # gone already, or no longer ours to remove
        self.factory.doStop()

    def getHost(self) -> IAddress:
        """The address that is listened on."""
        return address_of(self._socket.getsockname())

    def pause(self) -> None:
        """Accept nothing for now; clients wait in the backlog."""
        self._accepting = False
        self._datapath.removeReader(self)

    def resume(self) -> None:
        """Accept again."""
        if self._socket.fileno() >= 0:
            self._accepting = True
            self._datapath.addReader(self)

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "Listener"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is done with the socket."""
        self.stopListening()

    def doRead(self) -> None:
        """Accept a batch of clients."""
        for _ in range(ACCEPTS_PER_TURN):
            if not self._accepting:
                return
            try:
                fd, peer = self._socket._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._out_of_descriptors()
                    return
                continue  # this client is gone again, accept(2) says: the next one may not be
            # socket.accept() would ask the family and the type as enumerations, at 2 us a client.
            self._serve(Socket(self._family, socket.SOCK_STREAM, 0, fd), peer)

    def _serve(self, skt: socket.socket, peer: Any) -> None:
        try:
            if self._sends_away is not None and self._sends_away(skt, peer):
                return
            skt.setblocking(False)
            self._datapath.accept(skt, peer, self.factory, self._tls)
        except Exception:  # noqa: BLE001 - one client must not stop the listener
            log.failure("A client could not be served.")
            skt.close()

    def _out_of_descriptors(self) -> None:
        if self._capacity is not None:
            self._capacity.exhausted(self._shed)
        else:
            self.pause()
            self._retry = self._reactor.callLater(RETRY_SECONDS, self.resume)

    def _shed(self) -> None:
        try:
            skt, peer = self._socket.accept()
        except OSError:
            return
        skt.close()
        cast(AcceptingFactory, self.factory).shed(address_of(peer))

    def _own_path(self) -> Optional[tuple[str, int]]:
        if self._socket.family != socket.AF_UNIX:
            return None
        path = self._socket.getsockname()
        return (path, os.stat(path).st_ino) if isinstance(path, str) and path else None


classImplements(Listener, IListeningPort, IReadDescriptor)


class EndpointListener:
    """A listener of a kind that only Twisted knows; its bind is a server endpoint string."""

    def __init__(
        self,
        reactor: Any,
        bind: EndpointBind,
        factory: IProtocolFactory,
        capacity: Optional[Capacity] = None,
        tcp: TcpSpec = UNTOUCHED,
    ) -> None:
        """Bind at once, or fail with `StartError`."""
        ports: list[Any] = []
        failures: list[Failure] = []
        try:
            listening = serverFromString(reactor, bind.text).listen(factory)
        except Exception as error:  # noqa: BLE001 - whatever the endpoint's own parser finds wrong
            raise StartError((f"cannot listen on {bind.text}: {error}",)) from None
        listening.addCallbacks(ports.append, failures.append)
        if failures:
            raise StartError((f"cannot listen on {bind.text}: {failures[0].getErrorMessage()}",))
        if not ports:
            listening.cancel()
            raise StartError((f"cannot listen on {bind.text}: it was not bound at once",))
        self._port = ports[0]
        self.factory = factory
        self.degraded = self._tune(bind, tcp)
        self._capacity = capacity
        if capacity is not None:
            capacity.add(self)
        self.pause()  # or Twisted would accept as soon as the reactor runs

    def _tune(self, bind: EndpointBind, tcp: TcpSpec) -> tuple[str, ...]:
        """Set what is asked of TCP on Twisted's socket, which listens already; clients come later."""
        skt = getattr(self._port, "socket", None)
        try:
            if skt is not None and skt.family != socket.AF_UNIX:
                return tune_listening(skt, tcp)
        except OSError as error:
            self._port.stopListening()
            raise StartError((f"cannot listen on {bind.text}: {_explained(error)}",)) from None
        return () if tcp == UNTOUCHED else (f"{bind.text} has no socket of TCP that anything can be set on",)

    def startListening(self) -> None:
        """Begin to accept, or, while the process is full, to wait until there is room."""
        if self._capacity is None or self._capacity.admits(self):
            self.resume()

    def stopListening(self) -> Any:
        """Accept no more; fires when the port is closed, if that takes time."""
        return self._port.stopListening()

    def getHost(self) -> IAddress:
        """The address that is listened on."""
        return cast(IAddress, self._port.getHost())

    def pause(self) -> None:
        """Accept nothing for now."""
        self._port.pauseProducing()

    def resume(self) -> None:
        """Accept again."""
        self._port.resumeProducing()


classImplements(EndpointListener, IListeningPort)


def bound_listener(
    reactor: Any,
    datapath: IDatapath,
    bind: Bind,
    environ: Mapping[str, str],
    factory: IProtocolFactory,
    capacity: Optional[Capacity] = None,
    tcp: TcpSpec = UNTOUCHED,
    tls: Optional[Context] = None,
) -> Union[Listener, EndpointListener]:
    """
    A listener that is bound and waits to be started, or `StartError`.

    ``tls`` is for all that we accept ourselves; endpoints of Twisted's have theirs.
    """
    if isinstance(bind, EndpointBind):
        return EndpointListener(reactor, bind, factory, capacity, tcp)
    degraded: list[str] = []
    skt = open_socket(bind, environ, tcp, degraded)
    return Listener(reactor, datapath, skt, factory, capacity, degraded, tls)
