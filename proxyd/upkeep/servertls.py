"""
When are the files of TLS towards servers read again?

Every few seconds each is looked at, in a thread.  When one looks other than when it was read, and the same
as a look ago (so nobody is writing it any more), and no other is being written either, those that changed
are read.  If they are not fit for use, that is said once, and what was read before holds; they are read again
at each look until they are.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from proxyd.relay.tls.files import State, state_of
from proxyd.relay.tls.server import ServerTls
from proxyd.upkeep.periodic import InThread, Periodic

LOOK_SECONDS = 3.0

log = Logger()


class ServerTlsFiles:
    """The authorities, certificates and keys for servers."""

    def __init__(self, clock: Any, random: Callable[[], float], in_thread: InThread, tls: ServerTls) -> None:
        self._in_thread = in_thread
        self._tls = tls
        self._read: dict[str, State] = {}  # what a file looked like when all was well
        self._seen: dict[str, State] = {}  # what it looked like at the last look
        self._said: list[str] = []  # what is wrong
        self._looking = Periodic(clock, random, LOOK_SECONDS, self.look)

    def load(self) -> list[str]:
        """Read all of them, at once; a line for each thing that is wrong."""
        self._read = self._states()
        return self._tls.load()

    def start(self) -> None:
        """Begin to look after them."""
        if self._read:
            self._looking.start()

    def stop(self) -> Deferred[Any]:
        """Look no more."""
        return self._looking.stop()

    async def look(self) -> None:
        """Look at each file, and read those that have changed."""
        now, before = await self._in_thread(self._states), self._seen
        self._seen = now
        changed = [path for path, state in now.items() if state != self._read.get(path)]
        # A key and its certificate are two files, of which one is replaced before the other.
        if not changed or now != before:
            return
        wrong, said = await self._in_thread(partial(self._tls.load, changed)), self._said
        self._said = wrong
        for line in wrong if wrong != said else ():
            log.warn("{line}; what was read before holds", line=line)
        if not wrong:
            self._read = now
            log.info("TLS towards servers: {paths} read again", paths=", ".join(changed))

    def _states(self) -> dict[str, State]:
        return {path: state_of(path) for path in self._tls.files}
