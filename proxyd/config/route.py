"""What did the operator ask of a route?  The ``[route NAME]`` section."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, ClassVar, Iterator, Mapping

from attrs import frozen

from proxyd.config.options import Choice, OneWord, Option, Reference, Several
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

TLS = "tls"
SPEAKS = (TLS, "http", "ssh", "postgresql", "rdp", "silent", "other")
ANY_NAME = "*"

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_SNI = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*", re.ASCII)
_LONGEST_NAME = 253
_LONGEST_ALPN = 255  # bytes; RFC 7301 3.1


@frozen
class RouteSpec:
    """
    One ``[route]``: clients of these listeners for whom all conditions hold are led to this pool.

    A condition that is empty was not given, and holds always; at least one is given.  ``sni`` are names in
    lower case, ``*.`` and a name, or ``*``; ``alpn`` are protocols as they stand in a ClientHello.
    """

    name: str
    listeners: tuple[str, ...]
    pool: str
    sni: tuple[str, ...] = ()
    alpn: tuple[bytes, ...] = ()
    speaks: tuple[str, ...] = ()

    @property
    def conditions(self) -> tuple[frozenset[str], frozenset[bytes], frozenset[str]]:
        """What is the same for two routes between which nothing decides; who names a name speaks TLS."""
        speaks = () if self.sni or self.alpn else self.speaks
        return frozenset(self.sni), frozenset(self.alpn), frozenset(speaks)


@frozen
class ServerName(OneWord):
    """A name as clients give it in TLS's SNI, or a wildcard for several."""

    shape: ClassVar[str] = "a name, `*.` and a name, or `*` for any name"

    def read(self, word: Word) -> str:
        if not word.text.isascii():
            raise Invalid(
                f"{quoted(word.text)} has letters that no name has on the wire; write it as its xn-- form, "
                "as in xn--bcher-kva.example"
            )
        if word.text == ANY_NAME:
            return ANY_NAME
        name = word.text.lower()
        name = name[:-1] if name.endswith(".") else name
        if "*" in name.removeprefix("*."):
            raise Invalid(f"{quoted(word.text)}: a * stands alone, or once and before the first dot")
        if _is_address(name):
            raise Invalid(f"{quoted(word.text)} is an address, and clients give names alone (RFC 6066 3)")
        if not _SNI.fullmatch(name) or len(name) > _LONGEST_NAME:
            raise Invalid(f"{quoted(word.text)} is not the name of a host")
        return name


@frozen
class Protocol(OneWord):
    """A protocol as clients offer it in TLS's ALPN."""

    shape: ClassVar[str] = "a protocol as IANA registers it, such as `h2` or `http/1.1`"

    def read(self, word: Word) -> bytes:
        name = word.text.encode("utf-8")
        if not 1 <= len(name) <= _LONGEST_ALPN:
            raise Invalid(f"{quoted(word.text)} is not a protocol; its name has 1 to {_LONGEST_ALPN} bytes")
        return name


OPTIONS = (
    Option(
        "listener",
        Several(Reference("listener")),
        "Whose clients may take this route.",
        "listener = web",
        required=True,
    ),
    Option("pool", Reference("pool"), "Which servers they are led to.", "pool = api", required=True),
    Option(
        "sni",
        Several(ServerName()),
        "The name that a TLS client asks for (SNI) is one of these. `*.example.com` covers all names below "
        "example.com, however deep, and not example.com itself; `*` covers any name that is given.",
        "sni = api.example.com *.api.example.com",
        otherwise="any name, or none",
    ),
    Option(
        "alpn",
        Several(Protocol()),
        "A TLS client offers one of these protocols (ALPN).",
        "alpn = h2 http/1.1",
        otherwise="any protocols, or none",
    ),
    Option(
        "speaks",
        Several(Choice(SPEAKS)),
        "The client's first bytes are one of these. `silent` is a client that has sent nothing within "
        "`opening_timeout`, as where the server speaks first (SMTP, MySQL); `other` is none of these.",
        "speaks = ssh",
        otherwise="`tls` if `sni` or `alpn` is given; else anything",
    ),
)
CONDITIONS = ("sni", "alpn", "speaks")


def contradictions(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What does not go together in a route: each an option, and what is wrong with it."""
    others = [word for word in given.get("speaks", ()) if word != TLS]
    for condition in ("sni", "alpn"):
        if others and condition in given:
            yield "speaks", f"{quoted(others[0])} never comes with {condition}, which only TLS clients send"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
