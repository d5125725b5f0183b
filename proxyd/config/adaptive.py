"""How many connections may a server have: so many, or as many as it is found to take?"""

from __future__ import annotations

from typing import ClassVar, Union

from attrs import frozen

from proxyd.config.options import Count, OneWord
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

ADAPTIVE = "adaptive"
MOST = 1_000_000


@frozen
class AdaptiveSpec:
    """Never fewer than ``least`` and never more than ``most``; they are Envoy's unless others are given."""

    least: int = 3
    most: int = 1000

    def __str__(self) -> str:
        return f"{ADAPTIVE}:{self.least}-{self.most}"


class MaxConnections(OneWord):
    """``90``, ``adaptive`` or ``adaptive:5-200``."""

    shape: ClassVar[str] = f"a whole number, 1 to {MOST}; `{ADAPTIVE}`, or with bounds `{ADAPTIVE}:5-200`"

    def read(self, word: Word) -> Union[int, AdaptiveSpec]:
        kind, colon, bounds = word.text.partition(":")
        if kind != ADAPTIVE:
            try:
                return Count(1, MOST).read(word)
            except Invalid as why:
                raise Invalid(f"{why}, and not {ADAPTIVE}") from None
        if not colon:
            return AdaptiveSpec()
        least, dash, most = bounds.partition("-")
        if not dash:
            raise Invalid(f"{quoted(word.text)} has no two bounds; write {ADAPTIVE}:5-200, for example")
        one, other = (Count(1, MOST).read(Word(text, word.path, word.line)) for text in (least, most))
        if one >= other:
            raise Invalid(f"{quoted(word.text)} has a lower bound that is not below its upper one")
        return AdaptiveSpec(one, other)
