"""Does the server say what it should to what we say, line by line as the operator wrote it?"""

from __future__ import annotations

import re
from typing import Callable, Optional

from proxyd.config.forms import Expect, Send
from proxyd.config.probes import ScriptAsk
from proxyd.upkeep.probes.conversation import MOST_HELD, Call, Failed, shown

_Heard = Optional[tuple[bytes, int]]


async def probe(call: Call, ask: ScriptAsk) -> str:
    """
    Take the steps in their order: say something, or wait until what was expected has come.

    What came before it is passed over, and the next step looks behind it (HAProxy's tcp-check looks at all
    that has come so far; here each byte answers once).
    """
    async with call.connect() as talk:
        for number, step in enumerate(ask.steps, 1):
            if isinstance(step, Send):
                talk.say(step.data)
                continue
            heard = bytearray()
            try:
                await talk.hear(_finder(step, heard), f"match of step {number}")
            except Failed:
                what = f"said {shown(bytes(heard))}" if heard else "said nothing"
                raise Failed(f"{what}, which does not match step {number}") from None
    return ""


def _finder(step: Expect, heard: bytearray) -> Callable[[bytes], _Heard]:
    """What looks for the expected bytes; ``heard`` are those that it has looked at."""
    pattern = re.compile(step.pattern)

    def find(data: bytes) -> _Heard:
        heard[:] = data[:MOST_HELD]
        found = pattern.search(data)
        return (found[0], found.end()) if found is not None else None

    return find
