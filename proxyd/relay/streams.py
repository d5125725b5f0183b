"""
What does the relay need of a transport?

A stream is a transport that can be written to, paused, half-closed and aborted: Twisted's
`ITCPTransport`, ``IConsumer`` and ``IPushProducer``.  Here is what Twisted lacks: how much of what was
written is still on our side of the network, whether something has come that nobody has read yet, and whether
a stream can half-close at all.
"""

from __future__ import annotations

import array
import errno
import fcntl
import select
import socket
import sys
import termios
from functools import partial
from typing import Any, Callable, Optional, Sequence

from OpenSSL.SSL import Connection as SSLConnection
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.protocols.policies import ProtocolWrapper

from proxyd.config.tcp import KEEPALIVE
from proxyd.wire import tcpinfo

# A transport pauses its producer above this many unsent bytes, and reads at most as many at once, so
# that user space holds at most 64 KiB in each direction.
CHUNK = 32 * 1024

MOST_FIRST = 48 * 1024  # bytes that go before a portion of a stream

# What socket.socket adds in Python to the type beneath it costs a connection some 2 us.
Socket: Any = socket.SocketType

OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


def keep_alive(skt: socket.socket) -> None:
    """Notice a peer that is dead, by TCP keepalive, in the time that is the default."""
    skt.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE.idle)
    skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE.interval)
    skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE.probes)


def address_of(name: Any) -> IAddress:
    """What accept(2), getsockname(2) or getpeername(2) gave, as Twisted names it."""
    if not isinstance(name, tuple):
        return UNIXAddress(name or None)
    if len(name) > 2:
        return IPv6Address("TCP", *name)
    return IPv4Address("TCP", *name)


def address_text(address: Any) -> str:
    """An address as operators write it: 10.0.0.1:5432, [::1]:5432, or unix:PATH."""
    if isinstance(address, UNIXAddress):
        return f"unix:{(address.name or b'').decode(errors='replace')}"
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    return f"{address.host}:{address.port}"


def can_half_close(stream: Any) -> bool:
    """
    Whether the stream can close its writing half alone.

    Under Twisted's TLS it cannot: that hands the call to the TCP transport beneath, which cuts the stream
    without close_notify (twisted/protocols/tls.py).
    """
    return not isinstance(stream, ProtocolWrapper)


def pump(one: Any, other: Any) -> None:
    """Let two streams that are joined move bytes by themselves, if both are of a kind that can."""
    if isinstance(one, ProtocolWrapper) or isinstance(other, ProtocolWrapper):
        return  # Twisted's TLS would lend the verb of the stream beneath it, and be passed over
    if hasattr(one, "pump_to") and hasattr(other, "pump_to"):
        one.pump_to(other)
        other.pump_to(one)


def ssl_connection(stream: Any) -> Optional[SSLConnection]:
    """
    What can be asked of a stream's TLS: the name, ALPN, the certificate, version and cipher; or None.

    It is only for asking: `proxyd.relay.lane.tls` or Twisted move its bytes.
    """
    if isinstance(stream, ProtocolWrapper):
        handle = stream.getHandle()
        return handle if isinstance(handle, SSLConnection) else None
    return getattr(stream, "ssl", None)


def send_portion(source: Any, sink: Any, count: int, first: Sequence[Any] = ()) -> bool:
    """
    Let the next ``count`` bytes of a stream go straight to another one, if both are of a kind that can.

    The protocol of the source is the producer of the sink; its ``portion_sent`` is called behind them, with
    whether more was received with them, which it is given next.  What is ``first`` (in pieces) leaves before
    them, or is the caller's if they cannot, or if it is more than `MOST_FIRST`.
    """
    if sum(map(len, first)) > MOST_FIRST:
        return False  # there must be room behind it, where what follows is received
    if isinstance(source, ProtocolWrapper) or isinstance(sink, ProtocolWrapper):
        return False  # as in `pump`
    if not (hasattr(source, "send_portion") and hasattr(sink, "send_portion") and source.can_be_spliced()):
        return False  # what comes out of TLS comes in records
    source.send_portion(sink, count, first)
    return True


