"""How many clients may come, and how fast?  The limits of a listener; `proxyd.policy.limits` holds them."""

from __future__ import annotations

import re
from typing import ClassVar

from attrs import frozen

from proxyd.config.options import UNITS, Count, Duration, OneWord, Option
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

_RATE = re.compile(r"([0-9]{1,9})/([0-9]{0,9})([A-Za-z]+)", re.ASCII)

_MOST = 10_000_000
_LONGEST = UNITS["d"]


@frozen
class RateSpec:
    """So many in so many seconds: ``100/10s`` is 100 in any 10 seconds, all at once or one by one."""

    count: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds:g}s"


@frozen
class Rate(OneWord):
    """A rate such as 50/s, 100/10s or 600/1m."""

    shape: ClassVar[str] = "a rate, such as `50/s`, `100/10s` or `600/1m`"

    def read(self, word: Word) -> RateSpec:
        found = _RATE.fullmatch(word.text)
        if found is None or found[3] not in UNITS:
            raise Invalid(f"{quoted(word.text)} is not a rate; write a number, / and a time, such as 100/10s")
        count, seconds = int(found[1]), int(found[2] or 1) * UNITS[found[3]]
        if not 1 <= count <= _MOST:
            raise Invalid(f"{quoted(word.text)}: a rate is of 1 to {_MOST}")
        if not 0 < seconds <= _LONGEST:
            raise Invalid(f"{quoted(word.text)}: the time of a rate is at most a day")
        return RateSpec(count, seconds)


OPTIONS = (
    Option(
        "max_connections",
        Count(1, _MOST),
        "So many connections may be open at this listener; who comes then is refused (`listener_full`).",
        "max_connections = 5000",
        otherwise="no bound but that of `[proxyd]`, at which clients wait",
    ),
    Option(
        "max_connections_per_client",
        Count(1, _MOST),
        "So many connections may a client have open at this listener (`client_full`).",
        "max_connections_per_client = 50",
        otherwise="no bound",
    ),
    Option(
        "connection_rate",
        Rate(),
        "So many connections are let in here in that time, at once or one by one (`listener_rate`).",
        "connection_rate = 2000/s",
        otherwise="no bound",
    ),
    Option(
        "connection_rate_per_client",
        Rate(),
        "So many of a client are let in here in that time, at once or one by one (`client_rate`).",
        "connection_rate_per_client = 100/10s",
        otherwise="no bound",
    ),
    Option(
        "max_handshakes",
        Count(1, _MOST),
        "So many clients may be in the midst of a TLS handshake, or of what is read of them before a server "
        "is chosen; who comes then is refused (`handshakes`).",
        "max_handshakes = 200",
        otherwise="no bound",
    ),
    Option(
        "max_lifetime",
        Duration(),
        "A connection that has lasted so long is closed, whatever it does (`lifetime`).",
        "max_lifetime = 8h",
        otherwise="no bound",
    ),
    Option(
        "client_prefix4",
        Count(1, 32),
        "Clients whose IPv4 addresses begin with the same bits, so many, are one client to the limits, and "
        "where clients take turns in a `queue`.",
        "client_prefix4 = 24",
        default="32",
    ),
    Option(
        "client_prefix6",
        Count(1, 128),
        "The same of IPv6. A customer is given at least a /64, and changes addresses within it.",
        "client_prefix6 = 56",
        default="64",
    ),
)
