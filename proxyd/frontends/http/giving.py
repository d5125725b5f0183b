"""
How is an answer given that is stored, or that is being fetched?

What is stored is given from bytes that are prepared where it may leave as it is, and else as the conditions
of the request, its range and the codings that the client takes make it.  What is being fetched is given while
it comes.  What is asked for, and whether it may be given at all, is for `proxyd.frontends.http.caching` to
say, which is above this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Optional, Sequence, Union

from twisted.internet.interfaces import IAddress

from proxyd.errors import Reason
from proxyd.frontends.http.bodies import Body, PartOf, Reader, Reading
from proxyd.frontends.http.cache import BYPASS, COALESCED, HIT, HOW, MISS, Cache, Loading, cache_status
from proxyd.frontends.http.connection import SENDING
from proxyd.frontends.http.filebody import FileBody, body_of
from proxyd.frontends.http.making import Making
from proxyd.frontends.http.pages import Edit, Words
from proxyd.frontends.http.session import HttpSession
from proxyd.frontends.http.sides import Shelf
from proxyd.frontends.http.variants import as_it_is, takes_no_part
from proxyd.policy.cache import NO_WISH, Wish
from proxyd.policy.cachestore import Elsewhere, Stored
from proxyd.policy.conditions import FAILED, NOT_MODIFIED, UNSATISFIABLE, along, answer_to, part_of
from proxyd.policy.freshness import values
from proxyd.records import RequestRecord
from proxyd.relay.sendfile import ReadAhead, Sending
from proxyd.relay.streams import CHUNK, keeps_references
from proxyd.wire.http1 import UNTIL_CLOSE, Answer, Request, Said
from proxyd.wire.httpfields import Field

if TYPE_CHECKING:
    from proxyd.frontends.http.factory import HttpFactory
    from proxyd.frontends.http.fetching import Fetch

SMALL = 16 * 1024  # bytes of a body that is prepared as one with its head

WHOLE = 256 * 1024  # bytes of a body that is written at once where that copies nothing

FAR = 256 * 1024  # bytes that are waited for before a part, beyond which its server is asked for it alone

_RANGES = (b"range", b"if-range")


class Told:
    """What was prepared of an answer: it is good for one second, as its age is in it."""

    __slots__ = ("head", "second", "via", "whole")

    def __init__(self, second: int, via: bytes, head: bytes, body: Union[bytes, Elsewhere]) -> None:
        self.second = second
        self.via = via
        self.head = head
        self.whole = head + body if isinstance(body, bytes) and len(body) <= SMALL else b""


class GivingSession(HttpSession):
    """One client's connection, as far as what is stored or fetched is given to it."""

    __slots__ = (
        "_cache",
        "_fetch",
        "_file",
        "_held",
        "_making",
        "_reading",
        "_sending",
        "_wish",
        "loaded",
        "origin",
    )

    def __init__(self, factory: HttpFactory, address: IAddress) -> None:
        super().__init__(factory, address)
        self._cache: Optional[Cache] = None  # of the request under way
        self._wish: Wish = NO_WISH
        self._fetch: Optional[Union[Fetch, Loading]] = None  # which it waits for, or reads
        self._reading: Optional[Reading] = None
        self._making: Optional[Making] = None  # of what it reads
        self._sending: Optional[Sending] = None  # of a file that is on its way
        self._held: Optional[Stored] = None  # from whose body it reads
        self._file: Optional[FileBody] = None  # which is not closed meanwhile
        self.loaded: Optional[Stored] = None  # what was got for it from the disk
        self.origin: Optional[RequestRecord] = None  # where its answer has come from, by others

    @property
    def asked(self) -> Request:
        """The request under way."""
        assert self._request is not None
        return self._request

    # Of a body that is there.

    def give(self, stored: Stored, word: str) -> None:
        """Answer with what is stored, or with what its conditions make of that."""
        request, delivery, cache = self.asked, self._delivery, self._cache
        assert delivery is not None and cache is not None
        self._fetch = None
        self.cached = word
        self._first = now = self.http.seconds()
        keep, edit, minor = self._goes_on(), self.edit_of(stored.fields), request.said.minor
        self._status = stored.status
        of_head = request.method == b"HEAD"
        found = self._outcome(stored, now, of_head)
        if isinstance(found, tuple) or found == UNSATISFIABLE:
            if self._takes_no_part(stored.status, stored.fields, len(stored.body)):
                found = stored.status
        if found == stored.status:
            coded = self._in_coding(cache, stored)
            if isinstance(coded, Making):
                self._give_making(coded, stored, word)
                return
            stored = coded
        if word == HIT and keep and minor and edit is None and request.method == b"GET":
            if not self._wish.conditional and self.paced is None:
                told = stored.told
                if told is None or told.second != int(now) or told.via is not delivery.via:
                    told = self._prepare(stored, now)
                    cache.store.prepared(stored, told)
                delivery.closes = delivery.chunked = False
                if told.whole:
                    self.client.transport.write(told.whole)
                    self._given(len(stored.body))
                else:
                    self._send(told.head, stored, 0, len(stored.body))
                return
        fields, declared, extra = list(stored.fields), len(stored.body), b""
        first, count, reason = 0, 0 if of_head else declared, stored.reason
        if isinstance(found, tuple):
            first, last = found
            fields = self._as_it_is(stored.status, fields, declared)
            self._status, reason = 206, b"Partial Content"
            extra = b"Content-Range: bytes %d-%d/%d\r\n" % (first, last, declared)
            count = declared = last + 1 - first
        elif found == NOT_MODIFIED and stored.status != NOT_MODIFIED:
            self._status, reason, count = 304, b"Not Modified", 0
            fields = self._not_modified(stored.status, fields, declared)
        elif found == FAILED and stored.status != FAILED:
            self.say(412, Reason.ANSWERED, "")
            return
        elif found == UNSATISFIABLE and stored.status != UNSATISFIABLE:
            self._say_unsatisfiable(declared)
            return
        if edit is not None:
            fields = edit(fields)
        head = delivery.held(
            self._status,
            reason,
            fields,
            declared if self._status not in (204, 304) else None,
            minor,
            keep,
            extra + self._age(stored, now) + self._cache_status(HOW[word], stored, now),
        )
        self._send(head, stored, first, count)

    def _in_coding(self, cache: Cache, stored: Stored) -> Union[Stored, Making]:
        """The same as this client is to have it, which may still be made."""
        compressor = self.compressor()
        if compressor is None:
            return stored
        coded = cache.variants.of(stored, self.asked, compressor, self.wheel.clock.callLater)
        self._coded = coded.decision.coding if isinstance(coded, Making) else coded.coding
        return coded

    def _takes_no_part(self, status: int, fields: Sequence[Field], length: int) -> bool:
        """Whether a part of such an answer is of no use to its client."""
        compressor = self.compressor()
        return compressor is not None and takes_no_part(compressor, status, fields, length, self.asked)

    def _say_unsatisfiable(self, length: int) -> None:
        """There is no such part of what is so long."""
        total = Words(fields=(b"Content-Range: bytes */%d" % length,))
        self.say(416, Reason.ANSWERED, "", instead=total)

    def _give_making(self, making: Making, stored: Stored, word: str) -> None:
        """Answer with what is stored while another body is made of that."""
        delivery, edit, now = self._delivery, self.edit_of(stored.fields), self.http.seconds()
        assert delivery is not None
        fields = making.decision.fields(stored.fields)
        if edit is not None:
            fields = edit(fields)
        told = self._age(stored, now) + self._cache_status(HOW[word], stored, now)
        keep, minor = self._goes_on(), self.asked.said.minor
        head = delivery.held(stored.status, stored.reason, fields, None, minor, keep, told)
        self.client.transport.write(head)
        if self.asked.method == b"HEAD":
            self._given(0)
        else:
            self._making = making
            self._watch_progress()
            self._down_left = UNTIL_CLOSE
            self._read(making.body, self._answer_of(stored))

    def _as_it_is(self, status: int, fields: list[Field], length: Optional[int]) -> list[Field]:
        return list(as_it_is(self.compressor(), status, fields, length, self.asked))

    def _not_modified(self, status: int, fields: list[Field], length: Optional[int]) -> list[Field]:
        """What goes along with a 304 in place of an answer: its Vary, too (RFC 9110, 15.4.5)."""
        return self._as_it_is(304, along(self._as_it_is(status, fields, length)), None)

    def _outcome(self, stored: Stored, now: float, of_head: bool) -> Union[int, tuple[int, int]]:
        if not self._wish.conditional:
            return stored.status
        asked = self.asked.said.fields
        if of_head:
            asked = [field for field in asked if field[0] not in _RANGES]
        return answer_to(asked, stored.fields, len(stored.body), self.http.wall.now(), stored.status)

    def _prepare(self, stored: Stored, now: float) -> Told:
        """The head of an answer to a plain GET."""
        delivery = self._delivery
        assert delivery is not None
        declared = len(stored.body) if stored.status not in (204, 304) else None
        told = self._age(stored, now) + self._cache_status(HOW[HIT], stored, now)
        head = delivery.held(stored.status, stored.reason, stored.fields, declared, 1, True, told)
        return Told(int(now), delivery.via, head, stored.body)

    def _send(self, head: bytes, stored: Stored, first: int, count: int) -> None:
        """Write so much of it, at once if nothing is copied by that, else as the client takes it."""
        transport, body = self.client.transport, stored.body
        if not count:
            transport.write(head)
        elif not isinstance(body, bytes):
            assert isinstance(body, FileBody)
            self._send_from_file(head, stored, body, first, count)
            return
        elif count <= CHUNK and self.paced is None:
            transport.write(head + body[first : first + count])
        elif self.paced is None and count <= WHOLE and keeps_references(transport):
            transport.write(head)
            transport.write(body if count == len(body) else body[first : first + count])
        else:
            cache = self._cache
            assert cache is not None
            cache.store.hold(stored)
            self._held = stored
            transport.write(head)
            self._read(body_of(body, first, count), self._answer_of(stored))
            return
        self._given(count)

    def _send_from_file(self, head: bytes, stored: Stored, body: FileBody, first: int, count: int) -> None:
        """By the kernel, unless the client has a bandwidth, whose meter wants to be told of each piece."""
        answer = self._answer_of(stored)
        if self.paced is not None:
            self.client.transport.write(head)
            self._watch_progress()
            self._read(body_of(body, first, count), answer)
            return
        cache = self._cache
        assert cache is not None

        def sent(left: int) -> None:
            if left:
                kept = cache.store.like(stored)  # of which this may be a variant
                if kept is not None and kept.body is body:
                    cache.drop(kept)
                self._file_changed()
            else:
                self._given(count)

        self._answer = answer
        self._nobody.received = count
        ahead = None if cache.disk is None else cache.disk.ahead(body)
        self.send_file(head, body, first, count, sent, ahead)

    def send_file(
        self,
        head: bytes,
        file: FileBody,
        first: int,
        count: int,
        sent: Callable[[int], None],
        ahead: Optional[ReadAhead] = None,
    ) -> None:
        """Send so much of a file behind a head; ``sent`` is told how much is missing in the end."""
        transport = self.client.transport
        self._phase = SENDING
        self._file = file
        transport.write(head)
        self._watch_progress()
        sending = self._sending = Sending(transport, file.fd, file.offset + first, count, sent, ahead)
        sending.start()

    def _file_changed(self) -> None:
        self.conclude(Reason.FILE_CHANGED, "")
        self.cut(Reason.FILE_CHANGED, "it has become shorter while it was sent")

    def _silent_for(self) -> float:
        sending = self._sending
        if sending is None:
            return super()._silent_for()
        self._nobody.received -= sending.left  # what has left is progress, too
        silent = super()._silent_for()
        self._nobody.received += sending.left
        return silent

    def _answer_of(self, stored: Stored) -> Answer:
        said = Said(1)
        said.fields = list(stored.fields)
        return Answer(self._status, stored.reason, said, 0)

    def _given(self, length: int) -> None:
        """The answer has been written."""
        delivery = self._delivery
        assert delivery is not None
        self._nobody.received = length
        self.conclude(Reason.ANSWERED, "")
        self._go_behind(delivery.closes)

    def _go_behind(self, closes: bool) -> None:
        """The next request, or the end."""
        client = self.client
        if closes:
            self.close_client(True)
        elif client.held or client.finished or self._is_full():
            self._come_again()
        else:
            self._resume_idle()

    # Of a body that is read while it comes, or that is long.

    def read(self, fetch: Fetch, word: str) -> None:
        """The answer is there, and its body comes."""
        answer, request, delivery = fetch.answer, self.asked, self._delivery
        assert answer is not None and delivery is not None
        self.cached = word
        if word != COALESCED:
            self.origin = fetch.origin
        self._first = self.http.seconds()
        self._status = answer.status
        keep, edit, minor = self._goes_on(), self.edit_of(answer.said.fields), request.said.minor
        if self.brought is not None and fetch.alone is not None:
            self.stays = fetch.session.stays
            edit = self._told_server(self.brought.affinity, answer, fetch.alone, edit)
        declared = fetch.declared if answer.said.length >= 0 else None
        fields = fetch.settled if word == COALESCED else fetch.personal
        if self._wish.conditional and declared is not None:
            found = answer_to(request.said.fields, fields, declared, self.http.wall.now(), answer.status)
            if isinstance(found, tuple):
                if not self._takes_no_part(answer.status, fields, declared):
                    self._read_part(fetch, word, fields, found, edit)
                    return
            elif found != answer.status:
                self._answer_briefly(fetch, answer.status, found, fields, keep)
                return
        making, body = self._making_of(fetch, answer.status), fetch.body
        if making is None:
            fields = self._as_it_is(answer.status, fields, declared)
        else:
            fields, declared, body = making.decision.fields(fields), None, making.body
        if edit is not None:
            fields = edit(fields)
        told = fetch.age + self._cache_status(_came(fetch, word, answer.status))
        head = delivery.held(answer.status, answer.reason, fields, declared, minor, keep, told)
        self._fetch = fetch
        self._watch_progress()
        self.client.transport.write(head)
        self._down_left = UNTIL_CLOSE if declared is None else declared
        self._read(body, answer)

    def _read_part(
        self, fetch: Fetch, word: str, fields: list[Field], part: tuple[int, int], edit: Optional[Edit]
    ) -> None:
        """The answer is there, and a part of its body is wanted, which comes."""
        answer, delivery, declared = fetch.answer, self._delivery, fetch.declared
        assert answer is not None and delivery is not None and declared is not None
        first, last = part
        fields = self._as_it_is(answer.status, fields, declared)
        if edit is not None:
            fields = edit(fields)
        told = b"Content-Range: bytes %d-%d/%d\r\n" % (first, last, declared)
        told += fetch.age + self._cache_status(_came(fetch, word, answer.status))
        self._status, count = 206, last + 1 - first
        keep, minor = self._goes_on(), self.asked.said.minor
        head = delivery.held(206, b"Partial Content", fields, count, minor, keep, told)
        self._fetch = fetch
        self._watch_progress()
        self.client.transport.write(head)
        self._down_left = count
        begin = fetch.body.beginning(first)
        self._read(fetch.body, answer, PartOf(self, first - begin, count), begin)

    def had_better_ask(self, answer: Answer, declared: Optional[int], size: int) -> bool:
        """Whether it wants a part that is far behind what has come, ``size`` bytes of an answer."""
        wanted = values(self.asked.said.fields, b"range")
        if answer.status != 200 or declared is None or len(wanted) != 1:
            return False
        part = part_of(wanted[0], declared)
        return isinstance(part, tuple) and part[0] > size + FAR

    def _making_of(self, fetch: Fetch, status: int) -> Optional[Making]:
        """What this client is to have in place of what comes, if that is something else."""
        compressor, cache = self.compressor(), self._cache
        if compressor is None or cache is None:
            return None
        making = cache.variants.of_fetch(fetch, status, self.asked, compressor, self.wheel.clock.callLater)
        if making is not None:
            self._making, self._coded = making, making.decision.coding
        return making

    def _answer_briefly(self, fetch: Fetch, came: int, status: int, fields: list[Field], keep: bool) -> None:
        """Its client has it already, or wants it only if it had."""
        delivery = self._delivery
        assert delivery is not None
        self._fetch = None
        fetch.left()
        if status == FAILED:
            self.say(412, Reason.ANSWERED, "")
            return
        if status == UNSATISFIABLE:
            self._say_unsatisfiable(fetch.declared or 0)
            return
        edit = self.edit_of(fields)
        fields = self._not_modified(came, fields, fetch.declared)
        fields = fields if edit is None else edit(fields)
        self._status = status
        told = self._cache_status(_came(fetch, self.cached, came))
        minor = self.asked.said.minor
        head = delivery.held(status, b"Not Modified", fields, None, minor, keep, told)
        self.client.transport.write(head)
        self._given(0)

    def _read(self, body: Body, answer: Answer, reader: Optional[Reader] = None, begin: int = 0) -> None:
        """``reader`` is who passes it on from ``begin`` on, if that is not this one itself."""
        reading = self._reading = Reading(reader or self, body)
        reading.place = begin
        if self.paced is not None:
            side = Shelf(self, reading)
            reading.pace(self.paced.of_server(side), side)
        self._answer = answer
        self._streaming = True
        body.read(reading)
        self.client.transport.registerProducer(reading, True)
        reading.go_on()

    def pass_on(self, piece: bytes) -> None:
        """Some of the body."""
        delivery = self._delivery
        assert delivery is not None
        self._nobody.received += len(piece)
        self.client.transport.write(delivery.data(piece))

    def read_all(self) -> None:
        """That was the body."""
        delivery = self._delivery
        assert delivery is not None
        end = delivery.end()
        if end:
            self.client.transport.write(end)
        self.conclude(Reason.ANSWERED, "")
        self._go_behind(delivery.closes)

    def read_broken(self) -> None:
        """The rest of it is lost."""
        making = self._making
        if making is not None and making.wrong:
            self._give_up(Reason.ANSWER_MALFORMED, making.wrong)
        else:
            self._give_up(Reason.ANSWER_CUT, "while it was fetched")

    def holds_up_others(self) -> None:
        """It takes nothing, and others want to go on."""
        self._give_up(Reason.CLIENT_STALLED, "others waited for it")

    # What is told of it.

    def _age(self, stored: Stored, now: float) -> bytes:
        return b"Age: %d\r\n" % stored.terms.age(now)

    def _cache_status(self, how: bytes, stored: Optional[Stored] = None, now: float = 0.0) -> bytes:
        """RFC 9211."""
        cache = self._cache
        if cache is None or not cache.spec.status_header:
            return b""
        ttl = None if stored is None else int(stored.terms.lifetime - stored.terms.age(now))
        return cache_status(self.http.spec.http.via, how, ttl)

    def conclude(self, reason: Reason, detail: str) -> None:
        sending = self._sending
        if sending is not None:
            self._sending = None
            self._nobody.received -= sending.left
            sending.stop()
            if sending.left and self.client.connected:
                self.client.transport.unregisterProducer()
            self._file = None
        reading, self._reading = self._reading, None
        making, self._making = self._making, None
        fetch, self._fetch = self._fetch, None
        if reading is not None:
            reading.leave()
        if making is not None:
            making.left()
        if fetch is not None:
            fetch.leave(self)
            fetch.left()
        held, self._held = self._held, None
        cache, word = self._cache, self.cached
        if cache is not None and held is not None:
            cache.store.part(held)
        if cache is not None and word:
            cache.counts[word] += 1
            if word != MISS and word != BYPASS:
                cache.saved += self._nobody.received
        super().conclude(reason, detail)
        self.origin = self.loaded = None
        self._nobody.received = 0

    def note_cache(self, record: RequestRecord) -> None:
        super().note_cache(record)
        origin = self.origin
        if origin is not None:
            record.server, record.server_address = origin.server, origin.server_address
            record.chosen = origin.chosen
            record.connect_seconds, record.queue_seconds = origin.connect_seconds, origin.queue_seconds
            record.retries, record.hedged = origin.retries, origin.hedged


def _came(fetch: Fetch, word: str, status: int) -> bytes:
    """How an answer with this status has come to one for whom it was fetched."""
    how = HOW[word]
    if word == MISS and fetch.stored is not None:
        how = b"fwd=stale; fwd-status=%d" % status
    return how + b"; stored" if word == MISS and fetch.alone is None else how
