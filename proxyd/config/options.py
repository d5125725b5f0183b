"""
Which options are there, how is the value of each written, and what does it stand for?

Each section has a table of `Option`; a `Form` is how a value is written.  The tables are what the sections
are read by, and docs/options.md is printed from them, so the two cannot differ.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, Callable, ClassVar, Iterable, Optional, Sequence

from attrs import evolve, frozen

from proxyd.config.reader import Section, Word
from proxyd.config.words import Invalid, quoted
from proxyd.errors import Problem

Fail = Callable[[int, str], None]  # told the line and what is wrong there

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST = 365 * UNITS["d"]
NAME = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_DURATION = re.compile(r"([0-9]{1,9})([A-Za-z]*)", re.ASCII)
_LISTED = 12  # names that a message lists
_COMPARED = 1000  # names that a wrong one is compared with; each takes some 20 us
GUESSES = 20  # problems after which no more is guessed: a file of wrong names is answered at once


class Form:
    """
    How a value is written: ``shape`` says it in a few words, `parse` makes it a value of ours.

    ``parameters`` may follow any value, those of a variant only the word that it is for.
    """

    shape: ClassVar[str]
    parameters: ClassVar[tuple[Option, ...]] = ()
    variants: ClassVar[tuple[Variant, ...]] = ()

    def parse(self, words: Sequence[Word], fail: Fail) -> Any:
        """The value that these words (at least one) stand for; what is wrong with them goes to ``fail``."""
        raise NotImplementedError


class OneWord(Form):
    """A value of a single word."""

    def read(self, word: Word) -> Any:
        """The value that the word stands for.  Raises `Invalid`."""
        raise NotImplementedError

    def parse(self, words: Sequence[Word], fail: Fail) -> Any:
        if len(words) > 1:
            fail(words[1].line, f"takes one value, and {quoted(words[1].text)} is a second")
            return None
        try:
            return self.read(words[0])
        except Invalid as why:
            fail(words[0].line, str(why))


@frozen
class Option:
    """
    One option of a section, or one ``name=value`` of an option's parameters.

    ``default`` is written as in ini text; ``otherwise`` says what holds without the option where no value
    says the same.  ``example`` is a whole line (a whole parameter) that is not the default.  A ``named``
    option is written ``server NAME = ...`` and may be given once for each name; one whose name is
    ``optional_name`` may be given without as well.  One with ``into`` may be given several times; its values
    are gathered under that name, in their order, with those of others that go into the same.
    """

    name: str
    form: Form
    doc: str
    example: str
    default: str = ""
    otherwise: str = ""
    required: bool = False
    named: bool = False
    optional_name: bool = False
    into: str = ""

    @property
    def title(self) -> str:
        """How it is written before the ``=``."""
        if not self.named:
            return f"`{self.name}`"
        return f"`{self.name} NAME`" if not self.optional_name else f"`{self.name}` or `{self.name} NAME`"


@frozen
class Variant:
    """A word that a value may begin with: what it means, and the parameters that it alone takes."""

    name: str
    doc: str
    parameters: tuple[Option, ...] = ()


@frozen
class Duration(OneWord):
    """A time in seconds, such as 500ms, 5s, 10m, 1h, 2d: a whole number with one unit."""

    shape: ClassVar[str] = "a duration"
    may_be_zero: bool = False

    def read(self, word: Word) -> float:
        found = _DURATION.fullmatch(word.text)
        if found and not found.group(2):
            raise Invalid(f'{quoted(word.text)} has no unit; for seconds write "{word.text}s"')
        if found is None or found.group(2) not in UNITS:
            raise Invalid(f"{quoted(word.text)} is not a duration; write a whole number and ms, s, m, h or d")
        seconds = int(found.group(1)) * UNITS[found.group(2)]
        if seconds > LONGEST:
            raise Invalid(f"{quoted(word.text)} is too long; the longest is 365d")
        if not seconds and not self.may_be_zero:
            raise Invalid(f"{quoted(word.text)} is too short; it must be more than 0")
        return seconds


def show_duration(seconds: float) -> str:
    """The duration as an operator would write it: 90.0 is "90s", 600.0 is "10m"."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % UNITS[unit] == 0:
            return f"{int(seconds / UNITS[unit])}{unit}"
    return f"{round(seconds * 1000)}ms"


