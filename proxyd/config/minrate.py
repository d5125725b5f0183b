"""How slow may a client or a server be?  The ``min_rate =`` of a listener; `proxyd.policy.minrate` judges."""

from __future__ import annotations

from typing import ClassVar, Optional, Sequence

from attrs import frozen

from proxyd.config.bandwidth import ByteRate
from proxyd.config.options import Duration, Fail, Form, Option
from proxyd.config.reader import Word
from proxyd.config.words import Invalid

AFTER = "after"

LEAST_SECONDS = 2.0  # eight looks, with the wheel of 250 ms


@frozen
class MinRateSpec:
    """At least ``rate`` bytes a second, by the mean of ``seconds``."""

    rate: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.rate}/s after {self.seconds:g}s"


class MinRate(Form):
    """``500/s after 10s``."""

    shape: ClassVar[str] = "bytes a second, the word `after`, and a duration of 2s or more"

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[MinRateSpec]:
        if len(words) != 3 or words[1].text != AFTER:
            fail(words[0].line, "is a rate, the word after, and a duration, as in 500/s after 10s")
            return None
        try:
            rate, seconds = ByteRate().read(words[0]), Duration().read(words[2])
        except Invalid as why:
            fail(words[0].line, str(why))
            return None
        if seconds < LEAST_SECONDS:
            fail(words[2].line, f"{AFTER}: the shortest time that can be judged is {LEAST_SECONDS:g}s")
            return None
        return MinRateSpec(rate, seconds)


OPTIONS = (
    Option(
        "min_rate",
        MinRate(),
        "Who is slower than that for so long is cut: a client or a server that takes what it is sent more "
        "slowly while there is more of it (`client_too_slow`, `server_too_slow`), and a client that goes on "
        "sending more slowly without being answered (`client_too_slow`). Who says nothing at all is idle "
        "and not slow, and who is held back by `bandwidth`, or by a server that takes nothing, is not to "
        "blame. Not for clients that send now and then and are never answered, such as those of syslog. With "
        "`protocol = http` bodies are judged: a client that owes more of one must send it, and silence is "
        "slow, too; before its answer it is told 408. Heads have `header_timeout`.",
        "min_rate = 500/s after 10s",
        otherwise="any speed will do, as long as something moves within `idle_timeout`",
    ),
)