def keeps_references(stream: Any) -> bool:
    """Whether bytes that wait to be sent are those that were written, and no copy of them."""
    return not isinstance(stream, ProtocolWrapper) and hasattr(stream, "pump_to")


def leave(stream: Any) -> bool:
    """
    Close a stream in order at once, without telling its protocol, if it is of a kind and in a state to.

    It saves whoever needs nothing of it any more a wait for the end that it would be told of.
    """
    if isinstance(stream, ProtocolWrapper):
        return False  # as in `pump`
    return hasattr(stream, "leave") and bool(stream.leave())


def buffered(stream: Any) -> int:
    """How many bytes written to the stream are still in user space."""
    ask = getattr(stream, "buffered", None)  # of the stream beneath Twisted's TLS, too
    if ask is not None:
        found: int = ask()
        return found
    if isinstance(stream, ProtocolWrapper):
        return buffered(stream.transport)
    # Twisted keeps what it has not yet joined to dataBuffer under a private name.
    return int(len(stream.dataBuffer) - stream.offset + stream._tempDataLen)


def unacknowledged(stream: Any) -> int:
    """How many bytes the kernel holds that the peer has not acknowledged (SIOCOUTQ, tcp(7))."""
    if isinstance(stream, ProtocolWrapper):
        return unacknowledged(stream.transport)
    if not isinstance(stream, FileDescriptor):
        return int(stream.unacknowledged())
    try:
        return queued_by_kernel(stream.fileno())
    except (OSError, AttributeError, ValueError):  # already closed
        return 0


def unread(stream: Any) -> Callable[[], object]:
    """
    A question that can be asked again and again: has anything come that was not read yet?

    A byte, the peer's end, and its loss are all such.  It is one poll(2), prepared here: a look by MSG_PEEK
    costs half as much again, by its exception where there is nothing; and FIONREAD sees no end.
    """
    if isinstance(stream, ProtocolWrapper):
        return unread(stream.transport)  # Twisted's TLS leaves nothing unread of what it has read
    if isinstance(stream, FileDescriptor):
        return unread_of_socket(stream.fileno())
    asked: Callable[[], object] = stream.unread()
    return asked


def unread_of_socket(fd: int) -> Callable[[], object]:
    """The same of a socket."""
    poll = select.poll()
    poll.register(fd, select.POLLIN | select.POLLPRI)  # POLLHUP and POLLERR are always told
    return partial(poll.poll, 0)


def round_trip(stream: Any) -> Optional[float]:
    """The round trip to the peer in seconds, as the kernel has measured it (TCP_INFO); None if it has not."""
    if isinstance(stream, ProtocolWrapper):
        return round_trip(stream.transport)
    info = _tcp_info(stream, tcpinfo.RTT_END)
    return tcpinfo.round_trip(info, sys.byteorder) if info is not None else None


def taken(stream: Any) -> Optional[int]:
    """How many bytes the peer has taken since the stream began (TCP_INFO); None if that cannot be known."""
    if isinstance(stream, ProtocolWrapper):
        return taken(stream.transport)
    if hasattr(stream, "taken"):
        return int(stream.taken())
    info = _tcp_info(stream, tcpinfo.ACKED_END)
    return tcpinfo.acknowledged(info, sys.byteorder) if info is not None else None


def tcp_info(stream: Any) -> Optional[tcpinfo.Info]:
    """What the kernel knows of the connection (TCP_INFO); None if it is not TCP, or already closed."""
    if isinstance(stream, ProtocolWrapper):
        return tcp_info(stream.transport)
    info = _tcp_info(stream, tcpinfo.SIZE)
    return tcpinfo.parse(info, sys.byteorder) if info is not None else None


def _tcp_info(stream: Any, size: int) -> Optional[bytes]:
    try:
        return bytes(stream.getHandle().getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size))
    except (OSError, AttributeError):  # not TCP, not Linux, or already closed
        return None


def queued_by_kernel(fd: int) -> int:
    """How many bytes a socket has sent that the peer has not acknowledged."""
    left = array.array("i", [0])
    fcntl.ioctl(fd, termios.TIOCOUTQ, left)
    return left[0]


def unsent(stream: Any) -> int:
    """How many bytes written to the stream have not reached the peer, as far as we can know."""
    return buffered(stream) + unacknowledged(stream)
