"""How do clients wait for a server of a pool that is full?  The ``queue =`` of a pool."""

from __future__ import annotations

from typing import ClassVar, Optional, Sequence

from attrs import frozen

from proxyd.config.options import Choice, Count, Duration, Fail, Form, Option, parameters
from proxyd.config.reader import Word

FIFO, LIFO, ADAPTIVE = "fifo", "lifo", "adaptive"
ORDERS = (FIFO, LIFO, ADAPTIVE)

LONGEST = 1024  # as many wait at most, unless it is said otherwise

FOR_A_SLOT = 4  # of them for each connection that the servers may have


@frozen
class QueueSpec:
    """
    How many may wait for a server, how long (seconds), and who comes first.

    ``length`` None is four for each connection that the servers may have, and `LONGEST` at most.
    """

    length: Optional[int] = None
    wait: float = 10.0
    order: str = FIFO

    def length_for(self, slots: int) -> int:
        """How many may wait where the servers have so many slots in all."""
        return min(LONGEST, FOR_A_SLOT * slots) if self.length is None else self.length


class Queue(Form):
    """``length=200 wait=30s order=adaptive``."""

    shape: ClassVar[str] = "any of the parameters below"
    parameters: ClassVar[tuple[Option, ...]] = (
        Option(
            "length",
            Count(0, 1_000_000),
            "So many wait at most. Who comes then is refused (reason `queue_full`), unless another client "
            "has more waiting: then the last of those has to go. With 0 nobody waits.",
            "length=200",
            otherwise=f"{FOR_A_SLOT} for each of the servers' `max_connections`, at most {LONGEST}",
        ),
        Option(
            "wait",
            Duration(),
            "Who has waited for so long is refused (reason `queue_timeout`).",
            "wait=30s",
            default="10s",
        ),
        Option(
            "order",
            Choice(ORDERS),
            "`fifo`: clients take turns, and the connections of a client theirs in the order in which they "
            "came. `lifo`: who came last is next, so under overload some are served at once instead of all "
            "too late. `adaptive`: `fifo` until the one who is next has waited for half of `wait`, `lifo` "
            "from then until the queue was empty.",
            "order=adaptive",
            default=FIFO,
        ),
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[QueueSpec]:
        values = parameters(words, self.parameters, fail)
        return None if values is None else QueueSpec(**values)
