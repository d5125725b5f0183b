"""What did the operator ask of the health checks?  The ``check =`` of a pool."""

from __future__ import annotations

from typing import ClassVar, Optional, Sequence

from attrs import evolve, frozen

from proxyd.config.options import Count, Duration, Fail, Form, Option, parameters, show_duration, unknown
from proxyd.config.reader import Word

KINDS = ("tcp",)
_MOST = 1000


@frozen
class CheckSpec:
    """
    How the servers of a pool are checked.

    ``interval`` and ``timeout`` are seconds; ``rise`` checks in a row that pass bring a server up,
    ``fall`` that fail take it down (HAProxy's words and counts).
    """

    kind: str = "tcp"
    interval: float = 5.0
    timeout: float = 2.0
    rise: int = 2
    fall: int = 3


PARAMETERS = (
    Option(
        "interval",
        Duration(),
        "The time from one check of a server to the next, give or take a fifth.",
        "interval=10s",
        default="5s",
    ),
    Option(
        "timeout",
        Duration(),
        "A check that has no answer by then has failed. It must be shorter than the interval; if it is not "
        "given, it is at most half of it.",
        "timeout=500ms",
        default="2s",
    ),
    Option(
        "rise",
        Count(1, _MOST),
        "So many checks in a row must pass to bring a server up.",
        "rise=3",
        default="2",
    ),
    Option(
        "fall",
        Count(1, _MOST),
        "So many checks in a row must fail to take a server down.",
        "fall=2",
        default="3",
    ),
)


class Check(Form):
    """``KIND interval=5s timeout=2s rise=2 fall=3``."""

    shape: ClassVar[str] = "`tcp`, then any of the parameters below"
    parameters: ClassVar[tuple[Option, ...]] = PARAMETERS

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[CheckSpec]:
        kind, *rest = words
        if "=" in kind.text:
            fail(kind.line, "begins with the kind of check; write tcp before the parameters")
            return None
        if kind.text not in KINDS:
            fail(kind.line, unknown(kind.text, KINDS))
        values = parameters(rest, PARAMETERS, fail)
        if values is None:
            return None
        spec = CheckSpec(kind.text, **values)
        if "timeout" not in values:
            return evolve(spec, timeout=min(spec.timeout, spec.interval / 2))
        if spec.timeout >= spec.interval:
            interval = show_duration(spec.interval)
            given = (
                f"interval={interval}" if "interval" in values else f"the interval, {interval} if not given"
            )
            fail(kind.line, f"timeout={show_duration(spec.timeout)} must be shorter than {given}")
        return spec
