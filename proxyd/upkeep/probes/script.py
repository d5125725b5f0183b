"""Does the server say what it should to what we say, line by line as the operator wrote it?"""

from __future__ import annotations

from typing import Optional

from proxyd.config.forms import Expect, Send
from proxyd.config.probes import ScriptAsk
from proxyd.upkeep.probes.conversation import Call, Failed, shown
from proxyd.upkeep.probes.patterns import Search, TooLong


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
            sought = _Sought(step, search)
            try:
                await talk.hear(sought, f"match of step {number}")
            except TooLong as failed:
                raise Failed(f"{failed} of step {number}") from None
            except Failed:
                what = f"said {shown(sought.heard)}" if sought.heard else "said nothing"
                raise Failed(f"{what}, which does not match step {number}") from None
    return ""


class _Sought:
    """Looks for the bytes that a step expects; ``heard`` are those that it has looked at last."""

    __slots__ = ("_search", "_step", "heard")

    def __init__(self, step: Expect, search: Search) -> None:
        self._step = step
        self._search = search
        self.heard = b""

    def __call__(self, data: bytes) -> Optional[tuple[bytes, int]]:
        self.heard = data
        end = self._search.end(self._step.pattern, data)
        return (data[:end], end) if end is not None else None
