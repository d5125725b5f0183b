"""Which clients are to come back to the server that they had?  The ``affinity =`` of a pool."""

from __future__ import annotations

import re
from typing import ClassVar, Optional, Sequence

from attrs import frozen

from proxyd.config.options import Choice, Count, Duration, Fail, Form, OneWord, Option, parameters, unknown
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

SOURCE, VIA, SNI, TLS_SESSION, RDP_COOKIE = "source", "via", "sni", "tls_session", "rdp_cookie"
KEYS = (SOURCE, VIA, SNI, TLS_SESSION, RDP_COOKIE)

OF_THE_HELLO = (SNI, TLS_SESSION)  # what a ClientHello has to be read for

_ENTRIES = re.compile(r"([0-9]{1,9})([km]?)", re.ASCII)
_UNITS = {"": 1, "k": 1024, "m": 1024**2}
_MOST = 10 * _UNITS["m"]


@frozen
class AffinitySpec:
    """
    What clients are remembered by, how many, and for how many seconds after their last connection.

    ``prefix4`` and ``prefix6`` are bits of an address.
    """

    key: str
    ttl: float = 1800.0
    size: int = 100 * 1024
    prefix4: int = 32
    prefix6: int = 64


class Entries(OneWord):
    """A number of entries, as 5000, 100k or 1m; HAProxy's units."""

    shape: ClassVar[str] = "a whole number up to 10m; `k` is 1024 of them, `m` 1024 `k`"

    def read(self, word: Word) -> int:
        found = _ENTRIES.fullmatch(word.text)
        size = int(found[1]) * _UNITS[found[2]] if found else 0
        if not 1 <= size <= _MOST:
            raise Invalid(f"{quoted(word.text)} is not a number of entries, such as 5000 or 100k, up to 10m")
        return size


_TTL = Option(
    "ttl",
    Duration(),
    "A client that has not connected for so long is forgotten.",
    "ttl=8h",
    default="30m",
)
_SIZE = Option(
    "size",
    Entries(),
    "So many are remembered; then the one that has been away for longest makes room. An entry takes some "
    "200 bytes of memory, with a long name more.",
    "size=1m",
    default="100k",
)
_PREFIX4 = Option(
    "prefix4",
    Count(1, 32),
    "With `source` and `via`, IPv4 addresses that begin with the same bits, so many, are one client.",
    "prefix4=24",
    default="32",
)
_PREFIX6 = Option(
    "prefix6",
    Count(1, 128),
    "The same of IPv6. A customer is given at least a /64, and changes addresses within it.",
    "prefix6=56",
    default="64",
)

PARAMETERS = (_TTL, _SIZE, _PREFIX4, _PREFIX6)

# What each key heeds.
_HEEDED = {key: PARAMETERS if key in (SOURCE, VIA) else (_TTL, _SIZE) for key in KEYS}


class Affinity(Form):
    """``KEY ttl=30m size=100k``, with the parameters that this key heeds."""

    parameters: ClassVar[tuple[Option, ...]] = PARAMETERS

    @property
    def shape(self) -> str:  # type: ignore[override]
        return f"{Choice(KEYS).shape}, then those of the parameters below that it heeds"

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[AffinitySpec]:
        key, *rest = words
        if key.text not in KEYS:
            early = key.text.partition("=")[0] in [option.name for option in PARAMETERS]
            needed = f"begins with what clients are remembered by; write source {key.text}, for example"
            fail(key.line, needed if early else unknown(key.text, KEYS))
            return None
        heeded = _HEEDED[key.text]
        foreign = [word for word in rest if _name(word) in [o.name for o in PARAMETERS if o not in heeded]]
        for word in foreign:
            fail(word.line, f"{_name(word)} is of addresses, and {key.text} does not go by these")
        values = parameters([word for word in rest if word not in foreign], heeded, fail)
        return None if values is None or foreign else AffinitySpec(key.text, **values)


def _name(word: Word) -> str:
    return word.text.partition("=")[0]
