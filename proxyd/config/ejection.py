"""When does live traffic take a server out?  The ``eject =`` of a pool; `proxyd.policy.ejection` does it."""

from __future__ import annotations

from typing import ClassVar, Optional, Sequence

from attrs import frozen

from proxyd.config.options import Count, Duration, Fail, Form, Option, Percent, parameters, show_duration
from proxyd.config.reader import Word
from proxyd.config.words import Invalid

OFF = "off"
_MOST_IN_A_ROW = 1000


@frozen
class EjectSpec:
    """
    After how many failures in a row a server is ejected, for how many seconds, and for how many at most.

    ``most`` is in percent of the servers of the pool.  The numbers are Envoy's, but for the last.
    """

    in_a_row: int = 5
    time: float = 30.0
    max_time: float = 300.0
    most: int = 50


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
        if spec.max_time < spec.time:
            fail(first.line, f"max_time must not be shorter than time, {show_duration(spec.time)}")
        return spec
