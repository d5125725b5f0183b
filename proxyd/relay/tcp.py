"""
What is set on the sockets of a listener, and on those towards servers; and does this host let us?

Each option is read back after it was set, because the kernel may take a value and give another: buffers it
doubles and window sizes it rounds, which is as it should be, but it also caps them without a word.  What it
refuses is told in a line that says what would help, and the rest is served all the same.  Two options are
not optional, since without them packets would take another way than the operator wants: a listener whose
``interface`` cannot be had is not bound, and a server is not dialed without its ``source`` and ``interface``.

Listening sockets hand all that is set here on to what they accept (Linux; tests/relay/test_tcp.py looks), so
nothing is set for each client.  Towards servers all is set before connect(2), or the handshake would not
show it.
"""

from __future__ import annotations

import errno
import socket
from functools import lru_cache
from typing import Any, Callable, Iterable, Iterator, Optional, Union

from attrs import evolve, frozen

from proxyd.config.address import Address, Addresses, TcpAddress, UnixAddress
from proxyd.config.tcp import CLIENT, KEEPALIVE, Keepalive, TcpSpec
from proxyd.errors import DialFailed, Reason
from proxyd.policy.server import Server
from proxyd.relay.streams import OUT_OF_DESCRIPTORS

# Linux's numbers; Python 3.9 lacks some of the names.
TCP_FASTOPEN_CONNECT = 30
IP_TRANSPARENT = 19
IP_BIND_ADDRESS_NO_PORT = 24
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_MSS_UNKNOWN = (0, 536)  # what kernels before 5.17 say of a socket that is not connected
_SERVES_FASTOPEN, _ASKS_FASTOPEN = 2, 1  # bits of net.ipv4.tcp_fastopen

_NET = "/proc/sys/net/"
_MAPPED = "::ffff:"  # before a client's IPv4 address, on a socket that lets in both


@frozen
class Setting:
    """
    One option of a socket: what is set, and what is wrong with what the kernel makes of it, if anything is.

    ``forced`` is the option that a privileged process may try if the kernel caps the first.
    """

    name: str
    level: int
    option: int
    value: Union[int, bytes]
    wrong: Callable[[Any, Any], str] = lambda got, asked: "" if got == asked else f"the kernel gives {got}"
    fix: str = ""
    forced: int = 0

    def set(self, skt: socket.socket) -> None:
        """Set it; raises OSError."""
        skt.setsockopt(self.level, self.option, self.value)

    def tried(self, skt: socket.socket) -> tuple[str, Optional[Setting]]:
        """Set it and read it back: what is wrong, or "", and what to set from now on, or None."""
        best = self
        try:
            self.set(skt)
            why = self.wrong(self._read(skt), self.value)
            if why and self.forced:
                forced = evolve(self, option=self.forced)
                try:
                    forced.set(skt)
                    best, why = forced, self.wrong(self._read(skt), self.value)
                except OSError:
                    pass  # no privilege: it stays capped
        except OSError as error:
            return self._told(_REFUSALS.get(error.errno or 0) or error.strerror or str(error)), None
        return self._told(why) if why else "", best

    def _told(self, why: str) -> str:
        value = self.value.decode("ascii") if isinstance(self.value, bytes) else self.value
        return f"{self.name} = {value}: {why}" + (f"; {self.fix}" if self.fix else "")

    def _read(self, skt: socket.socket) -> Union[int, bytes]:
        if isinstance(self.value, bytes):
            return skt.getsockopt(self.level, self.option, 16).rstrip(b"\0")
        return skt.getsockopt(self.level, self.option)


_REFUSALS = {
    errno.ENOPROTOOPT: "this kernel does not have the option",
    errno.ENOENT: "this kernel does not have it",
}


def _capped(got: int, asked: int) -> str:
    return (
        "" if got >= 2 * asked else f"the kernel gives {got // 2}"
    )  # it doubles what it is given, socket(7)


def _rounded_up(got: int, asked: int) -> str:
    return "" if got >= asked else f"the kernel gives {got}"


def _segment(got: int, asked: int) -> str:
    return "" if got == asked or got in _MSS_UNKNOWN else f"the kernel gives {got}"


