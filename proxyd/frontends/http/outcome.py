"""
How does a request end, and when is the next one heard?

Each ends once: with an answer of its server (`_answered`), with one of ours (`say`), or cut (`_give_up`).
Then it is told of (`conclude`), and its server is let go (`let_go`): the slot is free, the connection kept
for others or closed.  The next request is heard when the client has taken what it was sent.
"""

from __future__ import annotations

from functools import partial
from secrets import token_hex
from typing import Optional, Sequence

from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import connectionDone
from zope.interface import classImplements

from proxyd.config.errorpage import CLIENT, ID, LISTENER, MESSAGE, REASON, STATUS
from proxyd.errors import Reason
from proxyd.frontends.http.connection import FULL, IDLE, HttpConnection
from proxyd.frontends.http.errorpage import ErrorPages
from proxyd.frontends.http.pages import PAGE, Edit, Words, page, told
from proxyd.frontends.http.recoding import Compressor
from proxyd.frontends.http.sides import Upstream
from proxyd.policy.pool import Pool
from proxyd.records import RequestRecord
from proxyd.relay.opening import agreed_on
from proxyd.relay.streams import address_text, buffered, leave
from proxyd.wire.http1 import Answer, Request, Said, may_be_skipped
from proxyd.wire.httpfields import Field, Unacceptable

ID_BYTES = 8  # of a page, random; people will read it to each other

_UNREAD = Request(b"", b"", b"", Said(1), 0)  # what is told of one that nobody should read

# What a client is told of those who could not be reached, and of those who could not be waited for.
_BAD_GATEWAY = frozenset(
    {
        Reason.CONNECT_REFUSED,
        Reason.CONNECT_FAILED,
        Reason.CONNECT_TLS,
        Reason.NAME_FAILED,
        Reason.NO_ANSWER,
        Reason.ANSWER_CUT,
        Reason.ANSWER_MALFORMED,
    }
)
_GATEWAY_TIMEOUT = frozenset({Reason.CONNECT_TIMEOUT, Reason.ANSWER_TIMEOUT, Reason.SERVER_TOO_SLOW})


