"""What does a client of a chaos ask, and is what it was answered its own, and whole?"""

from __future__ import annotations

import base64
import threading
import traceback
import zlib
from collections import Counter
from random import Random
from typing import Mapping, Optional

from attrs import field, frozen

from tests.proof._chaosorigin import DENIED, PAGES, answer_of, page
from tests.support.stage import Place

USER = b"alice:secret"
AUTHORIZATION = "Basic " + base64.b64encode(USER).decode()
PREFIXES = ("", "", "/fa", "/ba", "/hedge", "/sticky", "/limited")

# What somebody may be told instead, while a server is bad and others are many.
REFUSALS = (413, 429, 500, 502, 503, 504)


@frozen
class Plan:
    """A request, and what belongs to it."""

    name: str
    method: str
    target: str
    fields: Mapping[str, str]
    body: bytes
    expected: bytes
    part: Optional[tuple[int, int]] = None  # the first byte of a range, and the one behind it

    @property
    def unique(self) -> bool:
        """Whether its target is asked for by nobody else."""
        return "/echo/" in self.target

    def judge(self, status: int, fields: Mapping[str, str], body: bytes) -> str:
        """What kind of answer this complete one is; AssertionError if it is another one's, or not whole."""
        where = f"{self.method} {self.target} {dict(self.fields)} was answered {status} {dict(fields)}"
        where += f" and {len(body)} bytes: {body[:150]!r}"
        named = fields.get("x-name", self.name)
        assert named == self.name, f"another one's: {where}"
        if status in REFUSALS:
            return str(status)
        denied = self.target.startswith("/fa/") and self.name.startswith(DENIED)
        if status == 403:
            assert denied, f"denied: {where}"
            return "denied"
        assert not denied, f"let in: {where}"
        if status == 304:
            assert "if-none-match" in self.fields and not body, f"nobody knows it: {where}"
            return "known"
        if fields.get("content-encoding") == "gzip":
            assert "accept-encoding" in self.fields, f"a coding that nobody takes: {where}"
            body = zlib.decompress(body, 31)
        if status == 206:
            assert self.part is not None, f"a part: {where}"
            assert body == self.expected[slice(*self.part)], f"another part: {where}"
            return "part"
        assert status == 200, f"a status of nobody: {where}"
        assert body == self.expected, f"another body than {len(self.expected)} bytes: {where}"
        if self.target.startswith("/fa/") and "x-name" in fields:
            assert fields.get("x-is") == self.name, f"somebody else: {where}"
        return "whole"


def plan(random: Random, name: str, upload: bool = True) -> Plan:
    """Something to ask; an ``upload`` only if one may be."""
    fields = {"x-name": name}
    if random.random() < 0.3:
        fields["accept-encoding"] = "gzip"
    if random.random() < 0.25:
        number = random.randrange(PAGES)
        part = None
        if random.random() < 0.2:
            fields["if-none-match"] = f'"{number}"'
        elif random.random() < 0.3:
            part = (random.randrange(500), random.randrange(600, 1000))
            fields["range"] = f"bytes={part[0]}-{part[1] - 1}"
            fields.pop("accept-encoding", None)
        return Plan(str(number), "GET", f"/page/{number}", fields, b"", page(number), part)
    prefix = random.choice(PREFIXES)
    if prefix == "/fa" and random.random() < 0.1:
        name = fields["x-name"] = DENIED + name
    if prefix == "/ba":
        fields["authorization"] = AUTHORIZATION
    size = random.choice((0, 500, 20_000, 200_000))
    body = b""
    if upload and random.random() < 0.4:
        body = random.randbytes(random.choice((1, 3000, 60_000, 300_000)))
    method = random.choice(("POST", "PUT")) if body else "GET"
    return Plan(name, method, f"{prefix}/echo/{name}/{size}", fields, body, answer_of(name, body, size))


@frozen
class Fronts:
    """Where clients go: without TLS, and with."""

    plain: Place
    secure: Place
    certificate: str  # the path of what signs that one's
    seed: str
    over: threading.Event = field(factory=threading.Event)


class Visitor(threading.Thread):
    """A client with a thread; it does its `turn` again and again until it is over."""

    kind = ""

    def __init__(self, fronts: Fronts, number: int) -> None:
        super().__init__(daemon=True)
        self.fronts, self.number = fronts, number
        self.random = Random(f"{fronts.seed} {self.kind} {number}")
        self.found: Counter[str] = Counter()
        self.whole: list[str] = []  # targets that nobody else asks for, with whole answers
        self.wrong = ""
        self._names = 0

    def new_name(self) -> str:
        """A name for a request, which no other has."""
        self._names += 1
        return f"{self.fronts.seed}-{self.kind}{self.number}-{self._names}".replace(" ", "")

    def note(self, asked: Plan, status: int, fields: Mapping[str, str], body: bytes) -> None:
        """Judge this answer, and count it."""
        kind = asked.judge(status, fields, body)
        self.found[kind] += 1
        if kind == "whole" and asked.unique:
            self.whole.append(asked.target)

    def turn(self) -> None:
        """What is done again and again."""
        raise NotImplementedError

    def run(self) -> None:
        try:
            while not self.fronts.over.is_set():
                self.turn()
        except BaseException:  # noqa: BLE001 - told by who has started it
            self.wrong = traceback.format_exc()
            self.fronts.over.set()
