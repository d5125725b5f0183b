"""How are connections to be spread?  The ``balance =`` of a pool; `proxyd.policy.balance` does it."""

from __future__ import annotations

import re
from typing import ClassVar, Optional, Sequence

from attrs import frozen

from proxyd.config.options import Choice, Count, Duration, Fail, Form, Option, parameters, unknown
from proxyd.config.reader import Word
from proxyd.config.words import Invalid

BALANCES = (
    "roundrobin",
    "static-rr",
    "leastconn",
    "p2c",
    "random",
    "first",
    "source",
    "hash",
    "maglev",
    "leasttime",
    "leastbytes",
)

FIXED_WEIGHTS = ("static-rr",)  # whose weights do not change while they run; HAProxy's word

# Where servers that are back start slowly: not where weights are fixed (as in HAProxy), nor where they make a
# table of hashes, which would lead the clients of others elsewhere and back, nor where they do not count.
RAMPED = ("roundrobin", "leastconn", "p2c", "random", "leasttime", "leastbytes")

SOURCE, SOURCE_PORT, SNI = "source", "source+port", "sni"
HOST, PATH, HEADER, COOKIE = "host", "path", "header:", "cookie:"
KEYS = (SOURCE, SOURCE_PORT, SNI, HOST, PATH, f"{HEADER}NAME", f"{COOKIE}NAME")

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch  # a token (RFC 9110, 5.6.2)

CONNECT, FIRST_BYTE, RTT = "connect", "first_byte", "rtt"
MEASURES = (CONNECT, FIRST_BYTE, RTT)


@frozen
class BalanceSpec:
    """
    How connections are spread: the name of the way, and what only some of the ways heed.

    ``prefix4`` and ``prefix6`` are bits of an address; ``hash_balance_factor`` is in percent, 0 for no bound
    (HAProxy's word and number); ``decay`` is in seconds.
    """

    name: str = "p2c"
    key: str = SOURCE
    prefix4: int = 32
    prefix6: int = 64
    hash_balance_factor: int = 0
    measure: str = CONNECT
    decay: float = 10.0


def of_requests(key: str) -> bool:
    """Whether a key is in requests, and not a matter of who makes them."""
    return key in (HOST, PATH) or key.startswith((HEADER, COOKIE))


class _Key(Choice):
    """One of a few names, or one with the name of a header or a cookie behind it."""

    def read(self, word: Word) -> str:
        kind, colon, name = word.text.partition(":")
        if kind + colon not in (HEADER, COOKIE):
            return super().read(word)
        if not _NAME(name) or word.text in self.names:
            raise Invalid(f"write the name of a {kind} in place of {name or 'nothing'}")
        return word.text.lower() if kind + colon == HEADER else word.text


_KEY = Option(
    "key",
    _Key(KEYS),
    "`hash` and `maglev` go by this: the client's address, its address and port, or the name that it asks "
    "for in TLS; with `protocol = http` what is in the request: the host, the path as it was written and "
    "without the query, or the first header or cookie of a name. Who has no such thing gets a server as by "
    "`p2c`.",
    "key=sni",
    default=SOURCE,
)
_PREFIX4 = Option(
    "prefix4",
    Count(1, 32),
    "Clients whose IPv4 addresses begin with the same bits, so many, are one client to `source`, `hash` and "
    "`maglev`.",
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
_FACTOR = Option(
    "hash_balance_factor",
    Count(101, 10_000),
    "With `source`, `hash` and `maglev` no server gets more than so many percent of its fair share of the "
    "open connections; who comes then gets the next server that the key leads to.",
    "hash_balance_factor=150",
    otherwise="no bound: a server gets all that the keys lead to it",
)
_MEASURE = Option(
    "measure",
    Choice(MEASURES),
    "What `leasttime` goes by. `connect`: how long the connection to the server took; `first_byte`: how "
    "long it took the server to answer the client's first bytes, or to speak first; `rtt`: the round trip "
    "that the kernel measured. A server that cannot be reached counts as if it had taken `connect_timeout`.",
    "measure=first_byte",
    default=CONNECT,
)
_DECAY = Option(
    "decay",
    Duration(),
    "In this time, what `leasttime` or `leastbytes` knows of a server loses about two thirds of its weight.",
    "decay=1m",
    default="10s",
)

PARAMETERS = (_KEY, _PREFIX4, _PREFIX6, _FACTOR, _MEASURE, _DECAY)

# What each way heeds; one that is not here has no parameters.
_HEEDED = {
    "source": (_PREFIX4, _PREFIX6, _FACTOR),
    "hash": (_KEY, _PREFIX4, _PREFIX6, _FACTOR),
    "maglev": (_KEY, _PREFIX4, _PREFIX6, _FACTOR),
    "leasttime": (_MEASURE, _DECAY),
    "leastbytes": (_DECAY,),
}


class Balance(Form):
    """``NAME key=source prefix6=64 ...``, with the parameters that this way of balancing heeds."""

    parameters: ClassVar[tuple[Option, ...]] = PARAMETERS

    @property
    def shape(self) -> str:  # type: ignore[override]
        return f"{Choice(BALANCES).shape}, then those of the parameters below that it heeds"

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[BalanceSpec]:
        name, *rest = words
        if name.text not in BALANCES:
            early = name.text.partition("=")[0] in [option.name for option in PARAMETERS]
            needed = f"begins with the way of balancing; write hash before {name.text}, for example"
            fail(name.line, needed if early else unknown(name.text, BALANCES))
            return None
        heeded = _HEEDED.get(name.text, ())
        foreign = [word for word in rest if _is_foreign(word, heeded)]
        for word in foreign:
            fail(word.line, _whose(word.text.partition("=")[0], name.text))
        values = parameters([word for word in rest if word not in foreign], heeded, fail)
        if values is None or foreign:
            return None
        for prefix in ("prefix4", "prefix6"):
            key = values.get("key", SOURCE)
            if prefix in values and (key == SNI or of_requests(key)):
                fail(name.line, f"{prefix} is of addresses, and key={key} does not go by these")
        return BalanceSpec(name.text, **values)


def _is_foreign(word: Word, heeded: Sequence[Option]) -> bool:
    """Whether it is a parameter, and one of another way of balancing."""
    name = word.text.partition("=")[0]
    return name in [option.name for option in PARAMETERS if option not in heeded]


def _whose(parameter: str, name: str) -> str:
    *most, last = [
        other for other, heeded in _HEEDED.items() if parameter in [option.name for option in heeded]
    ]
    owners = f"{', '.join(most)} and {last}" if most else last
    return f"{parameter} belongs to {owners}; {name} does not heed it"
