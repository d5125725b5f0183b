"""Does the server say what it should to what we say, line by line as the operator wrote it?"""

from __future__ import annotations

from typing import Callable, Optional

from proxyd.config.forms import Expect, Send
from proxyd.config.probes import ScriptAsk
from proxyd.upkeep.probes.conversation import MOST_HELD, Call, Failed, shown
from proxyd.upkeep.probes.patterns import Search, TooLong

_Heard = Optional[tuple[bytes, int]]


async def probe(call: Call, ask: ScriptAsk) -> str:
    """
    Take the steps in their order: say something, or wait until what was expected has come.

    What came before it is passed over, and the next step looks behind it (HAProxy's tcp-check looks at all
    that has come so far; here each byte answers once).
    """
    search = Search()
    async with call.connect() as talk:
        for number, step in enumerate(ask.steps, 1):
            if isinstance(step, Send):
                talk.say(step.data)
                continue
            heard = bytearray()
            try:
                await talk.hear(_finder(step, search, heard), f"match of step {number}")
            except TooLong as failed:
                raise Failed(f"{failed} of step {number}") from None
            except Failed:
                what = f"said {shown(bytes(heard))}" if heard else "said nothing"
                raise Failed(f"{what}, which does not match step {number}") from None
    return ""


def _finder(step: Expect, search: Search, heard: bytearray) -> Callable[[bytes], _Heard]:
    """What looks for the expected bytes; ``heard`` are those that it has looked at."""

    def find(data: bytes) -> _Heard:
        heard[:] = data[:MOST_HELD]
        end = search.end(step.pattern, data)
        return (data[:end], end) if end is not None else None

    return find
