"""
How does a body become another one, once for all who want it so?

A `Making` goes through a body that is held, or still comes (`proxyd.frontends.http.bodies`), and puts it in a
coding, or takes it out of one: in turns of `TURN`, behind each of which others are served.  What it makes is
a body, too, which is read while it grows.  If that is to be kept it is held, and nobody's pace matters;
else it comes as fast as its readers take it, and so does what it is made of.

What an encoder keeps to itself is flushed when nothing more has come for `PAUSE`.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Protocol, Sequence

from proxyd.frontends.http.bodies import PIECE, Body, Growing, Reading, Room, Whole
from proxyd.frontends.http.recoding import PAUSE, TURN, Compressor
from proxyd.policy.cachestore import Stored
from proxyd.policy.encoding import Decision
from proxyd.relay.streams import CHUNK
from proxyd.wire.contentcoding import Decoder, Encoder, decoder, encoder
from proxyd.wire.httpfields import Unacceptable

NOTHING = Whole(memoryview(b""))

Later = Callable[[float, Callable[[], None]], Any]


class Keeper(Protocol):
    """Who may keep what is made."""

    def is_wanted(self) -> bool:
        """Whether it is to be made though nobody reads it."""

    def over(self, making: Making, complete: bool) -> None:
        """Nothing more of it is made, and the source is not read any more; whether it is all."""


class Making:
    """
    A body that is made of another.

    ``is_too_long`` says that it is not to be kept, ``kept`` is what a keeper has made of it, and ``wrong`` is
    why it cannot be made, once that is known.
    """

    __slots__ = (
        "_at",
        "_busy",
        "_call",
        "_coder",
        "_complete",
        "_compressor",
        "_flush",
        "_full",
        "_keeper",
        "_later",
        "_left",
        "_passed",
        "_piece",
        "_plain",
        "_room",
        "_source",
        "body",
        "decision",
        "is_too_long",
        "kept",
        "over",
        "place",
        "wrong",
    )

    def __init__(
        self,
        source: Body,
        decision: Decision,
        compressor: Compressor,
        later: Later,
        room: Room,
        keeper: Keeper,
    ) -> None:
        """``later`` calls in another turn, unless that is cancelled; ``room`` is for what is made."""
        self._source = source
        self.decision = decision
        self._compressor = compressor
        self._coder: Optional[Encoder] = None
        self._plain: Optional[Decoder] = None
        if decision.encodes:
            self._passed = compressor.passed[decision.encodes]
            self._coder = encoder(decision.encodes, compressor.spec.level(decision.encodes))
        else:
            self._passed = compressor.decoded
            self._plain = decoder(decision.decodes)
        self._later = later
        self._room = room
        self._keeper = keeper
        self._piece = b""  # what is gone through, as far as ``_at``
        self._at = 0
        self._left = 0.0  # seconds of this turn
        self._busy = self._full = self._complete = False
        self._call: Any = None
        self._flush: Any = None
        self.place = 0
        self.body = Growing(self, lambda what: later(0, what))
        self.wrong = ""
        self.kept: Optional[Stored] = None
        self.is_too_long = False
        self.over = False
        self._passed.answers += 1
        compressor.guard.under_way += 1
        if not source.held:
            self.let_go()
        source.read(self)

    def go_on(self) -> None:
        """Do some more, for a turn, if there is more, and it is wanted."""
        if self._busy or self._call is not None or self.over:
            return
        self._busy, self._left, before = True, TURN, self.place
        try:
            while self._left > 0 and self._may_go_on() and self._has():
                self._add(self._some())
        except Unacceptable as wrong:
            self.wrong = str(wrong)
        self._busy = False
        if self._stopped():
            return
        source = self._source
        if self._complete:
            self._end(True)
        elif self.wrong or (source.broken and not self._has()):
            self._end(False)
        else:
            if not self._full and self._has():
                self._call = self._later(0, self._next_turn)
            elif self._coder is not None and self._flush is None and self.place != before:
                self._flush = self._later(PAUSE, self._flush_now)
            if self.place != before:
                source.taken()

    def readings(self) -> Sequence[Reading]:
        """Those of the clients that get what is made."""
        return self.body.readings()

    def _may_go_on(self) -> bool:
        # What is too long to be kept waits for its first reader.
        waits = self._full or (self.is_too_long and not self.body.read_by)
        return not (waits or self.over or self._complete)

    def _stopped(self) -> bool:
        """Whether it is over meanwhile; asked anew, since readers may have said so."""
        return self.over

    def _has(self) -> bool:
        """Whether there is something to do: what has come, or the end of it."""
        source = self._source
        return (
            self._at < len(self._piece)
            or (self._plain is not None and self._plain.pending)
            or source.has(self.place)
            or (source.done and not source.broken)
        )

    def _some(self) -> bytes:
        """What is made in the time that is left, a piece or little more, and the end behind it."""
        cpu, source = self._compressor.cpu, self._source
        began, spent, made, size = cpu(), 0.0, [], 0
        try:
            while True:
                out = self._step()
                if out is None:
                    if source.done and not source.broken:
                        made.append(self._last())
                        self._complete = True
                    break
                made.append(out)
                size += len(out)
                spent = cpu() - began
                if size >= PIECE or (spent >= self._left and not self._is_last()):
                    break
        finally:
            spent = cpu() - began
            self._left -= spent
            self._passed.cpu_seconds += spent
            self._compressor.guard.spent(spent)
        return b"".join(made)

    def _step(self) -> Optional[bytes]:
        """What is made of some more; None if nothing more is there."""
        plain, coder = self._plain, self._coder
        if plain is not None and plain.pending:
            return plain.step(plain.rest)
        if self._at >= len(self._piece):
            piece = self._source.piece(self.place)
            if piece is None:
                return None
            self._piece, self._at = piece, 0
            self.place += len(piece)
        data = self._piece[self._at : self._at + CHUNK]
        self._at += len(data)
        self._passed.bytes_in += len(data)
        if coder is not None:
            return coder.step(data)
        assert plain is not None
        return plain.step(data)

    def _is_last(self) -> bool:
        """Whether only the end is left: that much does not wait for another turn."""
        pending = self._plain is not None and self._plain.pending
        return self._at >= len(self._piece) and not pending and not self._source.has(self.place)

    def _last(self) -> bytes:
        if self._coder is not None:
            return self._coder.end()
        assert self._plain is not None
        self._plain.end()
        return b""

    def _add(self, made: bytes) -> None:
        if not made:
            return
        self._passed.bytes_out += len(made)
        body = self.body
        if body.held and not self._room.take(len(made)):
            self.is_too_long = True
        body.add(made)
        if self.is_too_long and body.read_by:
            self.let_go()

    def _flush_now(self) -> None:
        """Nothing more has come."""
        self._flush = None
        assert self._coder is not None
        self._add(self._coder.flush())

    def _next_turn(self) -> None:
        self._call = None
        if self.body.read_by or (self.is_kept and self._keeper.is_wanted()):
            self.go_on()
        else:
            self.stop()

    @property
    def is_kept(self) -> bool:
        """Whether all that has been made is there, and will be; so that others may read it, too."""
        return self.body.held and not self.is_too_long

    def let_go(self) -> None:
        """It is not to be kept any longer than its readers need it."""
        self.is_too_long = True
        self.body.let_go()
        if not self.body.paused:
            self._room.leave()  # else slow readers still keep what was made before

    def left(self) -> None:
        """One reads it no more."""
        if self.over:
            self._leave_if_unread()
        elif not self.is_kept and not self.body.read_by:
            self.stop()

    def stop(self) -> None:
        """It is not wanted any more."""
        if not self.over:
            self._end(False)

    def pause(self) -> None:
        """Its readers take no more for now."""
        self._full = True

    def resume(self) -> None:
        """They do."""
        self._full = False
        self.go_on()

    def _end(self, complete: bool) -> None:
        self.over = True
        for call in (self._call, self._flush):
            if call is not None:
                call.cancel()
        self._call = self._flush = None
        self._compressor.guard.under_way -= 1
        self._source.leave(self)
        self._keeper.over(self, complete)
        self._source = NOTHING  # a file is closed when nobody holds on to it
        self.body.finish(broken=not complete)
        self._leave_if_unread()

    def _leave_if_unread(self) -> None:
        if not self.body.read_by:
            self._room.leave()
