"""How does an operator name answers of HTTP that are failures?  By their statuses, or by a class of them."""

from __future__ import annotations

from typing import ClassVar

from proxyd.config.options import OneWord
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

_CLASSES = {"4xx": range(400, 500), "5xx": range(500, 600)}


def statuses(text: str) -> frozenset[int]:
    """``503`` or ``5xx``.  Raises `Invalid`."""
    if text in _CLASSES:
        return frozenset(_CLASSES[text])
    if not (text.isascii() and text.isdigit() and 400 <= int(text) <= 599):
        raise Invalid(f"{quoted(text)} is not a status of 400 to 599, 4xx or 5xx")
    return frozenset((int(text),))


class Statuses(OneWord):
    """``500,502,504``, or ``5xx``."""

    shape: ClassVar[str] = "a status of 400 to 599, `4xx` or `5xx`; or several, with commas between"

    def read(self, word: Word) -> frozenset[int]:
        return frozenset().union(*map(statuses, word.text.split(",")))
