"""
What does a bind string mean?

It is a server endpoint string of Twisted's: a kind and its parameters, split at ``:``, by place or as
``name=value``; a backslash takes away the meaning of ``:``, ``=`` and itself.  Of our own is only that an
IPv6 address may stand in brackets instead of having each colon escaped.

We read ``tcp``, ``tcp6``, ``unix``, ``systemd``, ``fd``, ``ssl`` and ``tls`` ourselves, because for these we
bind sockets of our own; any other kind is Twisted's to judge when it is bound.  ``ssl`` is written as Twisted
has it; its ``tls`` (since 26.4, and another syntax) is not ours, which 25.5 hosts have as well.  Two of
Twisted's are refused: what they do is not what they are asked for.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, Callable, ClassVar, Optional, Sequence

from attrs import frozen

from proxyd.config import tls
from proxyd.config.address import (
    BACKLOG,
    Bind,
    EndpointBind,
    FdBind,
    SystemdBind,
    TcpBind,
    UnixBind,
    file_path,
    ip_address,
    port_number,
    unix_path,
)
from proxyd.config.options import Fail, Form, OneWord, parameters, unknown
from proxyd.config.reader import Word
from proxyd.config.tls import NamedFiles, TlsSpec
from proxyd.config.words import Invalid, quoted

REFUSED_KINDS = {
    # It serves one connection, the daemon's own terminal, and ends the process with a traceback.
    "stdio": "is not a place where clients connect; write tcp:8080, for example",
    # Twisted's wrapper loses a header that comes in two pieces, and believes one from anybody.
    "haproxy": "bind to the address without haproxy:, and list who may send a header with proxy_protocol =",
}
PRIVATE_MODE = "600"  # the daemon's user and root
_KIND = re.compile(r"[a-z][a-z0-9_+-]*", re.ASCII)
_MODE = re.compile(r"[0-7]{3,4}", re.ASCII)
_FAMILIES = ("INET", "INET6", "UNIX")
_LARGEST = 65535


@frozen
class BindForm(OneWord):
    """One address to listen on."""

    shape: ClassVar[str] = "an [address to listen on](#addresses)"

    def read(self, word: Word) -> Bind:
        kind, colon, rest = word.text.partition(":")
        if colon and kind in REFUSED_KINDS:
            raise Invalid(f"{quoted(word.text)}: {REFUSED_KINDS[kind]}")
        read = _KINDS.get(kind)
        if read is not None and colon:
            try:
                return read(word, rest)
            except Invalid as why:
                raise Invalid(f"{quoted(word.text)}: {why}") from None
        if not colon or not _KIND.fullmatch(kind) or kind == "localhost":
            raise Invalid(
                f"{quoted(word.text)} is not an address to listen on; "
                "write tcp:8080, tcp:8080:interface=127.0.0.1 or unix:/run/name.sock, for example"
            )
        if kind not in _KINDS and difflib.get_close_matches(kind, _KINDS, n=1):
            raise Invalid(unknown(kind, _KINDS))
        return EndpointBind(word.text)


@frozen
class PrivateBind(OneWord):
    """A unix socket that others may not connect to unless a mode says so."""

    shape: ClassVar[str] = "`unix:PATH`, or `unix:PATH:mode=660` to let the group of the socket connect too"

    def read(self, word: Word) -> Bind:
        kind, colon, rest = word.text.partition(":")
        if kind != "unix" or not colon:
            raise Invalid(f"{quoted(word.text)} is not a unix socket; write unix:/run/name.sock, for example")
        try:
            return _unix(word, rest, PRIVATE_MODE)
        except Invalid as why:
            raise Invalid(f"{quoted(word.text)}: {why}") from None


@frozen
class Binds(Form):
    """Several addresses to listen on; each word is one."""

    shape: ClassVar[str] = "[addresses to listen on](#addresses), on one line or on several"

    def parse(self, words: Sequence[Word], fail: Fail) -> tuple[Bind, ...]:
        return tuple(BindForm().parse([word], fail) for word in words)


def own_tls(bind: Bind) -> Optional[TlsSpec]:
    """How TLS ends where this listens, if the address says so by itself."""
    return bind.tls if isinstance(bind, TcpBind) else None


def _tcp(word: Word, rest: str) -> Bind:
    fields = _fields(rest, ("port", "interface", "backlog"))
    interface = fields.get("interface", "")
    host = ip_address(interface) if interface else "0.0.0.0"
    return TcpBind(word.text, host, port_number(_needed("port", fields), 0), _backlog(fields))


def _tcp6(word: Word, rest: str) -> Bind:
    fields = _fields(rest, ("port", "backlog", "interface"))
    host = ip_address(fields.get("interface") or "::", 6)
    return TcpBind(word.text, host, port_number(_needed("port", fields), 0), _backlog(fields))


def _ssl(word: Word, rest: str) -> Bind:
    """As Twisted writes it, in the same order; its paths are relative to the ini file, as all are here."""
    fields = _fields(rest, _SSL_PARAMETERS)
    key = fields.get("privateKey", "server.pem")
    files = (key, fields.get("certKey", key), fields.get("extraCertChain", ""))
    named = NamedFiles(*(file_path(path, word) if path else "" for path in files))
    given: dict[str, Any] = {"named": named}
    if "sslmethod" in fields:
        given.update(_method(fields["sslmethod"]))
    if "dhParameters" in fields:
        given["dhparam"] = file_path(fields["dhParameters"], word)
    return _ending(word, fields, TlsSpec(**given))


def _method(name: str) -> dict[str, str]:
    """Which versions one of OpenSSL's methods stands for; those without a version stand for all."""
    if name in _OLD_METHODS:
        raise Invalid(f"sslmethod: {quoted(name)} is a version that nobody may speak any more (RFC 8996)")
    if name not in _METHODS:
        raise Invalid("sslmethod: " + unknown(name, _METHODS))
    return _METHODS[name]