def _sysctl(name: str) -> str:
    """What a sysctl of the network is; "" where it cannot be read, as in some containers."""
    try:
        with open(_NET + name.replace(".", "/"), encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _fastopen(bit: int) -> Callable[[int, int], str]:
    def wrong(got: int, asked: int) -> str:
        switches = _sysctl("ipv4.tcp_fastopen")
        if switches and not int(switches, 0) & bit:
            return f"it is switched off; sysctl -w net.ipv4.tcp_fastopen={int(switches, 0) | bit}"
        if got < asked:
            return f"the kernel gives {got}; sysctl -w net.core.somaxconn={asked}"
        return ""

    return wrong


def _buffer(name: str, option: int, forced: int, size: int, sysctl: str) -> Setting:
    return Setting(
        name, socket.SOL_SOCKET, option, size, _capped, f"sysctl -w {sysctl}={size}, or CAP_NET_ADMIN", forced
    )


def _congestion(name: str) -> Setting:
    there = _sysctl("ipv4.tcp_available_congestion_control")
    if name in there.split():
        allowed = _sysctl("ipv4.tcp_allowed_congestion_control")
        fix = f'sysctl -w net.ipv4.tcp_allowed_congestion_control="{allowed} {name}", or CAP_NET_ADMIN'
    else:
        fix = f"modprobe tcp_{name}, or one of these: {there}"
    return Setting(
        "congestion_control", socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode("ascii"), fix=fix
    )


def settings(spec: TcpSpec, family: int) -> list[Setting]:
    """What of a spec is set for clients and servers alike, but for keepalive and the interface."""
    version = 6 if family == socket.AF_INET6 else 4
    segment = spec.segment(version)
    tcp = socket.IPPROTO_TCP
    found: list[Setting] = []
    if spec.mss:
        found.append(Setting("mss", tcp, socket.TCP_MAXSEG, spec.mss, _segment))
    if spec.receive_buffer is not None:
        size = spec.receive_buffer.size(segment)
        found.append(_buffer("receive_buffer", socket.SO_RCVBUF, _SO_RCVBUFFORCE, size, "net.core.rmem_max"))
    if spec.send_buffer is not None:
        size = spec.send_buffer.size(segment)
        found.append(_buffer("send_buffer", socket.SO_SNDBUF, _SO_SNDBUFFORCE, size, "net.core.wmem_max"))
    if spec.window_clamp is not None:
        size = spec.window_clamp.size(segment)
        found.append(Setting("window_clamp", tcp, socket.TCP_WINDOW_CLAMP, size, _rounded_up))
    if spec.notsent_lowat is not None:
        size = spec.notsent_lowat.size(segment)
        found.append(Setting("notsent_lowat", tcp, socket.TCP_NOTSENT_LOWAT, size))
    if spec.user_timeout:
        milliseconds = round(spec.user_timeout * 1000)
        found.append(Setting("user_timeout", tcp, socket.TCP_USER_TIMEOUT, milliseconds))
    if spec.congestion_control:
        found.append(_congestion(spec.congestion_control))
    if spec.dscp is not None:
        if version == 6:
            found.append(Setting("dscp", socket.IPPROTO_IPV6, socket.IPV6_TCLASS, spec.dscp << 2))
        # On a socket of IPv6 this is for the clients of IPv4 that one with both lets in (ip(7)).
        found.append(Setting("dscp", socket.IPPROTO_IP, socket.IP_TOS, spec.dscp << 2))
    return found


def keepalive_settings(keepalive: Keepalive) -> list[Setting]:
    """What makes the kernel look for peers that have vanished."""
    tcp = socket.IPPROTO_TCP
    return [
        Setting("keepalive", socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        Setting("keepalive", tcp, socket.TCP_KEEPIDLE, keepalive.idle),
        Setting("keepalive", tcp, socket.TCP_KEEPINTVL, keepalive.interval),
        Setting("keepalive", tcp, socket.TCP_KEEPCNT, keepalive.probes),
    ]


def tune_listening(skt: socket.socket, spec: TcpSpec) -> tuple[str, ...]:
    """
    Set what a listener asks for on its socket, best before listen(2); returns what is degraded.

    Raises OSError if the interface cannot be had.
    """
    tcp = socket.IPPROTO_TCP
    skt.setsockopt(tcp, socket.TCP_NODELAY, 1)
    if spec.interface:
        _bind_to_interface(skt, spec.interface)
    wanted = settings(spec, skt.family)
    if spec.keepalive is not None:
        wanted += keepalive_settings(spec.keepalive)
    if spec.defer_accept:
        # The kernel keeps it as a number of retransmissions, and gives back when the last of them is.
        wanted.append(Setting("defer_accept", tcp, socket.TCP_DEFER_ACCEPT, spec.defer_accept, _rounded_up))
    if spec.fastopen:
        wanted.append(
            Setting("fastopen", tcp, socket.TCP_FASTOPEN, spec.fastopen, _fastopen(_SERVES_FASTOPEN))
        )
    return _try(skt, wanted)[0]


def _try(skt: socket.socket, wanted: list[Setting]) -> tuple[tuple[str, ...], tuple[Setting, ...]]:
    """Set all of it; what is degraded, and what can be set on the next socket like this one."""
    tried = [setting.tried(skt) for setting in wanted]
    return tuple(why for why, _ in tried if why), tuple(best for _, best in tried if best is not None)


def _bind_to_interface(skt: socket.socket, interface: str) -> None:
    try:
        skt.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode("ascii") + b"\0")
    except OSError as error:
        text = "no such interface" if error.errno == errno.ENODEV else str(error.strerror)
        text += " (CAP_NET_RAW)" if error.errno == errno.EPERM else ""
        raise OSError(error.errno, f"interface {interface}: {text}") from None


class Outward:
    """
    What is set on each socket of a family towards a server.

    It has been tried on a socket that connected nowhere: ``degraded`` says what the host did not let us do,
    and `prepare` sets the rest.
    """

    def __init__(self, spec: TcpSpec, family: int) -> None:
        """Raises OSError if there is no descriptor to try it on."""
        self._spec = spec
        self._family = family
        wanted = settings(spec, family)
        if spec.keepalive is not None and spec.keepalive != KEEPALIVE:  # this is set when it has lasted
            wanted += keepalive_settings(spec.keepalive)
        if spec.fastopen:
            wanted.append(
                Setting("fastopen", socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1, _fastopen(_ASKS_FASTOPEN))
            )
        with socket.socket(family, socket.SOCK_STREAM) as skt:
            self.degraded, self._settings = _try(skt, wanted)
            try:
                self._bind(skt, spec.source)
            except OSError as error:
                self.degraded += (f"{error.strerror}; no server is reached without it",)

    def prepare(self, skt: socket.socket, client: str) -> None:
        """Set all of it on a socket that is not connected yet; raises OSError if it cannot go this way."""
        for setting in self._settings:
            setting.set(skt)
        source = self._spec.source
        self._bind(skt, client if source == CLIENT else source)

    def _bind(self, skt: socket.socket, source: str) -> None:
        """Bind the socket to the interface and the source; of "client" see only whether it may be done."""
        if self._spec.interface:
            _bind_to_interface(skt, self._spec.interface)
        if not self._spec.source:
            return
        try:
            if self._spec.source == CLIENT:
                skt.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
                if source == CLIENT:
                    return
            # The port is chosen when it is known where the connection leads, so it can serve several.
            skt.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            if self._family == socket.AF_INET:
                source = source[len(_MAPPED) :] if source.startswith(_MAPPED) else source
            if not source:
                raise OSError(errno.EADDRNOTAVAIL, "the client has no IP address")
            if (":" in source) != (self._family == socket.AF_INET6):
                raise OSError(errno.EAFNOSUPPORT, f"{source} and the server are of different versions of IP")
            skt.bind((source, 0))
        except OSError as error:
            text = error.strerror
            if error.errno == errno.EPERM:
                text = f"{text}; CAP_NET_RAW or CAP_NET_ADMIN (AmbientCapabilities= of systemd)"
            elif error.errno == errno.EADDRNOTAVAIL and source:
                text = f"{text}; no interface of this host has {source}"
            raise OSError(error.errno, f"source = {self._spec.source}: {text}") from None


@lru_cache(maxsize=1024)
def outward(spec: TcpSpec, family: int) -> Outward:
    """What is set towards a server of whom so much is asked; tried once for each family."""
    return Outward(spec, family)


def degraded_towards(servers: Iterable[Server]) -> Iterator[str]:
    """What of all that is asked of TCP towards these servers the host does not let us do, each thing once."""
    whose: dict[str, dict[str, None]] = {}
    for server in servers:
        if server.tcp is None:
            continue
        for family in _families(server.address, server.tcp.source):
            for line in outward(server.tcp, family).degraded:
                whose.setdefault(line, {})[server.name] = None
    for line, names in whose.items():
        yield f"server {', '.join(names)}: {line}"


def _families(address: Address, source: str) -> set[int]:
    """The families of sockets to a server; a name may lead to both, and the source's is as good as any."""
    if isinstance(address, UnixAddress):
        return set()
    if isinstance(address, Addresses):
        return {socket.AF_INET6 if ":" in each.host else socket.AF_INET for each in address.each}
    host = address.host if isinstance(address, TcpAddress) else ""
    return {socket.AF_INET6 if ":" in host or ":" in source else socket.AF_INET}


def prepare(skt: socket.socket, family: int, spec: TcpSpec, client: str) -> None:
    """
    Make a socket ready to be connected to a server; ``client`` is the address of whoever it is for.

    Raises `DialFailed`.
    """
    try:
        outward(spec, family).prepare(skt, client)
    except OSError as error:
        reason = Reason.DESCRIPTORS if error.errno in OUT_OF_DESCRIPTORS else Reason.SOURCE_FAILED
        raise DialFailed(reason, error.strerror or str(error)) from None
