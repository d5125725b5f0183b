"""What is a text with places, such as ``https://{host}{uri}``, in which something known is put later?"""

from __future__ import annotations

from string import Formatter
from typing import Callable, Iterable, Optional

from attrs import frozen

from proxyd.config.options import unknown
from proxyd.config.words import Invalid, quoted


@frozen
class Template:
    """Text with places: of each part what stands before it, and its name or ""."""

    parts: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """As it is written."""
        return "".join(
            text.replace("{", "{{").replace("}", "}}") + (f"{{{name}}}" if name else "")
            for text, name in self.parts
        )

    @property
    def names(self) -> frozenset[str]:
        """The places that there are."""
        return frozenset(name for _, name in self.parts if name)


def template(text: str, known: Iterable[str], otherwise: Optional[Callable[[str], bool]] = None) -> Template:
    """
    The text with its places, whose names are ``known``, or are such that ``otherwise`` says yes to them.

    Raises `Invalid`.
    """
    parts = []
    try:
        for before, name, shape, conversion in Formatter().parse(text):
            if name is not None:
                if shape or conversion:
                    raise Invalid(f"{{{name}...}}: a name stands alone between its braces")
                if name not in known and not (otherwise is not None and otherwise(name)):
                    raise Invalid(f"{{{name}}}: {unknown(name, known)}")
            parts.append((before, name or ""))
    except ValueError:
        raise Invalid(
            f"{quoted(text)} has a brace that is not closed; a brace itself is written twice"
        ) from None
    return Template(tuple(parts))