@frozen
class Count(OneWord):
    """A whole number within bounds, both included."""

    low: int
    high: int

    @property
    def shape(self) -> str:  # type: ignore[override]
        return f"a whole number, {self.low} to {self.high}"

    def read(self, word: Word) -> int:
        if not _NUMBER.fullmatch(word.text) or not self.low <= int(word.text) <= self.high:
            raise Invalid(f"{quoted(word.text)} is not {self.shape}")
        return int(word.text)


@frozen
class Percent(OneWord):
    """A whole number of percent within bounds, both included."""

    low: int = 0
    high: int = 100

    @property
    def shape(self) -> str:  # type: ignore[override]
        return f"{self.low}% to {self.high}%"

    def read(self, word: Word) -> int:
        number, percent, rest = word.text.partition("%")
        if not percent or rest or not _NUMBER.fullmatch(number) or not self.low <= int(number) <= self.high:
            raise Invalid(f"{quoted(word.text)} is not a whole number and %, {self.shape}")
        return int(number)


@frozen
class YesNo(OneWord):
    """Yes or no, in any of the usual words."""

    shape: ClassVar[str] = "`yes` or `no`"
    WORDS: ClassVar[dict[str, bool]] = {
        "yes": True, "on": True, "true": True, "no": False, "off": False, "false": False,
    }  # fmt: skip

    def read(self, word: Word) -> bool:
        if word.text not in self.WORDS:
            raise Invalid(f"{quoted(word.text)} is neither yes nor no")
        return self.WORDS[word.text]


@frozen
class Choice(OneWord):
    """One of a few names."""

    names: tuple[str, ...]

    @property
    def shape(self) -> str:  # type: ignore[override]
        *most, last = (f"`{name}`" for name in self.names)
        return f"{', '.join(most)} or {last}" if most else last

    def read(self, word: Word) -> str:
        if word.text not in self.names:
            raise Invalid(unknown(word.text, self.names))
        return word.text


@frozen
class Reference(OneWord):
    """
    The name of another section; whether there is such a one is judged when all are read.

    The words in ``also`` may stand in its place.
    """

    kind: str
    also: tuple[str, ...] = ()

    @property
    def shape(self) -> str:  # type: ignore[override]
        others = "".join(f", or `{word}`" for word in self.also)
        return f"the name of a `[{self.kind} NAME]`{others}"

    def read(self, word: Word) -> str:
        if not NAME.fullmatch(word.text):
            raise Invalid(unfit_name(word.text))
        return word.text


@frozen
class Several(Form):
    """One value or several, each a word of its own; none is given twice."""

    one: OneWord

    @property
    def shape(self) -> str:  # type: ignore[override]
        return f"{self.one.shape}; or several"

    def parse(self, words: Sequence[Word], fail: Fail) -> tuple[Any, ...]:
        found: dict[Any, None] = {}
        for word in words:
            try:
                value = self.one.read(word)
            except Invalid as why:
                fail(word.line, str(why))
                continue
            if value in found:
                fail(word.line, f"{quoted(word.text)} is given twice")
            found[value] = None
        return tuple(found)


@frozen
class Text(OneWord):
    """Any text that is not empty; one word, so blanks need quotes."""

    shape: ClassVar[str] = "text"
    longest: int = 1000

    def read(self, word: Word) -> str:
        if len(word.text) > self.longest:
            raise Invalid(f"is longer than {self.longest} letters")
        return word.text


@frozen
class Secret(Text):
    """Text that no message repeats."""

    shape: ClassVar[str] = "text, which no message and no log repeats"


@frozen
class Flag(Form):
    """A parameter that is there or not, and has no value."""

    shape: ClassVar[str] = "the word alone"


