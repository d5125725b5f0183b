"""What becomes of open connections when servers go down and come up?  ``on_down =`` and ``on_up =``."""

from __future__ import annotations

from typing import ClassVar, Optional, Sequence

from proxyd.config.options import Choice, Duration, Fail, Form, unknown
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

KEEP, CLOSE, CLOSE_AFTER, CLOSE_BACKUPS = "keep", "close", "close_after", "close_backups"


class OnDown(Form):
    """Seconds after which connections are closed, or None for never."""

    shape: ClassVar[str] = f"`{KEEP}`, `{CLOSE}`, or `{CLOSE_AFTER}` and a duration"

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[float]:
        first, *rest = words
        if first.text not in (KEEP, CLOSE, CLOSE_AFTER):
            fail(first.line, unknown(first.text, (KEEP, CLOSE, CLOSE_AFTER)))
            return None
        if first.text != CLOSE_AFTER:
            if rest:
                fail(rest[0].line, f"{first.text} stands alone, and {quoted(rest[0].text)} follows")
            return None if first.text == KEEP else 0.0
        if len(rest) != 1:
            fail(first.line, f"{CLOSE_AFTER} takes one duration; write {CLOSE_AFTER} 30s, for example")
            return None
        try:
            return Duration().read(rest[0])
        except Invalid as why:
            fail(rest[0].line, str(why))
            return None


ON_UP = Choice((KEEP, CLOSE_BACKUPS))
