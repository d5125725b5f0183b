"""What are clients shown where no server has an answer for them?  ``error_page``, of listeners and routes."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Iterator, Mapping, Optional, Sequence

from attrs import frozen

from proxyd.config.address import file_path
from proxyd.config.files import content_type
from proxyd.config.options import Fail, Form, Option
from proxyd.config.reader import Word
from proxyd.config.template import Template, template
from proxyd.config.words import Invalid, quoted

FILE = "file:"

LARGEST = 64 * 1024  # bytes of a page: who does not read it has it kept for him

STATUS, REASON, MESSAGE, ID, LISTENER, CLIENT = "status", "reason", "message", "id", "listener", "client"
PLACES = (STATUS, REASON, MESSAGE, ID, LISTENER, CLIENT)

_STATUSES = re.compile(r"[45](xx|[0-9]{2})", re.ASCII).fullmatch
_BY_FIRST_LETTER = {"<": "text/html; charset=utf-8", "{": "application/json", "[": "application/json"}


@frozen
class ErrorPageSpec:
    """A page: a text with places, or what is in a file, and what that is."""

    text: Optional[Template] = None
    path: str = ""
    content_type: str = "text/plain; charset=utf-8"

    @property
    def is_json(self) -> bool:
        """Whether it is for programs."""
        return "json" in self.content_type


# The pages for each status, or for all of a class that have none of their own: 503, 5xx.
ErrorPageSpecs = tuple[tuple[str, tuple[ErrorPageSpec, ...]], ...]


class ErrorPage(Form):
    """``file:/etc/proxyd/503.html``, ``"Be back soon."``, or one for people and one for programs."""

    shape: ClassVar[str] = (
        f"`file:PATH` for what is in a file, {LARGEST >> 10} KiB at most, or a text in quotes; in both "
        + ", ".join(f"`{{{name}}}`" for name in PLACES)
        + " stand for what is so. Two if one is JSON, which is for clients that accept JSON and no HTML"
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> tuple[ErrorPageSpec, ...]:
        pages: list[ErrorPageSpec] = []
        for word in words:
            try:
                page = self._page(word)
            except Invalid as why:
                fail(word.line, str(why))
                continue
            if any(page.is_json == other.is_json for other in pages):
                kind = "JSON" if page.is_json else "one that is not JSON"
                fail(word.line, f"{quoted(word.text)} is never shown: {kind} stands before it")
            pages.append(page)
        return tuple(pages)

    def _page(self, word: Word) -> ErrorPageSpec:
        text = word.text
        if text.startswith(FILE):
            name = text[len(FILE) :]
            if not name or name.endswith("/"):
                raise Invalid(f"{quoted(text)} names no file; write file:/etc/proxyd/503.html, for example")
            return ErrorPageSpec(None, file_path(name, word), content_type(name))
        if text.startswith("/"):
            raise Invalid(f"{quoted(text)} would be shown as it stands; write {FILE}{text} for a file")
        made = template(text, PLACES)
        first = made.parts[0][0].lstrip()[:1]
        return ErrorPageSpec(made, "", _BY_FIRST_LETTER.get(first, ErrorPageSpec().content_type))


def contradictions(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Pages for what is no status of a failure: each an option, and what is wrong with it."""
    for name in given.get("error_page", ()):
        if not _STATUSES(name):
            yield f"error_page {name}", f"{quoted(name)} is no status of a failure; write 503, or 5xx for all"


def error_page(doc: str) -> Option:
    """The option, of which the text says for whom it is."""
    return Option(
        "error_page",
        ErrorPage(),
        doc,
        "error_page 503 = file:/etc/proxyd/503.html",
        otherwise="a short page",
        named=True,
    )
