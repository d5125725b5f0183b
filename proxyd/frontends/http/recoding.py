"""
How does the body of an answer become another one on its way to the client?

`Compressor` decides of each answer (`proxyd.policy.encoding`), and counts.  A `Recoding` is one body that is
compressed or decoded: it stands between the server and the client, as the producer of the client's transport.
It works in steps of what is read at once, 32 KiB at most, and lets others have their turn after `TURN`; while
it has something that the client does not take, or that is not done yet, the server is paused.

What a compressor keeps to itself is flushed when the server has said nothing more for `PAUSE`, so that a
trickle reaches the client in time, and bulk is not cut into small blocks.  Until then less than `LEAST` waits
for more, and the head with it: to send a client something costs as much as compressing 2 KB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence

from twisted.internet.interfaces import IPushProducer
from zope.interface import classImplements

from proxyd.config.compression import CompressionSpec
from proxyd.frontends.http.answer import Delivery
from proxyd.policy.compression import CompressionSnapshot, CpuGuard
from proxyd.policy.encoding import VARIES, Decision, decide
from proxyd.wire.contentcoding import Decoder, Encoder, decoder, encoder
from proxyd.wire.http1 import Answer, Request
from proxyd.wire.httpfields import Field, Unacceptable

if TYPE_CHECKING:
    from proxyd.frontends.http.outcome import HttpOutcome

TURN = 0.002  # seconds of the processor

PAUSE = 0.01  # seconds

LEAST = 1024  # bytes


class Passed:
    """What has gone through one coding, in one direction."""

    __slots__ = ("answers", "bytes_in", "bytes_out", "cpu_seconds", "passed_over")

    def __init__(self) -> None:
        self.answers = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.cpu_seconds = 0.0
        self.passed_over = 0  # answers for which there was no time


class Compressor:
    """What a listener, or a route, has compressed and decoded."""

    def __init__(
        self,
        spec: CompressionSpec,
        seconds: Callable[[], float],
        cpu: Callable[[], float],
        lag: Callable[[], float],
    ) -> None:
        """``cpu`` is how much of the processor this thread has had, and ``lag`` how late its loop is."""
        self.spec = spec
        self.guard = CpuGuard(spec.max_cpu / 100)
        self.passed: dict[str, Passed] = {name: Passed() for name in spec.encodings}
        self.decoded = Passed()
        self.cpu = cpu
        self._seconds = seconds
        self._lag = lag

    def decide(self, answer: Answer, request: Request) -> Optional[Decision]:
        """What becomes of an answer; None if nothing does."""
        decision = decide(self.spec, answer, request)
        if decision is not None and decision.encodes and request.method != b"HEAD":
            if not self.may_begin(decision.encodes):
                return VARIES
        return decision

    def may_begin(self, coding: str) -> bool:
        """Whether there is time for another body in a coding; if not, it is counted as passed over."""
        if self.guard.allows(self._seconds(), self._lag()):
            return True
        self.passed[coding].passed_over += 1
        return False

    def snapshots(self, listener: str, route: str = "") -> tuple[CompressionSnapshot, ...]:
        """What has passed, by the coding; ``identity`` is what was decoded."""
        each = list(self.passed.items())
        if self.spec.decompress:
            each.append(("identity", self.decoded))
        return tuple(
            CompressionSnapshot(
                listener,
                route,
                name,
                one.answers,
                one.bytes_in,
                one.bytes_out,
                one.cpu_seconds,
                one.passed_over,
            )
            for name, one in each
        )


class Recoding:
    """One body: it is fed what the server says, without framing, and writes what the client gets."""

    __slots__ = (
        "_clock",
        "_coder",
        "_compressor",
        "_delivery",
        "_end",
        "_flush",
        "_full",
        "_head",
        "_held",
        "_later",
        "_made",
        "_passed",
        "_plain",
        "_session",
        "_spent",
        "name",
        "over",
    )

    def __init__(
        self,
        session: HttpOutcome,
        compressor: Compressor,
        decision: Decision,
        head: bytes,
        delivery: Delivery,
    ) -> None:
        """``head`` goes before it, and ``delivery`` puts the framing around what leaves."""
        self._session = session
        self._compressor = compressor
        self._coder: Optional[Encoder] = None
        self._plain: Optional[Decoder] = None
        if decision.encodes:
            self.name = decision.encodes
            self._passed = compressor.passed[self.name]
            self._coder = encoder(self.name, compressor.spec.level(self.name))
        else:
            self.name = "identity"
            self._passed = compressor.decoded
            self._plain = decoder(decision.decodes)
        self._passed.answers += 1
        compressor.guard.under_way += 1
        self._head = head
        self._delivery = delivery
        self._clock: Any = session.wheel.clock
        self._held = b""  # what is not done yet
        self._made = b""  # what is, and waits for more
        self._end: Optional[tuple[Sequence[Field], bool]] = None
        self._full = False
        self._spent = 0.0  # seconds of the processor since others had their turn
        self._flush: Any = None  # calls
        self._later: Any = None
        self.over = False

    @property
    def begun(self) -> bool:
        """Whether the client has got some of the answer, be it its head."""
        return not self._head

    @property
    def complete(self) -> bool:
        """Whether the server has said all of it."""
        return self._end is not None

    def feed(
        self, data: bytes, ended: bool = False, trailers: Sequence[Field] = (), whole: bool = False
    ) -> None:
        """
        Some more, and the end of it if that is so.

        ``whole`` is whether nothing has come behind it, so that the server's connection may be used again.
        """
        self._held = self._held + data if self._held else data
        self._passed.bytes_in += len(data)
        if ended:
            self._end = (trailers, whole)
        if not self._full and self._later is None:
            self._go_on()

    def stop(self) -> None:
        """It is over, complete or not."""
        if self.over:
            return
        self.over = True
        self._compressor.guard.under_way -= 1
        for call in (self._flush, self._later):
            if call is not None:
                call.cancel()
        self._flush = self._later = None

    # What the client's transport asks of its producer.

    def pauseProducing(self) -> None:
        """The client takes no more for now."""
        self._full = True
        self._session.server.pauseProducing()

    def resumeProducing(self) -> None:
        """It takes more."""
        self._full = False
        if self._later is None:
            self._go_on()

    def stopProducing(self) -> None:
        """The client is lost, which its side is told too."""

    def _go_on(self) -> None:
        """Do what there is to do, for a turn."""
        session = self._session
        try:
            done = self._turn()
        except Unacceptable as wrong:
            session.not_recoded(wrong)
            return
        if done and self._end is not None:
            session.recoded(self._end[1])
        elif self.over or self._full:
            pass  # who has filled it goes on when it is empty
        elif not done or self._spent >= TURN:
            session.server.pauseProducing()
            self._later = self._clock.callLater(0, self._next_turn)
        else:
            if session.server.paused:
                session.server.resumeProducing()
            if self._coder is not None and self._flush is None and not self.over:
                self._flush = self._clock.callLater(PAUSE, self._flush_now)

    def _next_turn(self) -> None:
        self._later = None
        self._spent = 0.0
        if not self._full:
            self._go_on()

    def _turn(self) -> bool:
        """Whether all that has come is done, the end with it."""
        cpu = self._compressor.cpu
        began, before = cpu(), self._spent
        waits = self._coder is not None and self._held != b""
        out, done = b"", False
        try:
            while not done and not self._full and self._spent < TURN:
                if out:
                    self._write(out)
                out, done = self._step()
                self._spent = before + cpu() - began
        finally:
            spent = self._spent - before
            self._passed.cpu_seconds += spent
            self._compressor.guard.spent(spent)
        if done and self._end is not None:
            self._write(out, self._end[0])
        elif waits and len(self._made) + len(out) < LEAST:
            self._made += out
        else:
            self._write(out)
        return done

    def _step(self) -> tuple[bytes, bool]:
        """Some of what leaves, and whether that was all for now."""
        held, self._held = self._held, b""
        if self._coder is not None:
            out = self._coder.step(held) if held else b""
            return (out + self._coder.end() if self._end is not None else out), True
        plain = self._plain
        assert plain is not None
        out = plain.step(held) if held or plain.pending else b""
        self._held = plain.rest
        done = not plain.pending
        if done and self._end is not None:
            plain.end()
        return out, done

    def _write(self, out: bytes, trailers: Optional[Sequence[Field]] = None) -> None:
        """Send some, with the end behind it if there are trailers, be they none."""
        made, self._made = self._made, b""
        if made:
            out = made + out
        self._passed.bytes_out += len(out)
        delivery, parts = self._delivery, []
        if self._head:
            parts.append(self._head)
            self._head = b""
        if out:
            parts.append(delivery.data(out))
        if trailers is not None:
            parts.append(delivery.end(trailers))
        data = b"".join(parts)
        if data:
            self._session.client.transport.write(data)

    def _flush_now(self) -> None:
        """The server makes a pause."""
        self._flush = None
        assert self._coder is not None
        self._write(self._coder.flush())


classImplements(Recoding, IPushProducer)
