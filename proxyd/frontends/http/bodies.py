"""
How does a body that is held, or still comes, reach one client after another?

It is made of pieces, which all readers share; none has a copy of more than the piece that it passes on.  A
`Whole` is held, and its pieces are cut when they are asked for.  A `Growing` one is filled while it is
read. One that is not to be held forgets what all of its readers have had, and comes no faster than the
slowest of them takes it.  One that is held in a file (`proxyd.frontends.http.spilling`) comes no faster
than the disk takes it, and each of its readers has it from there at its own pace.

A place in a body is how many bytes are before it.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Protocol, Sequence

from twisted.internet.interfaces import IPushProducer
from zope.interface import classImplements

from proxyd.frontends.http.sides import Shelf
from proxyd.relay.bandwidth import Meter

PIECE = 64 * 1024  # bytes that are passed on in one write

TOLD_AT_ONCE = (
    64  # readers; the others are told in the turns behind, so that nobody else waits for all of them
)

AHEAD = 4  # pieces that a body which is not held may be ahead of its slowest reader

UNWRITTEN = 256 * 1024  # bytes that one which goes to a file may be ahead of that


class Body:
    """
    Pieces that are read.

    ``held`` says that all of them are kept, ``done`` that there will be no more, and ``broken`` that this is
    because the rest was lost.
    """

    __slots__ = ("broken", "done", "held")

    def __init__(self) -> None:
        self.done = False
        self.broken = False
        self.held = True

    def piece(self, place: int) -> Optional[bytes]:
        """The piece at this place, None if it has not come, or never will."""
        raise NotImplementedError

    def has(self, place: int) -> bool:
        """Whether that piece is there."""
        raise NotImplementedError

    def read(self, reading: Follower) -> None:
        """From now on it is told when there is more."""

    def taken(self) -> None:
        """A reader has come further."""

    def leave(self, reading: Follower) -> None:
        """It reads no more."""


class Whole(Body):
    """A body that is held, or a part of it."""

    __slots__ = ("_view",)

    def __init__(self, view: memoryview) -> None:
        super().__init__()
        self._view = view
        self.done = True

    def has(self, place: int) -> bool:
        return place < len(self._view)

    def piece(self, place: int) -> Optional[bytes]:
        return bytes(self._view[place : place + PIECE]) or None


class Growing(Body):
    """
    A body that comes; ``size`` is how much has, and ``written`` how much of that is in a file.

    It is held until `let_go` changes that: in memory, or from `spill` on in the file.
    """

    __slots__ = (
        "_file",
        "_later",
        "_pieces",
        "_readings",
        "_soon",
        "_source",
        "_spills",
        "_untold",
        "paused",
        "size",
        "written",
    )

    def __init__(self, source: Source, later: Callable[[Callable[[], None]], Any]) -> None:
        """``source`` is paused and resumed; ``later`` calls in another turn of the reactor."""
        super().__init__()
        self._source = source
        self._later = later
        self._pieces: dict[int, bytes] = {}  # by their places
        self._file: Optional[InFile] = None
        self._spills = False
        self._readings: dict[Follower, None] = {}
        self._untold: list[Follower] = []
        self._soon = False
        self.paused = False
        self.size = self.written = 0

    def has(self, place: int) -> bool:
        return place in self._pieces or (place < self.written and not self.broken)

    def piece(self, place: int) -> Optional[bytes]:
        piece = self._pieces.get(place)
        if piece is not None or self._file is None or not self.has(place):
            return piece
        piece = self._file.part(place, min(PIECE, self.written - place))
        if not piece:
            self.finish(broken=True)  # somebody has made the file shorter
            self._resume()  # who sends it may learn that
        return piece or None

    def beginning(self, place: int) -> int:
        """Where to begin to read, so that nothing from that place on is missed, and little skipped."""
        if place < self.written:
            return place
        return max((each for each in self._pieces if each <= place < self.size), default=self.size)

    def read(self, reading: Follower) -> None:
        self._readings[reading] = None

    @property
    def read_by(self) -> int:
        """How many read it."""
        return len(self._readings)

    def readings(self) -> Sequence[Reading]:
        """Those of all clients that it is for, be it that something else is made of it for them."""
        return [each for follower in self._readings for each in follower.readings()]

    def leave(self, reading: Follower) -> None:
        self._readings.pop(reading, None)
        self.taken()

    def add(self, data: bytes) -> None:
        """More has come."""
        if not data:
            return
        self._pieces[self.size] = data
        self.size += len(data)
        self._tell()
        if self.held:
            self._regulate()
        elif not self.done:
            self._forget()

    def finish(self, broken: bool = False) -> None:
        """There will be no more."""
        self.done, self.broken = True, broken
        self._tell()

    def whole(self) -> bytes:
        """All that has come, which is held from now on as one."""
        pieces = list(self._pieces.values())
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def spill(self) -> None:
        """It goes to a file from now on; who writes that asks for what is `unwritten`."""
        self._spills = True
        self._regulate()

    def unwritten(self, most: int) -> bytes:
        """What is to be written next: so many bytes, or little more."""
        pieces: list[bytes] = []
        place = self.written
        while place in self._pieces and place < self.written + most:
            pieces.append(self._pieces[place])
            place += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def wrote(self, file: InFile, count: int) -> None:
        """So many more bytes are in the file, and there for who reads."""
        self._file = file
        while count > 0:
            piece = self._pieces.pop(self.written)
            self.written += len(piece)
            count -= len(piece)
        self._regulate()

    def let_go(self) -> None:
        """Keep no more of it than its readers need."""
        self.held = False
        self._forget()

    def taken(self) -> None:
        if self.held or self._soon:
            return
        if len(self._readings) < 2:
            self._forget()
        else:
            self._soon = True  # not for each of many
            self._later(self._forget)

    def _forget(self) -> None:
        """Drop what all have read."""
        self._soon = False
        behind = min((reading.place for reading in self._readings), default=self.size)
        for place in list(self._pieces):
            if place >= behind:
                break
            del self._pieces[place]
        self._regulate()

    def _regulate(self) -> None:
        """Pause or resume who sends it, by what waits: for readers, or for the disk."""
        if not self.held:
            waits, most = len(self._pieces), AHEAD
        elif self._spills:
            waits, most = self.size - self.written, UNWRITTEN
        else:
            return
        if self.done:
            return
        if not self.paused and waits > most:
            self.paused = True
            self._source.pause()
        elif waits <= most // 2:
            self._resume()

    def _resume(self) -> None:
        if self.paused:
            self.paused = False
            self._source.resume()

    def _tell(self) -> None:
        """Let all readers go on, some in this turn."""
        already = bool(self._untold)
        self._untold = list(self._readings)
        if not already:
            self._tell_some()

    def _tell_some(self) -> None:
        some, self._untold = self._untold[:TOLD_AT_ONCE], self._untold[TOLD_AT_ONCE:]
        for reading in some:
            reading.go_on()
        if self._untold:
            self._later(self._tell_some)


class Filling:
    """What bodies that are not complete, or still read, take of the memory of a cache: ``used`` bytes."""

    __slots__ = ("longest", "most", "used")

    def __init__(self, most: int, longest: int) -> None:
        """``most`` is for all together, and ``longest`` for one."""
        self.most = most
        self.longest = longest
        self.used = 0


class Room:
    """What one of them does."""

    __slots__ = ("_filling", "_used")

    def __init__(self, filling: Filling) -> None:
        self._filling = filling
        self._used = 0

    def take(self, count: int) -> bool:
        """It is longer by so many bytes; whether it may be held all the same."""
        filling = self._filling
        self._used += count
        filling.used += count
        return self._used <= filling.longest and filling.used <= filling.most

    def give_back(self, count: int) -> None:
        """So many bytes of it are not in memory any more."""
        count = min(count, self._used)
        self._filling.used -= count
        self._used -= count

    def leave(self) -> None:
        """It is not held any more."""
        self.give_back(self._used)


class InFile(Protocol):
    """What of a body is in a file."""

    def part(self, first: int, count: int) -> bytes:
        """So many bytes of it; fewer if the file has become shorter."""


class Source(Protocol):
    """Who sends a body that grows."""

    def pause(self) -> None:
        """Send no more for now."""

    def resume(self) -> None:
        """Go on."""


class Follower(Protocol):
    """Who goes through a body: ``place`` is that of the next piece."""

    place: int

    def go_on(self) -> None:
        """There may be more."""

    def readings(self) -> Sequence[Reading]:
        """Those of the clients that it is for."""


class Reader(Protocol):
    """Who passes a body on to a client."""

    def pass_on(self, piece: bytes) -> None:
        """The next piece."""

    def read_all(self) -> None:
        """That was the last."""

    def read_broken(self) -> None:
        """There will be no more, and it is not complete."""

    def holds_up_others(self) -> None:
        """Who reads the same waits for its client, which takes nothing."""


class PartOf:
    """Who passes on a part of a body, which is there as soon as that comes to it."""

    __slots__ = ("_before", "_left", "_reader")

    def __init__(self, reader: Reader, first: int, count: int) -> None:
        self._reader = reader
        self._before = first  # bytes that are not for its client
        self._left = count

    def pass_on(self, piece: bytes) -> None:
        skipped = min(self._before, len(piece))
        self._before -= skipped
        part = piece[skipped : skipped + self._left]
        if part:
            self._left -= len(part)
            self._reader.pass_on(part)
            if not self._left:
                self._reader.read_all()  # who leaves the body then

    def read_all(self) -> None:
        """It was shorter than it should have been."""
        self._reader.read_broken()

    def read_broken(self) -> None:
        self._reader.read_broken()

    def holds_up_others(self) -> None:
        self._reader.holds_up_others()


class Reading:
    """One client's way through a body, and the producer of its transport."""

    __slots__ = (
        "_begun",
        "_body",
        "_busy",
        "_meter",
        "_over",
        "_paused",
        "_piece",
        "_read",
        "_reader",
        "_side",
        "place",
    )

    def __init__(self, reader: Reader, body: Body) -> None:
        self._reader = reader
        self._body = body
        self._paused = False
        self._busy = False
        self._over = False
        self._meter: Optional[Meter] = None
        self._side: Optional[Shelf] = None
        self._piece = b""  # of which only so many bytes have been passed on
        self._begun = 0
        self._read = 0  # bytes of what is read at once
        self.place = 0

    def pace(self, meter: Optional[Meter], side: Shelf) -> None:
        """Pass it on no faster than the ``meter`` of this side lets it, if there is one."""
        if meter is not None:
            self._meter, self._side = meter, side
            meter.begin()

    def go_on(self) -> None:
        """Pass on what there is, as far as the client takes it."""
        if self._busy:
            return
        self._busy = True
        before = self.place
        while not self._paused and not self._over:
            meter = self._meter
            if meter is not None and meter.held:
                break
            piece = self._piece or self._body.piece(self.place)
            if piece is None:
                break
            if meter is not None:
                piece = self._part_of(piece)
                meter.passed(len(piece))
            else:
                self.place += len(piece)
            self._reader.pass_on(piece)
        self._busy = False
        if self._stopped():
            return
        if self.place != before:
            self._body.taken()
        if self._body.done and not self._body.has(self.place) and not self._stopped():
            self.leave()
            if self._body.broken:
                self._reader.read_broken()
            else:
                self._reader.read_all()

    def _part_of(self, piece: bytes) -> bytes:
        """As much of it as the meter wants at once, less what was left of the piece before."""
        assert self._side is not None
        most = self._side.bufferSize
        end = self._begun + most - self._read
        part = piece[self._begun : end]
        self._read = (self._read + len(part)) % most
        if end < len(piece):
            self._piece, self._begun = piece, end
        else:
            self._piece, self._begun = b"", 0
            self.place += len(piece)
        return part

    def _stopped(self) -> bool:
        """Whether it is over meanwhile; asked anew, since others may have said so."""
        return self._over

    def readings(self) -> Sequence[Reading]:
        return (self,)

    @property
    def is_full(self) -> bool:
        """Whether its client takes no more for now."""
        return self._paused

    def part(self) -> None:
        """Others have waited for it for too long."""
        self._reader.holds_up_others()

    def leave(self) -> None:
        """Read no more."""
        if not self._over:
            self._over = True
            self._body.leave(self)
            if self._meter is not None and self._side is not None:
                self._meter.end()
                self._side.end()
                self._meter = self._side = None

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self.go_on()

    def stopProducing(self) -> None:
        """The client is lost, which its side is told too."""


classImplements(Reading, IPushProducer)
