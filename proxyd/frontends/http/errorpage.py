"""
What is a client shown where no server has an answer for it?

The page that its route or its listener has for that status, filled in; programs, which accept JSON and no
HTML, get JSON, and where there is none a problem as RFC 9457 writes it.  Nothing in a page tells of servers.
"""

from __future__ import annotations

import html
import json
import re
from typing import Callable, Iterator, Optional, Sequence

from attrs import evolve

from proxyd.config.errorpage import LARGEST, PLACES, ErrorPageSpec, ErrorPageSpecs
from proxyd.config.files import read_small
from proxyd.errors import Problem
from proxyd.frontends.http.pages import Words, told
from proxyd.wire.httpfields import Field

NO_STORE = b"Cache-Control: no-store"

_PLACE = re.compile(("{(" + "|".join(PLACES) + ")}").encode())

_PROBLEM = "application/problem+json"


class Page:
    """One page, once its file was read."""

    def __init__(self, spec: ErrorPageSpec) -> None:
        self.spec = spec
        self._parts: list[bytes] = []  # in turn what stands there, and the name of a place
        self._escaped = _escape_for(spec.content_type)
        if spec.text is not None:
            parts = [""]
            for text, name in spec.text.parts:
                parts[-1] += text
                if name:
                    parts += [name, ""]
            parts[-1] += "\n"
            self._parts = [part.encode("utf-8", "surrogateescape") for part in parts]

    def load(self) -> Iterator[str]:
        """Read its file; a line for each thing that is wrong with it."""
        if self.spec.path:
            problems: list[Problem] = []
            data = read_small(self.spec.path, problems, LARGEST)
            if problems:
                yield from map(str, problems)
            elif self._escaped is None:
                self._parts = [data]
            else:
                self._parts = _PLACE.split(data)

    def body(self, place: Callable[[str], str]) -> bytes:
        """The page, with what ``place`` says for each name in it."""
        escaped = self._escaped
        if escaped is None or len(self._parts) == 1:
            return self._parts[0]
        parts = list(self._parts)
        for number in range(1, len(parts), 2):
            text = escaped(place(parts[number].decode()))
            parts[number] = text.encode("utf-8", "surrogateescape")
        return b"".join(parts)


class ErrorPages:
    """The pages of a listener; or those of a route, before those of its listener."""

    def __init__(self, specs: ErrorPageSpecs, beneath: Optional[ErrorPages] = None) -> None:
        self._pages = {name: tuple(map(Page, pages)) for name, pages in specs}
        self._beneath = beneath

    def before(self, beneath: ErrorPages) -> ErrorPages:
        """These pages, before others."""
        found = ErrorPages((), beneath)
        found._pages = self._pages
        return found

    def load(self) -> list[str]:
        """Read their files; a line for each thing that is wrong with them."""
        return [line for pages in self._pages.values() for page in pages for line in page.load()]

    def words(
        self, status: int, fields: Sequence[Field], place: Callable[[str], str], beside: Words
    ) -> Words:
        """
        What is said to a request with these fields, with the fields of ``beside``.

        ``place`` says what stands for a name in the page.
        """
        is_json = wants_json(fields)
        page = self._find(str(status), is_json)
        if page is not None:
            body, kind = page.body(place), page.spec.content_type
        elif is_json:
            body, kind = _problem(status), _PROBLEM
        else:
            return beside
        return evolve(beside, body=body, content_type=kind, fields=(*beside.fields, NO_STORE))

    def _find(self, status: str, is_json: bool) -> Optional[Page]:
        for page in self._pages.get(status) or self._pages.get(f"{status[0]}xx") or ():
            if page.spec.is_json == is_json:
                return page
        return self._beneath._find(status, is_json) if self._beneath is not None else None


def wants_json(fields: Sequence[Field]) -> bool:
    """Whether a request with these fields accepts JSON and no HTML."""
    accepted = b",".join(field[1] for field in fields if field[0] == b"accept").lower()
    return b"json" in accepted and b"html" not in accepted


def _problem(status: int) -> bytes:
    reason, message = told(status)
    problem = {"type": "about:blank", "title": reason, "status": status, "detail": message}
    return json.dumps(problem).encode() + b"\n"


def _escape_for(content_type: str) -> Optional[Callable[[str], str]]:
    """How what stands in a place is kept from being more than text; None if there are no places."""
    if "json" in content_type:
        return lambda text: json.dumps(text)[1:-1]
    if "html" in content_type or "xml" in content_type:
        return html.escape
    return str if content_type.startswith("text/") else None
