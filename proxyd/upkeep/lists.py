"""
When are the files of lists read again?

Every few seconds each is looked at: time, size, inode.  One that looks other than when it was read, and the
same as a look ago (so nobody is writing it any more), is read: in steps of a millisecond with pauses between
them, so that a million networks hold up nobody.  If anything in it is wrong, that is said once for each state
of the file, and what was read before holds.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from proxyd.config.lists import read_slices
from proxyd.errors import Problem
from proxyd.policy.lists import Listed, gather
from proxyd.upkeep.periodic import Periodic

LOOK_SECONDS = 3.0

PAUSE_SECONDS = 0.002  # between steps of about a millisecond: a third of a core, while a file is read again

State = tuple[object, ...]

log = Logger()


class ListFiles:
    """The files that the lists of a configuration are kept in, by their paths."""

    def __init__(self, clock: Any, random: Callable[[], float], files: Mapping[str, Listed]) -> None:
        self._clock = clock
        self._files = files
        self._read: dict[str, State] = {}  # what a file looked like when it was read, well or not
        self._seen: dict[str, State] = {}  # what it looked like at the last look
        self._looking = Periodic(clock, random, LOOK_SECONDS, self.look)

    def load(self) -> list[str]:
        """Read all of them, at once; a line for each thing that is wrong."""
        wrong: list[str] = []
        for path, listed in self._files.items():
            self._read[path] = _state(path)
            problems: list[Problem] = []
            for found in gather(read_slices(path, problems)):
                if found is not None and not problems:
                    listed.networks = found
            wrong += map(str, problems)
        return wrong

    def start(self) -> None:
        """Begin to look after them."""
        if self._files:
            self._looking.start()

    def stop(self) -> Deferred[Any]:
        """Look no more, and give up what is being read."""
        return self._looking.stop()

    async def look(self) -> None:
        """Look at each file, and read those that have changed."""
        for path, listed in self._files.items():
            state, before = _state(path), self._seen.get(path)
            self._seen[path] = state
            if state != self._read.get(path) and state == before:
                await self._read_again(path, listed, state)

    async def _read_again(self, path: str, listed: Listed, state: State) -> None:
        problems: list[Problem] = []
        for found in gather(read_slices(path, problems)):
            if found is None:
                await deferLater(self._clock, PAUSE_SECONDS)
                continue
            if _state(path) != state:
                return  # it has changed meanwhile, and is looked at again
            self._read[path] = state
            if problems:
                for problem in problems:
                    log.warn("{problem}", problem=problem)
                log.warn(
                    "{path}: what was read before holds (networks: {count})",
                    path=path,
                    count=listed.networks.count,
                )
                return
            log.info("{path}: was read again (networks: {count})", path=path, count=found.count)
            listed.networks = found


def _state(path: str) -> State:
    """What a file looks like from outside."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        return (str(error),)
    return found.st_mtime_ns, found.st_size, found.st_ino
