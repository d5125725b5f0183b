"""
In which coding does a client get what is stored, or being fetched?

The same is decided as of what a server says just now (`proxyd.policy.encoding`).  A body is put in a coding,
or taken out of one, once (`proxyd.frontends.http.making`), and read meanwhile by all who want it so.  Then it
is kept with the stored answer, as a part of that (`proxyd.policy.cachestore`), unless it is too long, or was
not complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Sequence, Union

from proxyd.config.compression import CompressionSpec
from proxyd.frontends.http.bodies import Body, Filling, Room
from proxyd.frontends.http.filebody import body_of
from proxyd.frontends.http.making import Later, Making
from proxyd.frontends.http.recoding import Compressor
from proxyd.policy.cachestore import Elsewhere, Memory, Stored
from proxyd.policy.encoding import VARIES, Decision, decide
from proxyd.wire.http1 import Answer, Request, Said
from proxyd.wire.httpfields import Field

if TYPE_CHECKING:
    from proxyd.frontends.http.fetching import Fetch


class Variants:
    """The answers of a cache, in codings."""

    def __init__(self, store: Memory, filling: Filling) -> None:
        self.store = store
        self.filling = filling
        self.under_way: dict[Union[Stored, Fetch], Makings] = {}

    def of(
        self, stored: Stored, request: Request, compressor: Compressor, later: Later
    ) -> Union[Stored, Making]:
        """What a request gets of this, which may still be made; ``later`` calls in another turn."""
        length = len(stored.body)
        decision = decided(compressor.spec, stored.status, stored.fields, length, request)
        if decision is None:
            return stored
        if decision.recodes:
            found = stored.variants.get(decision)
            if found is not None:
                return found
            makings = self.under_way.get(stored) or Makings(self, stored.body, stored=stored)
            making = makings.get(decision, compressor, later)
            if making is not None:
                return making.kept or making
        return stored.variants.get(VARIES) or self.store.vary(stored, VARIES, stored.body)

    def of_fetch(
        self, fetch: Fetch, status: int, request: Request, compressor: Compressor, later: Later
    ) -> Optional[Making]:
        """What a request gets of an answer that comes, if something is made of that."""
        decision = decided(compressor.spec, status, fetch.settled, fetch.declared, request)
        if decision is None or not decision.recodes:
            return None
        makings = self.under_way.get(fetch) or Makings(self, fetch.body, fetch=fetch)
        return makings.get(decision, compressor, later)

    def keep(self, fetch: Fetch, stored: Stored) -> None:
        """What is made of what was fetched is a part of this from now on."""
        makings = self.under_way.pop(fetch, None)
        if makings is not None:
            makings.stored = stored
            self.under_way[stored] = makings

    def let_go(self, fetch: Fetch) -> None:
        """What is made of what is fetched is not to be kept."""
        makings = self.under_way.get(fetch)
        if makings is not None:
            makings.let_go()

    def close(self) -> None:
        """Nothing more is made."""
        for makings in list(self.under_way.values()):
            makings.stop()


class Makings:
    """What is made of one body: that of an answer that is fetched, and may be stored then."""

    def __init__(
        self,
        variants: Variants,
        body: Union[bytes, Elsewhere, Body],
        fetch: Optional[Fetch] = None,
        stored: Optional[Stored] = None,
    ) -> None:
        self._variants = variants
        self._body = body
        self._fetch = fetch
        self.stored = stored
        self._each: dict[Decision, Making] = {}

    def get(self, decision: Decision, compressor: Compressor, later: Later) -> Optional[Making]:
        """The one that is under way, or a new one, if there is time for that."""
        making = self._each.get(decision)
        if making is not None and making.is_kept:
            return making
        if decision.encodes and not compressor.may_begin(decision.encodes):
            return None
        body, variants = self._body, self._variants
        source = body if isinstance(body, Body) else body_of(body, 0, len(body))
        making = Making(source, decision, compressor, later, Room(variants.filling), self)
        self._each[decision] = making
        variants.under_way[self._owner()] = self
        making.go_on()
        return making

    def _owner(self) -> Union[Stored, Fetch]:
        owner = self.stored or self._fetch
        assert owner is not None
        return owner

    def is_wanted(self) -> bool:
        """Whether something is to be made though nobody reads it."""
        return self.stored is None or self.stored.live

    def over(self, making: Making, complete: bool) -> None:
        """Nothing more is made of the body by this; what is complete, and was held, is kept."""
        stored, fetch = self.stored, self._fetch
        if self._each.get(making.decision) is making:
            del self._each[making.decision]
            if not self._each:
                del self._variants.under_way[self._owner()]
        if complete and making.is_kept and stored is not None:
            making.kept = self._variants.store.vary(stored, making.decision, making.body.whole())
        if fetch is not None:
            fetch.left()

    def let_go(self) -> None:
        """Nothing of it is to be kept."""
        for making in list(self._each.values()):
            making.let_go()

    def stop(self) -> None:
        """Nothing of it is wanted any more."""
        for making in list(self._each.values()):
            making.stop()


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
    decision = decided(compressor.spec, status, fields, length, request)
    if decision is None:
        return fields
    return (VARIES if decision.recodes else decision).fields(fields)


def takes_no_part(
    compressor: Compressor, status: int, fields: Sequence[Field], length: int, request: Request
) -> bool:
    """
    Whether a client has no use for a part of an answer that is stored, or fetched.

    It cannot take its coding; or it has got a part of what was compressed, as far as we know: a date in
    If-Range vouches for either, and only a strong ETag for what is stored (`proxyd.policy.encoding`).
    """
    decision = decided(compressor.spec, status, fields, length, request)
    if decision is None or not decision.encodes:
        return decision is not None and decision.decodes != ""
    return by_date(request)


def by_date(request: Request) -> bool:
    """Whether what a client has a part of is told by a date, which is that of any coding."""
    return any(name == b"if-range" and value[-1:] != b'"' for name, value, _, _ in request.said.fields)


def decided(
    spec: CompressionSpec, status: int, fields: Sequence[Field], length: Optional[int], request: Request
) -> Optional[Decision]:
    """What becomes of an answer to a request that is not one of a server's just now."""
    said = Said(1)
    said.fields, said.declared = list(fields), length
    return decide(spec, Answer(status, b"", said, 0), request)
