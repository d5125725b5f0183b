"""
How does one line of ini text fall into words?

As in a shell: blanks separate words, quotes keep blanks, ``;`` and ``#`` after a blank begin a comment.
``${NAME}`` is a variable of the environment and ``$$`` a dollar, except between single quotes.  What a
variable holds is never split and never read as a comment.

One difference: a backslash takes away the meaning of a blank, a quote, a backslash, ``;`` or ``#`` (between
double quotes: of ``"`` and backslash) and is kept before anything else, so that Twisted's ``\\:`` passes.
"""

from __future__ import annotations

import re
from typing import Mapping, Optional

BLANKS = " \t"
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_ESCAPED = {"": " \t\"'\\;#", '"': '"\\'}
_SHOWN = 60  # letters of a value that a message repeats


class Invalid(Exception):
    """What the operator wrote cannot be used; the text says why, and what can be."""


def printable(text: str, longest: int = _SHOWN) -> str:
    """The text as messages show it: on one line, and not too long."""
    shown = text if len(text) <= longest else text[:longest] + "..."
    return shown if shown.isprintable() else shown.encode("unicode_escape").decode("ascii")


def quoted(text: str) -> str:
    """The text as messages show it, in quotes."""
    return f'"{printable(text)}"'


def unprintable(text: str) -> Optional[re.Match[str]]:
    """The first character that no ini file and no variable may hold: a control character or half a pair."""
    return re.search("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]", text)


def split(text: str, environ: Mapping[str, str]) -> list[str]:
    """The words of a line.  A word that is empty is kept only if it was quoted.  Raises `Invalid`."""
    words: list[str] = []
    letters: list[str] = []
    quote, was_quoted, place = "", False, 0

    def end_word() -> None:
        if letters or was_quoted:
            words.append("".join(letters))
            letters.clear()

    while place < len(text):
        char, following = text[place], text[place + 1 : place + 2]
        step = 1
        if quote and char == quote:
            quote = ""
        elif quote == "'":
            letters.append(char)
        elif char == "$":
            value, step = _dollar(text, place, environ)
            letters.extend(value)
        elif char == "\\" and not following and not quote:
            raise Invalid("ends with a backslash; to go on with a value, indent the next line")
        elif char == "\\" and following in _ESCAPED[quote]:
            letters.append(following)
            step = 2
        elif quote:
            letters.append(char)
        elif char in BLANKS:
            end_word()
            was_quoted = False
        elif char in ";#" and place and text[place - 1] in BLANKS and not letters and not was_quoted:
            break
        elif char in "'\"":
            quote, was_quoted = char, True
        else:
            letters.append(char)
        place += step
    if quote:
        raise Invalid(f"has a quote ({quote}) that is not closed on its line")
    end_word()
    return words


def _dollar(text: str, place: int, environ: Mapping[str, str]) -> tuple[str, int]:
    """What the dollar at this place stands for, and how many characters of the text that takes."""
    if text.startswith("$$", place):
        return "$", 2
    found = _VARIABLE.match(text, place)
    if found is None:
        raise Invalid("has a lone $; write ${NAME} for a variable of the environment, $$ for a dollar")
    name = found.group(1)
    if not _VARIABLE_NAME.fullmatch(name):
        raise Invalid(f"{quoted(name)} is not the name of a variable; write ${{NAME}}")
    if name not in environ:
        raise Invalid(f"the variable {name} is not set in the environment")
    value = environ[name]
    if unprintable(value):
        raise Invalid(f"the variable {name} holds a character that cannot stand in a value")
    return value, len(found.group(0))
