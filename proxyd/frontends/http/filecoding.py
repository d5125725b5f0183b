"""
In which coding is a file sent?

As any answer (`proxyd.policy.encoding`), unless there is a file beside it that is in that coding already,
which goes first, as with nginx's gzip_static.  A small file is put in a coding once, and kept so with it
(`proxyd.frontends.http.static`) for as long as it does not change; a large one each time, while it is read,
no faster than its client takes it.
"""

from __future__ import annotations

from functools import partial
from typing import Callable, Union

from proxyd.frontends.http.bodies import Filling, Room, Whole
from proxyd.frontends.http.filebody import FileBody, FromFile
from proxyd.frontends.http.making import Later, Making
from proxyd.frontends.http.recoding import Compressor
from proxyd.frontends.http.static import HELD, SMALL, File
from proxyd.frontends.http.variants import decided
from proxyd.policy.encoding import VARIES, Decision
from proxyd.wire.http1 import Request


class FileCodings:
    """What is made of small files, for all who wait for it."""

    def __init__(self) -> None:
        self._filling = Filling(HELD, 2 * SMALL)
        self._under_way: dict[tuple[File, Decision], Making] = {}

    def of(
        self, file: File, request: Request, compressor: Compressor, later: Later
    ) -> Union[File, Making, Decision]:
        """
        What a request gets of a file: itself, or a variant; what is still made of a small one; or, for a
        large one, what is to be made of it (`of_large`).
        """
        decision = decided(compressor.spec, 200, file.fields, file.size, request)
        if decision is None:
            return file
        if decision.encodes and file.body is not None:
            small = self._of_small(file, file.body, decision, compressor, later)
            return small or varying(file)
        if decision.encodes and (request.method == b"HEAD" or compressor.may_begin(decision.encodes)):
            return decision
        return varying(file)

    def _of_small(
        self, file: File, body: bytes, decision: Decision, compressor: Compressor, later: Later
    ) -> Union[File, Making, None]:
        made, making = file.variants.get(decision), self._under_way.get((file, decision))
        if made is None and making is None:
            if not compressor.may_begin(decision.encodes):
                return None
            keeper = _Keeper(lambda: file.live, partial(self._made, file))
            source = Whole(memoryview(body))
            making = Making(source, decision, compressor, later, Room(self._filling), keeper)
            self._under_way[file, decision] = making
            making.go_on()
        return made or file.variants.get(decision) or making

    def _made(self, file: File, making: Making, complete: bool) -> None:
        del self._under_way[file, making.decision]
        if complete and making.is_kept:
            file.variant(making.decision, making.body.whole())


def of_large(file: FileBody, decision: Decision, compressor: Compressor, later: Later) -> Making:
    """What is made of an open file for one who reads it."""
    source, keeper = FromFile(file, 0, len(file)), _Keeper(lambda: False, lambda making, complete: None)
    source.held = False
    making = Making(source, decision, compressor, later, Room(Filling(0, 0)), keeper)
    making.go_on()
    return making


def varying(file: File) -> File:
    """A file as it is, of which is told that it could have been compressed."""
    return file.variants.get(VARIES) or file.variant(VARIES, file.body)


class _Keeper:
    """Who is told what has become of a making."""

    def __init__(self, is_wanted: Callable[[], bool], over: Callable[[Making, bool], None]) -> None:
        self.is_wanted = is_wanted
        self.over = over