class HttpOutcome(HttpConnection):
    """One client's connection, as far as its requests end."""

    __slots__ = ()

    def _answered(self, reusable: bool) -> None:
        """Tell of the request, let the server go, and hear the next one."""
        answer, request, delivery, pool = self._answer, self._request, self._delivery, self.pool
        assert answer is not None and request is not None and delivery is not None and pool is not None
        complete = not self._up_left
        if reusable and request.said.length:
            reusable = not may_be_skipped(request, self._let_come)
        self.conclude(Reason.ANSWERED, "")
        if self.picked is not None and (self.picked.failures or self.picked.window is not None):
            self._worked(answer)
        keep = reusable and complete and answer.said.persistent
        self.let_go(keep and not self.server.finished, answer.said.patience)
        if delivery.closes or not complete:
            self.close_client(complete)
        else:
            self._go_idle()

    def recoded(self, whole: bool) -> None:
        """All of it has been handed over; ``whole`` is whether the server has said nothing behind it."""
        self._answered(whole)

    def not_recoded(self, wrong: Unacceptable) -> None:
        """The server has sent what it is not."""
        self.not_all_said(Reason.ANSWER_MALFORMED, str(wrong))

    def not_all_said(self, reason: Reason, detail: str) -> None:
        """The answer of the server has begun, and nothing more of it will come."""
        if self._recoding is not None and not self._recoding.begun:
            self.fail(reason, detail)
        else:
            self._give_up(reason, detail)

    def conclude(self, reason: Reason, detail: str) -> None:
        """The request is over: tell of it, and be ready for another."""
        http, request, picked, opening = self.http, self._request or _UNREAD, self.picked, self.opening
        client, server, said, first = self.client, self.server, request.said, self._first
        now, began = http.seconds(), self._began
        if self._first_byte is not None:
            self._first_byte.ended()
        if self._streaming:
            self._streaming = False
            if client.connected:
                client.transport.unregisterProducer()
        recoding = self._recoding
        if recoding is not None:
            recoding.stop()
            self._recoding = None
        held = len(client.held)
        bytes_in = client.received - held
        client.received = held
        self.total_in += bytes_in
        self.total_out += server.received
        # By place, which takes half as long as by name.
        record = RequestRecord(
            began + http.wall.offset,
            http.spec.name,
            self._came_from,
            reason,
            now - began,
            request.method,
            request.host,
            request.target,
            said.minor,
            self._status,
            said.fields,
            self.pool.name if self.pool is not None else "",
            picked.name if picked is not None else "",
            self._where() if picked is not None else "",
            self.connect_seconds,
            self.queue_seconds,
            None if first is None else first - began,
            bytes_in,
            server.received,
            self.retries,
            detail,
            "" if opening is None or opening.via is None else address_text(opening.via),
            self.route,
            self.user,
            self.outer is not None,
            self.chosen if picked is not None else "",
        )
        if self._hedge is not None:
            self._hedge.note(record)
            self._hedge = None
        if self.cached:
            self.note_cache(record)
        if self._coded:
            record.encoding, self._coded = self._coded, ""
        if self._answer is not None:
            record.answer_fields = self._answer.said.fields
        if opening is not None:
            record.tls, record.sni, record.client_cn = opening.tls, opening.sni, opening.client_cn
            record.alpn = agreed_on(opening)
        if picked is not None and picked.tls is not None and isinstance(server, Upstream):
            record.server_tls = server.handshake.agreed if server.handshake is not None else ""
        if self.page_id:
            record.unique_id, self.page_id = self.page_id, ""
        self._request = self._answer = self._first = self._up = self._down = None
        self._out = b""
        self._let_come = False
        self._up_left = self._down_left = self._status = self.retries = 0
        self._since = now
        self.connect_seconds = self.queue_seconds = None
        self._may_reuse = True
        if self._tried:
            self._tried = []
        http.answered(record)

    def _where(self) -> str:
        """The address of the server, which its connection remembers, since it is costly to make."""
        server = self.server
        if not isinstance(server, Upstream):
            return str(self.server_address)
        if not server.where:
            server.where = str(self.server_address)
        return server.where

    def note_cache(self, record: RequestRecord) -> None:
        """Have the record of a request say what it had of a cache."""
        record.cache, self.cached = self.cached, ""

    def let_go(self, keep: bool, patience: Optional[int] = None) -> None:
        """Part with the server: keep its connection for others, or close it; its slot is free."""
        upstream, picked, pool = self.server, self.picked, self.pool
        self.server = self._nobody
        self.picked = None
        if isinstance(upstream, Upstream) and upstream.connected:
            if self._uploading:
                self._uploading = False
                upstream.transport.unregisterProducer()
            if upstream.meter is not None:
                upstream.let_loose()
            if keep:
                assert pool is not None
                if upstream.paused:
                    upstream.resumeProducing()
                self.http.kept.keep(upstream, pool, self._since, patience)
            else:
                upstream.held = b""
                self.http.kept.drop(upstream, abort=True)
        if self._slot and picked is not None and pool is not None:
            self._slot = False
            if pool.closed(picked, upstream.received):
                pool.admit(self.http.seconds())

    def _worked(self, answer: Answer) -> None:
        """A server has answered that has failed before, or is looked at in all that it does."""
        raise NotImplementedError

    def _hear(self, data: bytes) -> None:
        """These bytes begin a request."""
        raise NotImplementedError

    # What goes wrong.

    def reject(self, wrong: Unacceptable) -> None:
        """The client has sent what nobody should read."""
        reason = Reason.BODY_TOO_LARGE if wrong.status == 413 else Reason.REQUEST_MALFORMED
        self.reason, self.detail = reason, str(wrong)
        if self._request is None:
            self._began = self.http.seconds()
            self._asks_nothing()
        elif self.outer is not None and self.outer.http2 is not None:
            self.outer.http2.offended()  # a server may have it already
        self._give_up_dialing()
        if self._answer is not None:
            self._give_up(reason, str(wrong))
        else:
            self.say(wrong.status, reason, str(wrong), closes=True)

    def fail(self, reason: Reason, detail: str) -> None:
        """There will be no answer from a server: the client gets a page."""
        status = 502 if reason in _BAD_GATEWAY else 504 if reason in _GATEWAY_TIMEOUT else 503
        self.say(status, reason, detail)

    def turns_away(self, pool: Pool) -> bool:
        """The pool is in maintenance: answer the client, unless it is let in all the same."""
        if self.let_in(pool):
            return False
        pages = self.http.maintenance_pages.get(pool.name)
        pages = self.error_pages() if pages is None else pages.before(self.error_pages())
        words = Words(retry_after=int(pool.spec.maintenance_retry_after))
        self.say(503, Reason.MAINTENANCE, str(pool.maintenance), instead=words, pages=pages)
        return True

    def say(
        self,
        status: int,
        reason: Reason,
        detail: str,
        closes: bool = False,
        instead: Words = PAGE,
        pages: Optional[ErrorPages] = None,
    ) -> None:
        """
        Answer the request ourselves, and close if that is asked for, or cannot be helped.

        What is said ``instead`` of a page may also be beside one, which is one of ``pages`` if these are
        given.
        """
        closes = closes or not self._goes_on()
        of_head = self._request is not None and self._request.method == b"HEAD"
        if instead.body is None and status >= 400:
            fields = self._request.said.fields if self._request is not None else ()
            pages = self.error_pages() if pages is None else pages
            instead = pages.words(status, fields, partial(self._place, status), instead)
        words = page(status, closes, self.http.wall.now(), of_head, instead, self.edit())
        self._status = status
        self._nobody.received = len(words)  # as the record has it where no server was asked
        self.conclude(reason, detail)
        self._nobody.received = 0
        self.let_go(False)
        if closes:
            self.part(words)
        else:
            self.client.transport.write(words)
            self._come_again()

    def max_body(self) -> int:
        """How many bytes the body of the request may have, 0 for any."""
        return self.http.spec.http.max_body

    def bound_body(self, most: int) -> None:
        """See to it that the body is no longer than that, if ``most`` is not 0.  Raises `Unacceptable`."""
        if 0 < most < self._up_left:
            raise Unacceptable(413, f"a body of more than {most} bytes", "9110 15.5.14")
        if self._up is not None:
            self._up.most = most

    def error_pages(self) -> ErrorPages:
        """What the client is shown where no server has an answer for it."""
        return self.http.error_pages

    def _place(self, status: int, name: str) -> str:
        """What stands for a name in a page."""
        if name == ID:
            self.page_id = self.page_id or token_hex(ID_BYTES)
            return self.page_id
        if name == LISTENER:
            return self.http.spec.name
        if name == CLIENT:
            return self.host()
        reason, message = told(status)
        return {STATUS: str(status), REASON: reason, MESSAGE: message}[name]

    def _goes_on(self) -> bool:
        """Whether the connection may go on behind the answer."""
        assert self._request is not None
        http = self.http
        return (
            self._request.said.persistent
            and not self._up_left
            and not http.draining
            and not (self.client.finished and not self.client.held)
            and self.requests < http.spec.http.max_requests
            and not 0 < self.ends_at <= http.seconds()
        )

    def _give_up(self, reason: Reason, detail: str) -> None:
        """The answer has begun, and cannot be completed: all that can be done is to close."""
        ends_by_close = self._ends_by_close()
        self.conclude(reason, detail)
        self.let_go(False)
        if ends_by_close:
            self._abort_client(reason, detail)
        else:
            self.cut(reason, detail)

    def cut(self, reason: Reason, detail: str = "") -> None:
        if self._ends_by_close() and self.client.connected:
            self._abort_client(reason, detail)
        super().cut(reason, detail)

    def _ends_by_close(self) -> bool:
        """Whether only the end of the connection tells the client that of the answer under way."""
        delivery = self._delivery
        if self._answer is None or delivery is None or delivery.chunked:
            return False
        return self._down_left < 0 or self._recoding is not None

    def _abort_client(self, reason: Reason, detail: str) -> None:
        """Without an end in order, which would look like that of the answer."""
        self.reason, self.detail = self.reason or reason, self.detail or detail
        self.client.transport.abortConnection()

    # Whose turn it is.

    def _go_idle(self) -> None:
        """Hear the next request, when the client has taken enough of the last answer."""
        if buffered(self.client.transport):
            self._wait_until_taken()
            return
        self._phase = IDLE
        if self.client.held or self.client.finished:
            self.hear_next()

    def _is_full(self) -> bool:
        """Whether the client has not taken all that it was sent."""
        return buffered(self.client.transport) > 0

    def _come_again(self) -> None:
        """The same in another turn: who asks for a thousand at once would be as many calls deep."""
        self._phase = FULL
        self.wheel.clock.callLater(0, self._said)

    def _resume_idle(self) -> None:
        """The client has all, and has said nothing more."""
        self._phase = IDLE

    def _wait_until_taken(self) -> None:
        """A client that asks and asks, and does not read, must not make us hold its answers."""
        self._phase = FULL
        self.client.transport.pauseProducing()
        self.client.transport.registerProducer(Drained(self), False)

    def taken(self) -> None:
        """The client may have taken what it was sent."""
        if self._phase == FULL and not self.parting and self.client.connected:
            if not buffered(self.client.transport):
                self.client.transport.unregisterProducer()
                self._phase = IDLE
                self._since = self.http.seconds()
                self.hear_next()

    def _said(self) -> None:
        """The client was told something of ours, a moment ago."""
        if self._phase == FULL and not self.parting and self.client.connected:
            if buffered(self.client.transport):
                self._wait_until_taken()
            else:
                self._phase = IDLE
                self.hear_next()

    def hear_next(self) -> None:
        """Go on with what the client has said meanwhile."""
        client = self.client
        held, client.held = client.held, b""
        if not client.finished:
            client.resumeProducing()
        if held:
            self._hear(held)
        elif client.finished:
            client.transport.loseConnection()

    def close_client(self, complete: bool) -> None:
        """Close in order; what a client still sends must not make a reset of it, and destroy the answer."""
        client = self.client
        client.transport.unregisterProducer()
        if complete and not client.held:
            self.parting = True  # and cut at the next look, which is armed, should it not take what is left
            if self.http.notes_tcp:
                self._note_tcp()  # outside the loop its socket is closed when we are told of that
            if leave(client.transport):
                client.connectionLost(connectionDone)  # in place of a wait to be told so
            else:
                client.transport.loseConnection()
        else:
            self.part(b"")

    def compressor(self) -> Optional[Compressor]:
        """What answers are compressed with, and counted; None if they are not."""
        return self.http.compressor

    def edit(self) -> Optional[Edit]:
        """What is changed in the fields of an answer, whoever makes it; None if nothing is."""
        return None

    def edit_of(self, fields: Sequence[Field]) -> Optional[Edit]:
        """The same of an answer of a server with these fields."""
        return None

    def edit_passed(self, fields: Sequence[Field]) -> Optional[Edit]:
        """The same of one that is passed on as its server says it."""
        return self.edit_of(fields)


class Drained:
    """Tells a session when its client has taken all: a pull producer, which is asked for more just then."""

    def __init__(self, session: HttpOutcome) -> None:
        self._session = session

    def resumeProducing(self) -> None:
        self._session.taken()

    def stopProducing(self) -> None:
        """The client is lost, which its side is told too."""


classImplements(Drained, IPullProducer)
