"""
What becomes of a request where its listener has routes?

A `RoutedSession` does with each request what its route says, before a server is chosen for it and after one
has answered; all else is as in `HttpSession`, which is what listeners without routes have.  In order:

1. The target is read: where a path decides, in its normal form, which is also what the server gets.
2. The first route that fits is taken; without one, the pool of the listener; without that, 404.
3. Its limits: 429 if too many come, 503 if too many are under way, 413 if the body is too long.
4. Who asks must be known, if the route wants that; while it is found out, the body waits unread.
5. A redirect or an answer of its own; or the path is rewritten, fields are changed, and its pool is asked.
6. The fields of the answer are changed, whoever has made it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Mapping, Optional, Sequence, Union

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyd.config.action import CLIENT, HOST, LISTENER, ROUTE, USER
from proxyd.errors import Reason, Refused
from proxyd.frontends.http.answer import led_back, names_places
from proxyd.frontends.http.auth import Verdict
from proxyd.frontends.http.errorpage import ErrorPages
from proxyd.frontends.http.files import HttpFiles
from proxyd.frontends.http.forwardauth import Forward
from proxyd.frontends.http.pages import Edit, Words
from proxyd.frontends.http.recoding import Compressor
from proxyd.frontends.http.routing import Course
from proxyd.policy.action import Rewriter, fill, location, without, words_of
from proxyd.policy.asked import Asked
from proxyd.policy.cachekey import of_pool
from proxyd.policy.httproute import Undecided
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.relay.admission import client_of
from proxyd.relay.opening import Opening
from proxyd.wire.http1 import Request, Said
from proxyd.wire.httpfields import Field, Unacceptable

if TYPE_CHECKING:
    from proxyd.frontends.http.factory import HttpFactory


log = Logger(__name__)


class RoutedSession(HttpFiles):
    """One client's connection, each of whose requests takes a route."""

    __slots__ = ("_asked", "_changed", "_client", "_counted", "_course", "_deciding", "_last")

    def __init__(self, factory: HttpFactory, address: IAddress) -> None:
        super().__init__(factory, address)
        self._client = b""  # as the limits know it
        self._asked: Optional[Asked] = None
        self._course: Optional[Course] = None
        self._last: Optional[tuple[Request, Asked, Optional[Course]]] = None
        self._changed: Optional[tuple[Said, Course, bytes]] = None  # what was made last for a server
        self._deciding = False  # whether it may
        self._counted = False  # among those under way on this course

    def _listen(self) -> None:
        self._client = client_of(self.address if self.opening is None else self.opening.address)
        super()._listen()

    def heed(self, sender: Opening, fields: Sequence[Field]) -> None:
        super().heed(sender, fields)
        if self.opening is not None:
            self._client = client_of(self.opening.address)

    def client_said(self, data: bytes) -> None:
        if self._deciding and not self.parting:
            self.client.held += data
            self.client.transport.pauseProducing()
        else:
            super().client_said(data)

    def lead(self, request: Request) -> Optional[bytes]:
        routing, forwarding = self.http.routing, self._forwarding
        assert routing is not None and forwarding is not None
        self._course = self._asked = self.pool = None
        self._cache = None
        self.personal = False
        self.route, self.most_retries = "", -1
        self.user = ""
        try:
            last = self._last
            if last is not None and last[0] is request:
                # It is asked again, and `proxyd.wire.http1.Memory` has it still; who asks is the same, too.
                asked, course = last[1], last[2]
                if not routing.steady:
                    course = routing.course(asked)
            else:
                asked = routing.asked(
                    request, self._client, forwarding.secure, forwarding.trusted, self.opening
                )
                course = routing.course(asked)
                self._last = (request, asked, course)
            self._asked, self._course = asked, course
            if course is None:
                return self._without(request, asked)
            self.route, self.pool = course.spec.name, course.pool
            self.most_retries = course.spec.action.retries
            if not self._admits(course, asked, request):
                return None
            if course.auth is None:
                return self._onward(course, asked, request, ())
            verdict = course.auth.judge(asked, self.host())
            if isinstance(verdict, Verdict):
                return self._judged(verdict, course, asked, request)
        except Unacceptable as wrong:
            self.reject(wrong)
            return None
        except (Undecided, TimeoutError) as why:
            self.say(500, Reason.ROUTE_UNDECIDED, str(why))
            return None
        except Refused as refused:
            self.say(503, refused.reason, refused.detail)
            return None
        self._await(verdict, course, asked, request)
        return None

    def _await(self, verdict: Deferred[Verdict], course: Course, asked: Asked, request: Request) -> None:
        """The request waits until it is known who asks; its body waits unread."""
        patience = course.patience
        self._deciding = True
        if self._up_left:
            self.client.transport.pauseProducing()
        self.wheel.arm(self, patience)
        self._waiting = verdict

        def came(result: Union[Verdict, Failure]) -> None:
            self._waiting = None
            self._deciding = False
            if self.reason is not None or not self.client.connected:
                return  # it has left, or was cut
            self.wheel.arm(self, self.http.look)
            if self._up_left:
                self.client.transport.resumeProducing()
            if isinstance(result, Verdict):
                head = self._led_on(result, course, asked, request)
                if head is not None:
                    self.send_on(head)
                return
            why = result.value
            if isinstance(why, Refused):
                detail = why.detail
            elif isinstance(why, CancelledError):
                detail = f"there was no verdict within {patience:g} s"
            else:
                log.failure("Who asks could not be found out.", failure=result)
                detail = str(why)
            self.http.complaints.about(Reason.AUTH_FAILED, f"[route {course.spec.name}] {detail}")
            self.say(503, Reason.AUTH_FAILED, detail)

        verdict.addBoth(came)

    def _led_on(self, verdict: Verdict, course: Course, asked: Asked, request: Request) -> Optional[bytes]:
        """The same as `lead` when it is known who asks."""
        try:
            return self._judged(verdict, course, asked, request)
        except Unacceptable as wrong:
            self.reject(wrong)
        except TimeoutError as why:
            self.say(500, Reason.ROUTE_UNDECIDED, str(why))
        return None

    def _judged(self, verdict: Verdict, course: Course, asked: Asked, request: Request) -> Optional[bytes]:
        """It is known who asks."""
        if verdict.status:
            self.say(verdict.status, Reason.UNAUTHORIZED, "", instead=verdict.words)
            return None
        self.user = verdict.user
        return self._onward(course, asked, request, verdict.fields)

    def _onward(
        self, course: Course, asked: Asked, request: Request, told: Sequence[Field]
    ) -> Optional[bytes]:
        """The head that the server gets, ``told`` by a service in it; or None if the client is answered."""
        assert self.http.routing is not None and self._forwarding is not None
        slashes, target = self.http.routing.slashes, asked.target
        if course.site is not None:
            if course.rewriter is not None:
                target = course.rewriter.rewrite(target, slashes)
            self.answer_with_file(course.site, request, target.path)
            return None
        if course.pool is None:
            self._end_here(course, asked)
            return None
        if course.cache is not None:
            self.personal = course.auth is not None
            target = self.locate(course.cache, self.route, request, target)
        if course.rewriter is not None:
            target = course.rewriter.rewrite(target, slashes)
        host = b"" if course.host is None else fill(course.host, self._words()).encode("ascii", "replace")
        rest = self.own_rest(request.said) if self.http.by_cookie else None
        if course.changes_fields:
            rest = self._rest(course, request, told)
        return self._forwarding.head(request, self.client.transport, target.whole, host, rest)

    def _rest(self, course: Course, request: Request, told: Sequence[Field]) -> bytes:
        """The fields that the server gets."""
        said, last, forwarding = request.said, self._changed, self._forwarding
        assert forwarding is not None
        if last is not None and last[0] is said and last[1] is course:
            return last[2]
        fields: Sequence[Field] = said.fields if self.brought is None else self.brought.fields
        if isinstance(course.auth, Forward):
            for name in course.auth.copied:
                fields = without(fields, name)
            fields = [*fields, *told]
        editor = course.request_editor
        if editor is not None:
            fields = editor.edit(fields, {} if editor.fixed else self._words())
        rest = forwarding.rest(said, fields)
        if not course.asks_anew:
            self._changed = (said, course, rest)
        return rest

    def _without(self, request: Request, asked: Asked) -> Optional[bytes]:
        """No route fits: the listener's pool is for those."""
        if self.http.site is not None:
            self.answer_with_file(self.http.site, request, asked.target.path)
            return None
        self.pool = self.http.pool
        if self.pool is None:
            self.say(404, Reason.NO_ROUTE, "no route fits, and the listener has no pool")
            return None
        assert self._forwarding is not None
        rest = self.own_rest(request.said) if self.http.by_cookie else None
        target = asked.target
        if self.http.cache is not None:
            target = self.locate(self.http.cache, of_pool(self.pool.name), request, target)
        return self._forwarding.head(request, self.client.transport, target.whole, rest=rest)

    def _admits(self, course: Course, asked: Asked, request: Request) -> bool:
        """Whether the request is let in; if not, it has been answered."""
        self.bound_body(self.max_body())
        limits = course.limits
        if limits is None:
            return True
        assert self.http.routing is not None
        refusal = limits.refusal(asked, self.http.routing.key_of(self._client), self.http.seconds())
        if refusal is None:
            limits.open += 1
            self._counted = True
            return True
        status = 503 if refusal.reason is Reason.ROUTE_FULL else 429
        self.http.complaints.about(refusal.reason, f"[route {course.spec.name}] {refusal.detail}")
        self.say(status, refusal.reason, refusal.detail)
        return False

    def _end_here(self, course: Course, asked: Asked) -> None:
        """No server is asked."""
        action = course.spec.action
        if action.redirect is not None:
            if not asked.host and HOST in action.redirect.location.names:
                raise Unacceptable(400, "no Host", "9112 3.2")
            place = location(action.redirect, asked).encode("ascii")
            words = Words(fields=(b"Location: " + place,))
            self.say(action.redirect.status, Reason.ANSWERED, "", instead=words)
        elif action.respond is not None:
            self.respond(action.respond.status, course.words)

    def _words(self) -> Mapping[str, str]:
        """What the places in the fields stand for."""
        assert self._asked is not None and self._course is not None
        return {
            **words_of(self._asked),
            CLIENT: self.host(),
            LISTENER: self.http.spec.name,
            ROUTE: self._course.spec.name,
            USER: self.user,
        }

    def made_for_servers(self) -> frozenset[bytes]:
        found, course = super().made_for_servers(), self._course
        return found if course is None else found | course.made_anew

    def set_for_servers(self) -> frozenset[bytes]:
        return frozenset() if self._course is None else self._course.sets

    def max_body(self) -> int:
        own = self._course.spec.action.max_body if self._course is not None else 0
        return own or super().max_body()

    def error_pages(self) -> ErrorPages:
        return super().error_pages() if self._course is None else self._course.error_pages

    def compressor(self) -> Optional[Compressor]:
        course = self._course
        own = course.compressor if course is not None else None
        return own or super().compressor()

    def edit(self) -> Optional[Edit]:
        course = self._course
        if course is None or course.response_editor is None:
            return None
        editor = course.response_editor
        words = {} if editor.fixed else self._words()
        return lambda fields: editor.edit(fields, words)

    def edit_of(self, fields: Sequence[Field]) -> Optional[Edit]:
        edit, course, asked = self.edit(), self._course, self._asked
        rewriter = course.rewriter if course is not None else None
        if rewriter is None or asked is None or not names_places(fields):
            return edit
        return partial(_led_back, rewriter, asked.host, self.picked, edit)

    def response_timeout(self, pool: Pool) -> float:
        course = self._course
        own = course.spec.action.response_timeout if course is not None else 0.0
        return own or super().response_timeout(pool)

    def conclude(self, reason: Reason, detail: str) -> None:
        course = self._course
        if self._counted and course is not None and course.limits is not None:
            self._counted = False
            course.limits.open -= 1
        super().conclude(reason, detail)
        self._course = self._asked = None
        self.route = self.user = ""


def _led_back(
    rewriter: Rewriter, asked: bytes, server: Optional[Server], edit: Optional[Edit], fields: Sequence[Field]
) -> list[Field]:
    """The fields with the paths that clients know, and edited then."""
    found = led_back(fields, rewriter, asked, server)
    return found if edit is None else edit(found)
