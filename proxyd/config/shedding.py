"""When is the daemon overloaded?  The ``shed =`` of ``[proxyd]``; `proxyd.policy.shedding` decides."""

from __future__ import annotations

from typing import ClassVar, Optional, Sequence

from attrs import frozen

from proxyd.config.bandwidth import Size
from proxyd.config.options import Duration, Fail, Form, Option, Percent, parameters
from proxyd.config.reader import Word


@frozen
class ShedSpec:
    """Marks above which load is shed: percent of descriptors, bytes of memory, seconds of lag; 0 is none."""

    descriptors: int = 0
    memory: int = 0
    lag: float = 0.0


class Shed(Form):
    """``descriptors=90% memory=2G lag=200ms``."""

    shape: ClassVar[str] = "one or more of the parameters below"
    parameters: ClassVar[tuple[Option, ...]] = (
        Option(
            "descriptors",
            Percent(1, 99),
            "So many of the file descriptors that the process may have are in use.",
            "descriptors=90%",
            otherwise="they are no reason",
        ),
        Option(
            "memory",
            Size(),
            "The process has so much in RAM (VmRSS).",
            "memory=2G",
            otherwise="it is no reason",
        ),
        Option(
            "lag",
            Duration(),
            "The event loop runs so late (`proxyd_reactor_lag_seconds`).",
            "lag=200ms",
            otherwise="it is no reason",
        ),
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[ShedSpec]:
        values = parameters(words, self.parameters, fail)
        return None if values is None else ShedSpec(**values)


OPTIONS = (
    Option(
        "shed",
        Shed(),
        "Above any of these marks load is shed, one step after another for as long as it stays above: first "
        "`idle_timeout` and `half_closed_timeout` are a quarter of what they are; then the listeners with "
        "the highest number in `priority` accept nobody, if there are any with a lower one; then "
        "connections are cut (`shed`), of the clients that have most, those first that have been silent "
        "longest. Below nine tenths of all marks the steps are taken back.",
        "shed = descriptors=90% memory=2G lag=200ms",
        otherwise="nothing is shed; at `max_connections` clients wait",
    ),
)
