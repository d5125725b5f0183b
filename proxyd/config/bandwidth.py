"""How many bytes may pass in a second?  The ``bandwidth`` options; `proxyd.policy.bandwidth` counts."""

from __future__ import annotations

import re
from typing import ClassVar, Optional, Sequence

from attrs import frozen

from proxyd.config.options import Fail, Form, OneWord, Option, parameters
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

UNITS = {"": 1, "k": 1024, "M": 1024**2, "G": 1024**3}

_SIZE = re.compile(r"([0-9]{1,9})([A-Za-z]?)", re.ASCII)

_LARGEST = 1024 * UNITS["G"]

LEAST_RATE = 1024  # a second; slower, a full read of 32 KiB would take longer than people wait

LEAST_BURST = 16 * 1024  # what may come at once, unless it is said otherwise: a record of TLS

BURST_SECONDS = 0.1  # or as much as comes in this time, if that is more


@frozen
class Allowance:
    """So many bytes a second, and so many at once after nothing has come for a while."""

    rate: int
    burst: int


@frozen
class BandwidthSpec:
    """What may come from clients (``inward``) and from servers (``outward``); None is without a bound."""

    inward: Optional[Allowance] = None
    outward: Optional[Allowance] = None


@frozen
class Size(OneWord):
    """A number of bytes such as 64k, 10M or 2G."""

    shape: ClassVar[str] = "a size, such as `64k`, `10M` or `2G`"

    def read(self, word: Word) -> int:
        found = _SIZE.fullmatch(word.text)
        if found is None or found[2] not in UNITS:
            raise Invalid(f"{quoted(word.text)} is not a size; write a whole number of bytes, or k, M or G")
        size = int(found[1]) * UNITS[found[2]]
        if not 0 < size <= _LARGEST:
            raise Invalid(f"{quoted(word.text)}: a size is more than 0, and at most 1024G")
        return size


@frozen
class ByteRate(OneWord):
    """Bytes a second, such as 500/s or 10M/s."""

    shape: ClassVar[str] = "bytes a second, such as `500/s`, `64k/s` or `10M/s`"
    least: int = 1

    def read(self, word: Word) -> int:
        text, slash, unit = word.text.partition("/")
        found = _SIZE.fullmatch(text)
        if found is None or found[2] not in UNITS or slash + unit != "/s":
            raise Invalid(f"{quoted(word.text)} is not a rate of bytes; write 64k/s or 10M/s, for example")
        rate = int(found[1]) * UNITS[found[2]]
        if not self.least <= rate <= _LARGEST:
            raise Invalid(f"{quoted(word.text)}: such a rate is {self.least}/s to 1024G/s")
        return rate


class Bandwidth(Form):
    """``in=1M/s out=10M/s burst=256k``."""

    shape: ClassVar[str] = "`in`, `out` or both, and `burst` if need be"
    parameters: ClassVar[tuple[Option, ...]] = (
        Option(
            "in", ByteRate(LEAST_RATE), "What may come from clients.", "in=1M/s", otherwise="without a bound"
        ),
        Option(
            "out", ByteRate(LEAST_RATE), "What may come from servers.", "out=10M/s",
            otherwise="without a bound",
        ),
        Option(
            "burst",
            Size(),
            "So much may pass at once, in each direction, after less has come for a while.",
            "burst=1M",
            otherwise="as much as comes in a tenth of a second, and at least 16k",
        ),
    )  # fmt: skip

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[BandwidthSpec]:
        values = parameters(words, self.parameters, fail)
        if values is None:
            return None
        rates = {name: values[name] for name in ("in", "out") if name in values}
        if not rates:
            fail(words[0].line, "bounds nothing; write in=1M/s, for example, or out=10M/s, or both")
            return None
        burst = values.get("burst")
        needed = int(max(rates.values()) * BURST_SECONDS)
        if burst is not None and burst < needed:
            fail(words[0].line, f"burst: a tenth of what comes in a second is needed, {needed} at least")
            return None

        def allowance(name: str) -> Optional[Allowance]:
            rate = rates.get(name)
            if rate is None:
                return None
            return Allowance(rate, burst or max(LEAST_BURST, int(rate * BURST_SECONDS)))

        return BandwidthSpec(allowance("in"), allowance("out"))


OPTIONS = (
    Option(
        "bandwidth",
        Bandwidth(),
        "So many bytes a second may pass on one connection. Who sends more is read from more slowly: the "
        "window of TCP closes, and nothing is dropped or buffered. Reads are of up to 32 KiB, so that much "
        "may be too much for a moment, which is waited for afterwards.",
        "bandwidth = in=1M/s out=10M/s",
        otherwise="as fast as client and server are",
    ),
    Option(
        "bandwidth_per_client",
        Bandwidth(),
        "The same for all connections of a client to this listener together, which take turns. A client is "
        "what `client_prefix4` and `client_prefix6` make of its address.",
        "bandwidth_per_client = out=20M/s",
        otherwise="a client gets as much as its connections do",
    ),
)