def _tls(word: Word, rest: str) -> Bind:
    fields = _fields(rest, ("port", "certificates", "interface", "backlog", *_TLS_PARAMETERS))
    if rest.startswith("/"):
        raise Invalid("begins with its port; write tls:443:certificates=/etc/proxyd/certs, for example")
    path = file_path(_needed("certificates", fields), word)
    wrong: list[str] = []
    words = [
        Word(f"{name}={value}", word.path, word.line)
        for name, value in fields.items()
        if name in _TLS_PARAMETERS
    ]
    given = parameters(words, tls.PARAMETERS, lambda line, why: wrong.append(why))
    if given is not None:
        wrong += tls.contradictions(given)
    if wrong or given is None:
        raise Invalid("; ".join(wrong))
    return _ending(word, fields, TlsSpec((path,), **given))


def _ending(word: Word, fields: dict[str, str], spec: TlsSpec) -> Bind:
    """A TCP port where TLS ends."""
    interface = fields.get("interface", "")
    host = ip_address(interface) if interface else "0.0.0.0"
    return TcpBind(word.text, host, port_number(_needed("port", fields), 0), _backlog(fields), spec)


def _unix(word: Word, rest: str, mode: str = "666") -> Bind:
    fields = _fields(rest, ("address", "mode", "backlog"))
    mode = fields.get("mode", mode)
    if not _MODE.fullmatch(mode):
        raise Invalid(f"{quoted(mode)} is not a file mode; write mode=660, for example")
    return UnixBind(word.text, unix_path(fields.get("address", ""), word), int(mode, 8), _backlog(fields))


def _fd(word: Word, rest: str) -> Bind:
    fields = _fields(rest, ("fd",))
    return FdBind(word.text, _count("fd", _needed("fd", fields), 0))


def _systemd(word: Word, rest: str) -> Bind:
    fields = _fields(rest, ("domain", "index", "name"))
    if fields.get("domain", "INET") not in _FAMILIES:
        raise Invalid("domain: " + unknown(fields["domain"], _FAMILIES))
    if bool(fields.get("index")) == bool(fields.get("name")):
        raise Invalid("needs either index=N or name=NAME, the place or the name that systemd passes it by")
    index = fields.get("index")
    return SystemdBind(word.text, _count("index", index, 0) if index else None, fields.get("name", ""))


_KINDS: dict[str, Callable[[Word, str], Bind]] = {
    "tcp": _tcp,
    "tcp6": _tcp6,
    "unix": _unix,
    "systemd": _systemd,
    "fd": _fd,
    "ssl": _ssl,
    "tls": _tls,
}

_SSL_PARAMETERS = (
    "port", "privateKey", "certKey", "sslmethod", "interface", "backlog", "extraCertChain", "dhParameters",
)  # fmt: skip
_TLS_PARAMETERS = tuple(option.name for option in tls.PARAMETERS)

_METHODS: dict[str, dict[str, str]] = {
    "TLS_METHOD": {},
    "TLS_SERVER_METHOD": {},
    "SSLv23_METHOD": {},
    "TLSv1_2_METHOD": {"maximum": "1.2"},
}
_OLD_METHODS = ("SSLv2_METHOD", "SSLv3_METHOD", "TLSv1_METHOD", "TLSv1_1_METHOD")


def _needed(name: str, fields: dict[str, str]) -> str:
    if not fields.get(name):
        raise Invalid(f"has no {name}")
    return fields[name]


def _backlog(fields: dict[str, str]) -> int:
    return _count("backlog", fields["backlog"], 1) if "backlog" in fields else BACKLOG


def _count(name: str, text: str, low: int) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not low <= int(text) <= _LARGEST:
        raise Invalid(f"{name} is a whole number, {low} to {_LARGEST}")
    return int(text)


def _fields(text: str, names: tuple[str, ...]) -> dict[str, str]:
    """The parameters of an endpoint string by name; those without a name take the names in their order."""
    fields: dict[str, str] = {}
    for place, (name, value) in enumerate(_pieces(text)):
        if name is None and place >= len(names):
            raise Invalid(f"has {quoted(value)} too many; an IPv6 address stands in brackets, as in [::1]")
        name = names[place] if name is None else name
        if name not in names:
            raise Invalid(unknown(name, names))
        if name in fields:
            raise Invalid(f"has {name} twice; an IPv6 address stands in brackets, as in [::1]")
        fields[name] = value
    return fields


def _pieces(text: str) -> list[tuple[Optional[str], str]]:
    """What stands between the colons: a value with its name, or with None."""
    pieces: list[tuple[Optional[str], str]] = []
    name: Optional[str] = None
    value, place = "", 0
    while place < len(text):
        char = text[place]
        if char == "\\":
            if place + 1 == len(text):
                raise Invalid("ends with a backslash")
            place += 1
            value += text[place]
        elif char == "[" and not value:
            end = text.find("]", place)
            if end < 0:
                raise Invalid("has a [ that is not closed")
            value, place = text[place + 1 : end], end
        elif char == "=" and name is None:
            name, value = value, ""
        elif char == ":":
            pieces.append((name, value))
            name, value = None, ""
        else:
            value += char
        place += 1
    return [*pieces, (name, value)]
