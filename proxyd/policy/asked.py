"""What does a request ask, as those see it who decide about it?"""

from __future__ import annotations

import ipaddress
import re
from typing import Iterable, Optional, Sequence
from urllib.parse import unquote_to_bytes

from proxyd.wire.httpfields import FORGED, FORWARDED, Field
from proxyd.wire.target import Target

_AUTHORITY = re.compile(rb"(\[[^\]]*\]|[^:]*)(?::([0-9]*))?").fullmatch
_NAME = re.compile(r"[a-z0-9._~-]+", re.ASCII).fullmatch


class Asked:
    """
    What a request asks, as the conditions see it; whatever takes some time is found out when it is asked for.

    ``client`` is the client's address in bytes, ``secure`` whether the request came by TLS, with the name
    ``sni`` and for the protocols ``alpn``.  What a proxy has added counts if it is ``trusted``.
    """

    __slots__ = (
        "_cookies",
        "_parameters",
        "_path",
        "_scheme",
        "alpn",
        "client",
        "fields",
        "host",
        "method",
        "secure",
        "sni",
        "target",
        "trusted",
    )

    def __init__(
        self,
        method: bytes,
        host: bytes,
        target: Target,
        fields: Sequence[Field],
        client: bytes = b"",
        secure: bool = False,
        trusted: bool = False,
        sni: str = "",
        alpn: Sequence[bytes] = (),
    ) -> None:
        self.method = method
        self.host = host
        self.target = target
        self.fields = fields
        self.client = client
        self.secure = secure
        self.trusted = trusted
        self.sni = sni.lower()
        self.alpn = alpn
        self._path: Optional[str] = None
        self._parameters: Optional[list[tuple[str, str]]] = None
        self._cookies: Optional[list[tuple[str, str]]] = None
        self._scheme = ""

    @property
    def path(self) -> str:
        """The path as it is compared."""
        if self._path is None:
            self._path = _text(self.target.plain)
        return self._path

    @property
    def scheme(self) -> str:
        """By which scheme it came: to us, or to the proxy before us, if that is trusted."""
        if not self._scheme:
            told = [*self.values("x-forwarded-proto")][-1:] if self.trusted else []
            own = "https" if self.secure else "http"
            self._scheme = told[0].lower() if told and told[0].lower() in ("http", "https") else own
        return self._scheme

    def values(self, name: str) -> Iterable[str]:
        """What the fields of this name say."""
        wanted = name.encode("ascii")
        for field in self.fields:
            kind = field[3]
            if field[0] == wanted and kind != FORGED and (kind != FORWARDED or self.trusted):
                yield _text(field[1])

    def parameters(self, name: str) -> Iterable[str]:
        """What the query says of this name, without escapes."""
        if self._parameters is None:
            pairs = (pair.partition(b"=") for pair in (self.target.query or b"").split(b"&"))
            self._parameters = [(_unescaped(key), _unescaped(value)) for key, _, value in pairs]
        return (value for key, value in self._parameters if key == name)

    def cookies(self, name: str) -> Iterable[str]:
        """What the cookies of this name hold (RFC 6265, 4.2.1)."""
        if self._cookies is None:
            self._cookies = []
            for line in self.values("cookie"):
                for pair in line.split(";"):
                    key, _, value = pair.strip(" \t").partition("=")
                    if len(value) > 1 and value[0] == value[-1] == '"':
                        value = value[1:-1]
                    self._cookies.append((key, value))
        return (value for key, value in self._cookies if key == name)


def host_of(authority: bytes) -> tuple[str, int]:
    """The name or the address, and the port or 0, of an authority; the same however it is written."""
    match = _AUTHORITY(authority)
    if match is None:
        return "", 0
    name = match.group(1).decode("ascii", "replace").lower()
    if "%" in name:
        plain = unquote_to_bytes(name).decode("ascii", "replace").lower()
        name = plain if _NAME(plain) else name  # a name is often said again, and must not hold a line feed
    name = name.rstrip(".")
    port = int(match.group(2)) if match.group(2) else 0
    try:
        return str(ipaddress.ip_address(name[1:-1] if name[:1] == "[" else name)), port
    except ValueError:
        return name, port


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _unescaped(data: bytes) -> str:
    return _text(unquote_to_bytes(data.replace(b"+", b" ")))
