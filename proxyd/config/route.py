"""What did the operator ask of a route?  The ``[route NAME]`` section."""

from __future__ import annotations

from typing import Any, ClassVar, Iterator, Mapping

from attrs import frozen

from proxyd.config import action, condition
from proxyd.config.action import ActionSpec
from proxyd.config.condition import ConditionSpec, address_of, host_name, names_cover
from proxyd.config.options import Choice, OneWord, Option, Reference, Several
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

TLS = "tls"
SPEAKS = (TLS, "http", "ssh", "postgresql", "rdp", "silent", "other")
_LONGEST_ALPN = 255  # bytes; RFC 7301 3.1


@frozen
class RouteSpec:
    """
    One ``[route]``: clients of these listeners, or their requests, for which all conditions hold.

    A condition that is empty was not given, and holds always.  ``sni`` are names in lower case, ``*.`` and a
    name, or ``*``; ``alpn`` are protocols as they stand in a ClientHello.  They are led to ``pool``, unless
    ``action`` says otherwise.
    """

    name: str
    listeners: tuple[str, ...]
    pool: str = ""
    sni: tuple[str, ...] = ()
    alpn: tuple[bytes, ...] = ()
    speaks: tuple[str, ...] = ()
    condition: ConditionSpec = ConditionSpec()
    action: ActionSpec = ActionSpec()

    @property
    def names(self) -> tuple[str, ...]:
        """Whom it is for: those of the connection, or of the request."""
        return self.sni or self.condition.host

    def covers(self, other: RouteSpec) -> bool:
        """Whether nobody takes the other route where this one stands before it."""
        if self.action.redirect is not None:
            return False  # who is there already does not take it
        mine = () if self.sni or self.alpn else self.speaks
        theirs = (TLS,) if other.sni or other.alpn else other.speaks
        return (
            (not self.sni or (bool(other.sni) and all(self._names(name) for name in other.sni)))
            and (not self.alpn or (bool(other.alpn) and set(other.alpn) <= set(self.alpn)))
            and (not mine or (bool(theirs) and set(theirs) <= set(mine)))
            and self.condition.covers(other.condition)
        )

    def _names(self, name: str) -> bool:
        return any(names_cover(pattern, name) for pattern in self.sni)


@frozen
class ServerName(OneWord):
    """A name as clients give it in TLS's SNI, or a wildcard for several."""

    shape: ClassVar[str] = "a name, `*.` and a name, or `*` for any name"

    def read(self, word: Word) -> str:
        if address_of(word.text):
            raise Invalid(f"{quoted(word.text)} is an address, and clients give names alone (RFC 6066 3)")
        return host_name(word)


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
    Option(
        "pool",
        Reference("pool"),
        "Which servers they are led to.",
        "pool = api",
        otherwise="none, where the route does something else",
    ),
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
    *condition.OPTIONS,
    *action.OPTIONS,
)

OF_CONNECTIONS = ("sni", "alpn", "speaks")  # by what goes ahead of requests, or stands in their place
OF_REQUESTS = tuple(option.name for option in condition.OPTIONS)
ENDS = action.ENDS


def contradictions(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What does not go together in a route: each an option, and what is wrong with it."""
    others = [word for word in given.get("speaks", ()) if word != TLS]
    for name in ("sni", "alpn"):
        if others and name in given:
            yield "speaks", f"{quoted(others[0])} never comes with {name}, which only TLS clients send"
    yield from condition.contradictions(given)
    yield from action.contradictions(given)


def make(name: str, values: Mapping[str, Any]) -> RouteSpec:
    """The route of these values, of which ``listener`` is one."""
    given = dict(values)
    listeners = given.pop("listener")
    conditions, actions = condition.asked(given), action.asked(given)
    return RouteSpec(
        name, listeners, **given, condition=ConditionSpec(**conditions), action=ActionSpec(**actions)
    )
