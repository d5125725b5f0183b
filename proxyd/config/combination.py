"""Which checks of a pool must pass, all in all?  The ``checks =`` of a pool."""

from __future__ import annotations

import re
from typing import Callable, ClassVar, Iterable, Iterator, Mapping, Optional, Sequence, TypeVar, Union

from attrs import frozen

from proxyd.config.health import CheckSpec
from proxyd.config.options import NAME, Fail, Form, unknown
from proxyd.config.reader import Word
from proxyd.config.words import quoted

T = TypeVar("T")

WORDS = ("and", "or")
DEEPEST = 8  # parentheses in parentheses
MOST = 100  # names in one combination


@frozen
class AllOf:
    """All of these must pass."""

    parts: tuple[Combination, ...]


@frozen
class AnyOf:
    """One of these must pass."""

    parts: tuple[Combination, ...]


Combination = Union[str, AllOf, AnyOf]  # text is the name of a check


class Combined(Form):
    """``(a and b) or c``: names of checks, ``and``, ``or`` and parentheses."""

    shape: ClassVar[str] = "names of checks with `and`, `or` and parentheses between them"

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[Combination]:
        try:
            return _Parser(word for word in words).whole()
        except _Wrong as wrong:
            fail(wrong.line, str(wrong))
            return None


class _Wrong(Exception):
    """What does not belong there, and the line of it."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


class _Parser:
    """Takes one word after another."""

    def __init__(self, words: Iterable[Word]) -> None:
        self._left = [(token, word.line) for word in words for token in re.findall(r"[()]|[^()]+", word.text)]
        self._line = self._left[-1][1]
        self._names = 0

    def whole(self) -> Combination:
        """All of it."""
        found = self._several(1)
        if self._left:
            token, line = self._left[0]
            raise _Wrong(line, f"{quoted(token)} stands where and, or or the end belongs")
        return found

    def _several(self, depth: int) -> Combination:
        """Operands of one kind with the words between them, up to the end or a parenthesis."""
        parts, between = [self._one(depth)], ""
        while self._left and self._left[0][0] in WORDS:
            word, line = self._left.pop(0)
            if between and word != between:
                raise _Wrong(line, "mixes and with or; write parentheses, as in (a and b) or c")
            between = word
            parts.append(self._one(depth))
        if not between:
            return parts[0]
        return AllOf(tuple(parts)) if between == "and" else AnyOf(tuple(parts))

    def _one(self, depth: int) -> Combination:
        token, line = self._left.pop(0) if self._left else ("", self._line)
        if token == "(":
            if depth > DEEPEST:
                raise _Wrong(line, f"has parentheses more than {DEEPEST} deep")
            inner = self._several(depth + 1)
            if not self._left or self._left.pop(0)[0] != ")":
                raise _Wrong(line, "has a parenthesis that is not closed")
            return inner
        if token in WORDS or not NAME.fullmatch(token):
            found = f"{quoted(token)} stands" if token else "it ends"
            raise _Wrong(line, f"{found} where the name of a check belongs")
        self._names += 1
        if self._names > MOST:
            raise _Wrong(line, f"has more than {MOST} names")
        return token


def names(combination: Combination) -> Iterator[str]:
    """The names in it, in their order."""
    if isinstance(combination, str):
        yield combination
    else:
        for part in combination.parts:
            yield from names(part)


def fold(
    wanted: Optional[Combination],
    values: Mapping[str, T],
    all_of: Callable[[Iterable[T]], T],
    any_of: Callable[[Iterable[T]], T],
) -> T:
    """What the values of the checks come to, all in all; None wants all of them."""
    if wanted is None:
        return all_of(values.values())
    if isinstance(wanted, str):
        return values[wanted]
    join = all_of if isinstance(wanted, AllOf) else any_of
    return join([fold(part, values, all_of, any_of) for part in wanted.parts])


def contradictions(
    checks: Mapping[str, CheckSpec], combination: Optional[Combination]
) -> Iterator[tuple[str, str]]:
    """What is wrong with a pool's checks and what it wants of them: the option, and why."""
    for name in checks:
        if not name and len(checks) > 1:
            yield "check", "has no name, and there are others; write check NAME = for each"
        elif name in WORDS:
            yield f"check {name}", f'"{name}" cannot be its name; it has a meaning in checks ='
    if combination is None:
        return
    wanted = set(names(combination))
    for name in sorted(wanted - set(checks)):
        yield "checks", f"{unknown(name, filter(None, checks))}; names are given by check NAME ="
    for name in checks:
        if name and name not in wanted:
            yield f"check {name}", "is not named in checks =, so nothing would depend on it"
