"""
What is given of a stored answer to a client that would like it compressed?

The same is decided as of what a server says just now (`proxyd.policy.encoding`).  The body in a coding is
made once, when the first hit wants it: in turns of `TURN`, so that if one is enough this hit has it already,
and until it is there hits have the body as it is stored.  Then it is kept with the answer, as a part of that
(`proxyd.policy.cachestore`).
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Sequence

from proxyd.config.compression import CompressionSpec
from proxyd.frontends.http.recoding import TURN, Compressor
from proxyd.policy.cachestore import Memory, Stored
from proxyd.policy.encoding import VARIES, Decision, decide
from proxyd.relay.streams import CHUNK
from proxyd.wire.contentcoding import encoder
from proxyd.wire.http1 import Answer, Request, Said
from proxyd.wire.httpfields import Field

Later = Callable[[float, Callable[[], None]], Any]

MOST = 16  # bodies that are made at once: each takes up to a megabyte beside itself


class Variants:
    """The answers of a store, in codings."""

    def __init__(self, store: Memory) -> None:
        self._store = store
        self._makings: dict[tuple[Stored, str], Making] = {}

    def of(self, stored: Stored, request: Request, compressor: Compressor, later: Later) -> Stored:
        """What a request gets of this; ``later`` calls in another turn, unless that is cancelled."""
        length = len(stored.body)
        decision = _decided(compressor.spec, stored.status, stored.fields, length, request)
        if decision is None:
            return stored
        if decision.encodes:
            found = stored.variants.get(decision)
            if found is None and stored.live:
                self._make(stored, decision, compressor, later)
                found = stored.variants.get(decision)
            if found is not None:
                return found
        return stored.variants.get(VARIES) or self._store.vary(stored, VARIES, stored.body)

    def _make(self, stored: Stored, decision: Decision, compressor: Compressor, later: Later) -> None:
        """Begin to, if that has not begun, and there is time."""
        key = stored, decision.encodes
        if key in self._makings or len(self._makings) >= MOST or not compressor.may_begin(decision.encodes):
            return

        def over(body: Optional[bytes]) -> None:
            del self._makings[key]
            if body is not None:
                self._store.vary(stored, decision, body)

        making = self._makings[key] = Making(stored, decision.encodes, compressor, later, over)
        making.go_on()

    def close(self) -> None:
        """Nothing more is made."""
        for making in list(self._makings.values()):
            making.stop()


class Making:
    """A body that is put in a coding."""

    def __init__(
        self,
        stored: Stored,
        coding: str,
        compressor: Compressor,
        later: Later,
        over: Callable[[Optional[bytes]], None],
    ) -> None:
        """``over`` is told what has become of it, None if nothing has."""
        self._stored = stored
        self._compressor = compressor
        self._passed = compressor.passed[coding]
        self._coder = encoder(coding, compressor.spec.level(coding))
        self._later = later
        self._over = over
        self._made: list[bytes] = []
        self._place = 0
        self._call: Any = None
        compressor.guard.under_way += 1

    def go_on(self) -> None:
        """Do some more, for a turn."""
        self._call = None
        if not self._stored.live:
            self.stop()  # nobody will ask for it
            return
        body, cpu = self._stored.body, self._compressor.cpu
        began, spent = cpu(), 0.0
        while self._place < len(body) and spent < TURN:
            self._made.append(self._coder.step(body[self._place : self._place + CHUNK]))
            self._place += CHUNK
            spent = cpu() - began
        done = self._place >= len(body)
        if done:
            self._made.append(self._coder.end())
            spent = cpu() - began
        self._passed.cpu_seconds += spent
        self._compressor.guard.spent(spent)
        if not done:
            self._call = self._later(0, self.go_on)
            return
        made = b"".join(self._made)
        self._passed.answers += 1
        self._passed.bytes_in += len(body)
        self._passed.bytes_out += len(made)
        self._end(made)

    def stop(self) -> None:
        """It is not wanted any more."""
        if self._call is not None:
            self._call.cancel()
        self._end(None)

    def _end(self, made: Optional[bytes]) -> None:
        self._compressor.guard.under_way -= 1
        self._over(made)


def as_it_is(
    compressor: Optional[Compressor],
    status: int,
    fields: Sequence[Field],
    length: Optional[int],
    request: Request,
) -> Sequence[Field]:
    """
    The fields of an answer whose body leaves as it is, or not at all.

    They tell that it could have been compressed; and a 304 names the validator that its client has.
    """
    if compressor is None:
        return fields
    decision = _decided(compressor.spec, status, fields, length, request)
    if decision is None:
        return fields
    return (VARIES if decision.recodes else decision).fields(fields)


def _decided(
    spec: CompressionSpec, status: int, fields: Sequence[Field], length: Optional[int], request: Request
) -> Optional[Decision]:
    said = Said(1)
    said.fields, said.declared = list(fields), length
    return decide(spec, Answer(status, b"", said, 0), request)
