"""
How does a body that is too long for the memory get to the disk while it comes?

A `Spill` writes what has come into a file of its cache (`proxyd.frontends.http.diskfiles.NewFile`), a piece
at a time, in threads.  What is written leaves the memory, and those who read the body have it from the file
from then on (`proxyd.frontends.http.bodies.Growing`); the server waits while the disk is behind.  When all
is there the file gets its name, so that one which is not complete is never found, and is thrown away at the
next start at the latest.
"""

from __future__ import annotations

from functools import partial
from typing import Callable, Optional

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from proxyd.frontends.http.bodies import Growing, Room
from proxyd.frontends.http.disk import DiskStore
from proxyd.frontends.http.diskfiles import NewFile
from proxyd.frontends.http.filebody import FileBody

AT_ONCE = 1024 * 1024  # bytes that are written at once


class Spill:
    """One body on its way to the disk; ``body`` grows, and ``room`` is what it takes of the memory."""

    def __init__(
        self,
        disk: DiskStore,
        new: NewFile,
        body: Growing,
        room: Room,
        over: Callable[[Optional[FileBody]], None],
    ) -> None:
        """``over`` is told what is stored now; or None if it cannot be, for want of room or a fault."""
        self._disk = disk
        self._new = new
        self._body = body
        self._room = room
        self._over = over
        self._more: Optional[Deferred[None]] = None  # waits for that
        self._stopped = False
        body.spill()
        Deferred.fromCoroutine(self._write()).addErrback(self._failed)

    def has_room(self, length: int) -> bool:
        """Whether the body may be so long."""
        return self._disk.has_room(self._new, length)

    def go_on(self) -> None:
        """There is more of the body, or that was all."""
        more, self._more = self._more, None
        if more is not None:
            more.callback(None)

    def stop(self) -> None:
        """It is not to be stored; nobody is told."""
        self._stopped = True
        self.go_on()

    async def _write(self) -> None:
        """Write it, from its first byte to its name."""
        disk, new, body = self._disk, self._new, self._body
        stored: Optional[FileBody] = None
        try:
            file = await disk.in_thread(new.begin)
            while self._goes_on():
                data = body.unwritten(AT_ONCE)
                if data:
                    await disk.in_thread(partial(new.add, data))
                    if self._goes_on():
                        body.wrote(file, len(data))
                        self._room.give_back(len(data))
                elif body.done:
                    stored = await disk.in_thread(new.finish)
                    break
                else:
                    self._more = Deferred()
                    await self._more
        finally:
            there = disk.received(new, stored is not None and self._goes_on())
            if not self._stopped:
                self._stopped = True
                self._over(stored if there else None)

    def _goes_on(self) -> bool:
        body = self._body
        return not (self._stopped or body.broken) and self._disk.has_room(self._new, body.written)

    def _failed(self, failure: Failure) -> None:
        self._disk.failed(failure)
