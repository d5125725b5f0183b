"""What did the operator mean by an address?  Where a listener binds, and where a server lives."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import TYPE_CHECKING, ClassVar, Optional, Union

from attrs import frozen

from proxyd.config.options import OneWord
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

if TYPE_CHECKING:
    from proxyd.config.tls import TlsSpec

LONGEST_UNIX_PATH = 107  # bytes; sun_path of Linux is 108 with the NUL that ends it
LONGEST_NAME = 253  # letters, RFC 1035's 255 bytes
BACKLOG = 511  # nginx's and httpd's; the kernel caps it at net.core.somaxconn


@frozen
class TcpBind:
    """
    Listen on a TCP port.  ``host`` is an IP address; "0.0.0.0" is all of IPv4, "::" all of IPv6.

    ``tls`` is how TLS ends there, if this address says so by itself (``ssl:`` and ``tls:``).
    """

    text: str
    host: str
    port: int
    backlog: int = BACKLOG
    tls: Optional[TlsSpec] = None


@frozen
class UnixBind:
    """Listen on a unix socket; ``mode`` is the file mode of the socket."""

    text: str
    path: str
    mode: int = 0o666
    backlog: int = BACKLOG


@frozen
class FdBind:
    """Listen on a socket that the parent process left open under this descriptor."""

    text: str
    fd: int


@frozen
class SystemdBind:
    """Listen on a socket that systemd passed: by its place (``index``) or by its ``FileDescriptorName``."""

    text: str
    index: Optional[int] = None
    name: str = ""


@frozen
class EndpointBind:
    """Any other Twisted server endpoint string; Twisted judges it when it is bound."""

    text: str


Bind = Union[TcpBind, UnixBind, FdBind, SystemdBind, EndpointBind]


@frozen(cache_hash=True)
class TcpAddress:
    """A TCP server: ``host`` is an IPv4 or IPv6 address without brackets, or a name."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@frozen(cache_hash=True)
class UnixAddress:
    """A server on a unix socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@frozen(cache_hash=True)
class Addresses:
    """A server with several addresses, in the order in which they are to be tried; at least two."""

    each: tuple[TcpAddress, ...]

    def __str__(self) -> str:
        return ",".join(str(address) for address in self.each)


@frozen(cache_hash=True)
class SrvAddress:
    """Servers that the SRV records of a name give: their hosts, ports, weights and priorities (RFC 2782)."""

    name: str

    def __str__(self) -> str:
        return f"srv:{self.name}"


Address = Union[TcpAddress, UnixAddress, Addresses, SrvAddress]


def named(address: Address) -> bool:
    """Whether a name service must say where that is."""
    if isinstance(address, TcpAddress):
        return ":" not in address.host and not _ONLY_DIGITS.fullmatch(address.host)
    return isinstance(address, SrvAddress)


_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?", re.ASCII)
_ONLY_DIGITS = re.compile(r"[0-9.]+", re.ASCII)


def at_port(server: Address, port: Optional[int]) -> Address:
    """Another port of the same server; a unix socket has none, and None is the port that it has."""
    if port is None or isinstance(server, (UnixAddress, SrvAddress)):
        return server
    if isinstance(server, Addresses):
        return Addresses(tuple(TcpAddress(each.host, port) for each in server.each))
    return TcpAddress(server.host, port)


@frozen
class ServerAddress(OneWord):
    """Where a server lives: ``HOST:PORT``, ``[IPv6]:PORT``, ``unix:PATH``, or ``srv:NAME`` if that can be."""

    may_be_srv: bool = False

    @property
    def shape(self) -> str:  # type: ignore[override]
        return f"`HOST:PORT`, `[IPv6]:PORT`{', `srv:NAME`' if self.may_be_srv else ''} or `unix:PATH`"

    def read(self, word: Word) -> Address:
        if self.may_be_srv and word.text.startswith("srv:"):
            return SrvAddress(service_name(word.text[len("srv:") :]))
        if word.text.startswith("unix:"):
            return UnixAddress(unix_path(word.text[len("unix:") :], word))
        host, colon, port = word.text.rpartition(":")
        if "/" in word.text or host.partition(":")[0] in ("tcp", "tcp6", "http", "https"):
            raise Invalid(f"{quoted(word.text)} is not an address; write HOST:PORT alone, or unix:PATH")
        if not colon or not host or word.text.endswith("]"):
            raise Invalid(f"{quoted(word.text)} is not an address; write HOST:PORT, [IPv6]:PORT or unix:PATH")
        if host.startswith("[") and host.endswith("]"):
            return TcpAddress(ip_address(host[1:-1], 6), port_number(port))
        if ":" in host:
            raise Invalid(f"{quoted(word.text)}: an IPv6 address stands in brackets, as in [::1]:5432")
        if _ONLY_DIGITS.fullmatch(host):
            return TcpAddress(ip_address(host, 4), port_number(port))
        if not is_host_name(host):
            raise Invalid(f"{quoted(host)} is neither an IP address nor the name of a host")
        return TcpAddress(host, port_number(port))


@frozen
class Port(OneWord):
    """A TCP port."""

    shape: ClassVar[str] = "a port, 1 to 65535"

    def read(self, word: Word) -> int:
        return port_number(word.text)


@frozen
class File(OneWord):
    """The path of a file, which is not opened yet."""

    shape: ClassVar[str] = "the path of a file"

    def read(self, word: Word) -> str:
        return file_path(word.text, word)


@frozen
class Folder(File):
    """The path of a folder, which is not looked at yet."""

    shape: ClassVar[str] = "the path of a folder"


def is_host_name(text: str) -> bool:
    """Whether this can be the name of a host or a service: letters, digits, hyphens and underscores."""
    return len(text) <= LONGEST_NAME and _HOST_NAME.fullmatch(text) is not None


def service_name(text: str) -> str:
    """The name of SRV records, as _postgresql._tcp.example.com.  Raises `Invalid`."""
    if not is_host_name(text) or not text.startswith("_"):
        raise Invalid(
            f"{quoted(text)} names no SRV records; write srv:_postgresql._tcp.example.com, for example"
        )
    return text


def ip_address(text: str, version: int = 0) -> str:
    """The IP address in its shortest form; of the given version if it is not 0.  Raises `Invalid`."""
    kind = f"IPv{version}" if version else "IP"
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise Invalid(f"{quoted(text)} is not an {kind} address") from None
    if version not in (0, address.version):
        raise Invalid(f"{quoted(text)} is not an {kind} address")
    return str(address)


def port_number(text: str, lowest: int = 1) -> int:
    """A TCP port.  Raises `Invalid`."""
    if not re.fullmatch("[0-9]{1,5}", text) or not lowest <= int(text) <= 65535:
        raise Invalid(f"{quoted(text)} is not a port; ports are {lowest} to 65535")
    return int(text)


def file_path(text: str, word: Word) -> str:
    """The absolute path of a file that is named in ini text, relative to the folder of that ini file."""
    return os.path.abspath(os.path.join(os.path.dirname(word.path), text))


def unix_path(text: str, word: Word) -> str:
    """The absolute path of a unix socket.  Raises `Invalid`."""
    if not text or text.endswith("/"):
        raise Invalid("the path of the socket is missing; write unix:/run/name.sock, for example")
    path = file_path(text, word)
    size = len(os.fsencode(path))
    if size > LONGEST_UNIX_PATH:
        raise Invalid(
            f"{quoted(path)} is {size} bytes long; a unix socket's path has at most {LONGEST_UNIX_PATH}"
        )
    return path
