"""
When has something waited too long?

One coarse wheel holds the deadlines of all connections, because a `DelayedCall` for each, moved with
every chunk, costs more than the chunk.  Deadlines are kept in sets by the tick they fall due on, so
arming and disarming is one dict access, and a disarmed entry leaves nothing behind.  The wheel asks the
reactor for a call only while it holds something.

An entry is armed for one deadline at a time.  It is never early, and late by at most a tick (and by
however late the reactor itself is).
"""

from __future__ import annotations

from typing import Optional, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

TICK_SECONDS = 0.25

log = Logger(__name__)


class Timed(Protocol):
    """What can be put on the wheel: ``due`` belongs to the wheel and starts as 0."""

    due: int

    def overdue(self) -> None:
        """The deadline has passed; the entry is off the wheel and may be armed again."""


class Wheel:
    """The deadlines of all connections, rounded up to ticks."""

    def __init__(self, clock: IReactorTime, tick: float = TICK_SECONDS) -> None:
        self.clock = clock
        self.tick = tick
        self.patience = 1.0  # by which limits of silence are multiplied: less while load is shed
        self._slots: dict[int, set[Timed]] = {}
        self._turned = 0  # the last tick that was served
        self._call: Optional[IDelayedCall] = None

    def __repr__(self) -> str:
        return f"<Wheel {len(self)} armed>"

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def arm(self, entry: Timed, seconds: float) -> None:
        """Call ``entry.overdue()`` once ``seconds`` have passed, instead of any deadline it had."""
        self._put(entry, int((self.clock.seconds() + seconds) / self.tick) + 1)

    def hasten(self, entry: Timed, seconds: float) -> None:
        """The same, but a deadline that comes sooner stays: for those who look often enough anyway."""
        due = int((self.clock.seconds() + seconds) / self.tick) + 1
        if not 0 < entry.due <= due:
            self._put(entry, due)

    def look_in(self, entry: Timed, seconds: float) -> None:
        """The same of a look for which it does not matter whether it comes after up to twice that time."""
        now = self.clock.seconds()
        if not 0 < entry.due <= int((now + 2.0 * seconds) / self.tick):
            self._put(entry, int((now + seconds) / self.tick) + 1)

    def _put(self, entry: Timed, due: int) -> None:
        if entry.due:
            self.disarm(entry)
        if self._call is None:
            if not self._slots:
                # Or we are in the midst of a turn, and ticks that have passed since are the next one's.
                self._turned = int(self.clock.seconds() / self.tick)
            self._call = self.clock.callLater(self.tick, self._turn)
        if due <= self._turned:
            due = self._turned + 1
        entry.due = due
        slot = self._slots.get(due)
        if slot is None:
            self._slots[due] = {entry}
        else:
            slot.add(entry)

    def disarm(self, entry: Timed) -> None:
        """Forget the entry's deadline, if it has one."""
        due, entry.due = entry.due, 0
        slot = self._slots.get(due)
        if slot is not None:
            slot.discard(entry)
            if not slot:
                del self._slots[due]
        if not self._slots and self._call is not None:
            self._call.cancel()
            self._call = None

    def _turn(self) -> None:
        self._call = None
        now = int(self.clock.seconds() / self.tick)
        # Step by slots, not by ticks, when this comes late: a process that was stopped would spin here.
        if now - self._turned > len(self._slots):
            passed = sorted(due for due in self._slots if due <= now)
        else:
            passed = list(range(self._turned + 1, now + 1))
        self._turned = now
        for due in passed:
            for entry in self._slots.pop(due, ()):
                if entry.due != due:
                    continue  # one that was served before it has disarmed it, or put it off
                entry.due = 0
                try:
                    entry.overdue()
                except Exception:  # noqa: BLE001 - one entry must not stop the wheel
                    log.failure("A deadline could not be served; the others go on.")
        self._turn_again()

    def _turn_again(self) -> None:
        # By itself: in `_turn`, where ``_call`` was None, mypyc believes that it is so whatever was served.
        if self._slots and self._call is None:
            self._call = self.clock.callLater(self.tick, self._turn)
