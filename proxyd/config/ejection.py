"""When does live traffic take a server out?  The ``eject =`` of a pool; `proxyd.policy.ejection` does it."""

from __future__ import annotations

from typing import ClassVar, Optional, Sequence

from attrs import frozen

from proxyd.config.options import (
    Count,
    Duration,
    Fail,
    Flag,
    Form,
    Option,
    Percent,
    parameters,
    show_duration,
)
from proxyd.config.reader import Word
from proxyd.config.status import Statuses
from proxyd.config.words import Invalid

OFF = "off"
_MOST_IN_A_ROW = 1000


@frozen
class EjectSpec:
    """
    After how many failures in a row a server is ejected, for how many seconds, and for how many at most.

    ``most`` is in percent of the servers of the pool.  The numbers are Envoy's, but for the last.  Of HTTP
    some ``statuses`` are failures, too.  A server is also ejected when in ``window`` seconds so large a
    ``share`` of what it had, in percent, came to nothing, if it had ``least`` at all (Hystrix's numbers); 0
    is no such bound.  One that comes back on ``trial`` gets one request, by which it stands or falls.
    """

    in_a_row: int = 5
    time: float = 30.0
    max_time: float = 300.0
    most: int = 50
    statuses: frozenset[int] = frozenset()
    share: int = 0
    window: float = 10.0
    least: int = 20
    trial: bool = False


class Ejection(Form):
    """``5 time=30s max_time=5m most=50%``, or ``off``."""

    shape: ClassVar[str] = f"`{OFF}`, or a whole number, 1 to {_MOST_IN_A_ROW}; then the parameters below"
    parameters: ClassVar[tuple[Option, ...]] = (
        Option(
            "time",
            Duration(),
            "How long a server is out, times how often it was lately: it is forgiven once for each such "
            "time in which it is not out.",
            "time=10s",
            default="30s",
        ),
        Option("max_time", Duration(), "The longest that it is out.", "max_time=10m", default="5m"),
        Option(
            "most",
            Percent(),
            "At most so many of the pool's servers are out; the last that is up never is.",
            "most=30%",
            default="50%",
        ),
        Option(
            "statuses",
            Statuses(),
            "For listeners with `protocol = http`: these answers are failures, too.",
            "statuses=500,502,504",
            otherwise="whatever a server answers is no failure",
        ),
        Option(
            "share",
            Percent(1, 100),
            "So large a share that fails ejects a server, too, in a row or not.",
            "share=50%",
            otherwise="only those in a row do",
        ),
        Option(
            "window", Duration(), "The `share` is of those in so long a time.", "window=1m", default="10s"
        ),
        Option(
            "least",
            Count(1, 1_000_000),
            "The `share` is of so many at least: a few say nothing.",
            "least=100",
            default="20",
        ),
        Option(
            "trial",
            Flag(),
            "For listeners with `protocol = http`: a server that comes back gets one request, and no other "
            "until that is answered, as long as others are there; if that fails, it is out again at once.",
            "trial",
            otherwise="it comes back as if nothing had been, and with `slow_start` step by step",
        ),
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[EjectSpec]:
        first, *rest = words
        if first.text == OFF:
            if rest:
                fail(rest[0].line, f"{OFF} stands alone")
            return None
        try:
            in_a_row = Count(1, _MOST_IN_A_ROW).read(first)
        except Invalid as why:
            fail(first.line, f"begins with how many in a row, or is {OFF}: {why}")
            return None
        values = parameters(rest, self.parameters, fail)
        if values is None:
            return None
        if "time" in values and "max_time" not in values:
            values["max_time"] = max(values["time"], EjectSpec().max_time)
        spec = EjectSpec(in_a_row, **values)
        for name in ("window", "least"):
            if name in values and "share" not in values:
                fail(first.line, f"{name} is of share, and there is none")
                return None
        if spec.max_time < spec.time:
            fail(first.line, f"max_time must not be shorter than time, {show_duration(spec.time)}")
        return spec