def unknown(name: str, known: Iterable[str], guess: bool = True) -> str:
    """That a name is not known, with the nearest that is (if it is to be guessed), or with those that are."""
    names = list(known)
    near = difflib.get_close_matches(name, names[:_COMPARED], n=1) if guess else []
    if near:
        return f'{quoted(name)} is not known; did you mean "{near[0]}"?'
    listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    return f"{quoted(name)} is not known; " + (f"known here: {listed}" if names else "there is none")


def unfit_name(name: str) -> str:
    """That a name has characters that names must not have."""
    return f"{quoted(name)} is not a name; names are letters, digits, and any of _ . -"


def parameters(words: Sequence[Word], options: Sequence[Option], fail: Fail) -> Optional[dict[str, Any]]:
    """The values of ``name=value`` words and of flags, by name; None if something was wrong with them."""
    table = {option.name: option for option in options}
    found: dict[str, Any] = {}
    wrong: list[tuple[int, str]] = []
    secret = ""  # the parameter before, if nobody may see it
    for word in words:
        name, equals, text = word.text.partition("=")
        option = table.get(name)
        form = option.form if option is not None else None
        if form is None and secret:
            wrong.append((word.line, f"a word after {secret} is no parameter; quote a value with blanks"))
            continue
        secret = name if isinstance(form, Secret) else ""
        if option is None or form is None:
            wrong.append((word.line, unknown(name, table)))
        elif name in found and not option.into:
            wrong.append((word.line, f"{name} is given twice"))
        elif not isinstance(form, OneWord):
            found[name] = True
            if equals:
                wrong.append((word.line, f"{name} takes no value; write {name} alone"))
        elif not text:
            wrong.append((word.line, f"{name} has no value; write {table[name].example}, for example"))
        else:
            try:
                value = form.read(evolve(word, text=text))
            except Invalid as why:
                wrong.append((word.line, f"{name}: {why}"))
                continue
            if option.into:
                found[option.into] = (*found.get(option.into, ()), value)
            else:
                found[name] = value
    for line, why_not in wrong:
        fail(line, why_not)
    return None if wrong else found


def values(section: Section, options: Sequence[Option], problems: list[Problem]) -> dict[str, Any]:
    """
    The values of the options of a section, by name; a named option's is again a dict, by its names.

    Only what was given and is right is in it; what is wrong is added to ``problems``.
    """
    table = {option.name: option for option in options}
    found: dict[str, Any] = {}
    seen: dict[str, int] = {}
    for entry in section.entries:

        def fail(line: int, text: str, title: str = entry.title) -> None:
            problems.append(section.problem(line, text, title))

        option = table.get(entry.key)
        if option is None:
            text = unknown(entry.key, table, guess=len(problems) < GUESSES)
            problems.append(section.problem(entry.line, text))
        elif option.named and not NAME.fullmatch(entry.name) and (entry.name or not option.optional_name):
            needed = f"needs a name; write {option.example}, for example"
            fail(entry.line, unfit_name(entry.name) if entry.name else needed)
        elif entry.name and not option.named:
            fail(entry.line, f"has a second word before the =; write {option.example}, for example")
        elif entry.title in seen and not option.into:
            fail(entry.line, f"is given twice; the first is in line {seen[entry.title]}")
        elif not entry.whole:
            seen[entry.title] = entry.line
        elif not entry.words:
            seen[entry.title] = entry.line
            fail(entry.line, f"has no value; write {option.example}, for example")
        else:
            seen[entry.title] = entry.line
            before = len(problems)
            value = option.form.parse(entry.words, fail)
            if len(problems) > before:
                continue
            if option.named:
                found.setdefault(entry.key, {})[entry.name] = value
            elif option.into:
                found[option.into] = (*found.get(option.into, ()), value)
            else:
                found[entry.key] = value
    given = {entry.key for entry in section.entries}
    for option in options:
        if option.required and option.name not in given:
            text = f"is missing; write {option.example}, for example"
            problems.append(section.problem(section.line, text, option.name))
    return found
