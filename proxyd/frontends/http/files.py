"""
How is a request answered with a file?

`HttpFiles.answer_with_file` finds it (`proxyd.frontends.http.static`), judges the conditions of the request
(`proxyd.policy.conditions`), and sends it: what is small at once, all else by `proxyd.relay.sendfile`, while
the connection is watched as for any body.  A file that becomes shorter meanwhile cuts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Sequence

from twisted.internet.interfaces import IAddress

from proxyd.errors import Reason
from proxyd.frontends.http.caching import CachingSession
from proxyd.frontends.http.filebody import FileBody
from proxyd.frontends.http.pages import Edit, Words, date
from proxyd.frontends.http.static import Absent, File, Site
from proxyd.policy.conditions import FAILED, NOT_MODIFIED, UNSATISFIABLE, WHOLE, along, answer_to
from proxyd.wire.http1 import Request, Said
from proxyd.wire.httpfields import Field, parse_field
from proxyd.wire.target import parse_target

if TYPE_CHECKING:
    from proxyd.frontends.http.factory import HttpFactory

_METHODS = (b"GET", b"HEAD")

_ALLOWED = Words(fields=(b"Allow: GET, HEAD",))

# What decides which answer there is to a path.
_DECIDING = frozenset(
    {
        b"accept-encoding",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
    }
)

_LINES = {
    200: b"HTTP/1.1 200 OK\r\n",
    206: b"HTTP/1.1 206 Partial Content\r\n",
    304: b"HTTP/1.1 304 Not Modified\r\n",
}


class HttpFiles(CachingSession):
    """One client's connection, as far as it is answered with files."""

    __slots__ = ("_closes", "_complete", "_undecided")

    def __init__(self, factory: HttpFactory, address: IAddress) -> None:
        super().__init__(factory, address)
        self._closes = self._complete = False
        self._undecided: Optional[Said] = None  # the last that has nothing to decide about

    def answer_with_file(self, site: Site, request: Request, path: bytes) -> None:
        """Answer with what the path means."""
        if request.method not in _METHODS:
            self.say(405, Reason.ANSWERED, "", instead=_ALLOWED)
            return
        said = request.said
        deciding: Sequence[Field] = ()
        if said is not self._undecided:
            deciding = [field for field in said.fields if field[0] in _DECIDING]
            if not deciding:
                self._undecided = said
        accept = b",".join([field[1] for field in deciding if field[0] == b"accept-encoding"])
        try:
            file = site.find(path, accept)
            if deciding or file.body is None or request.method != b"GET":
                self._answer_with(site, file, request, path, deciding)
            else:
                self._answer_at_once(file, request)
        except Absent as absent:
            self._say_absent(absent, request)

    def _say_absent(self, absent: Absent, request: Request) -> None:
        if not absent.folder:
            self.say(absent.status, Reason.ANSWERED, "")
            return
        target = parse_target(request.target)
        query = b"" if target.query is None else b"?" + target.query
        place = b"Location: %s/%s" % (target.path, query)
        self.say(301, Reason.ANSWERED, "", instead=Words(fields=(place,)))

    def _answer_at_once(self, file: File, request: Request) -> None:
        """All of a small file, as most ask for it: it is made once a second."""
        closes = not self._goes_on()
        edit = self.edit()
        body = file.body
        assert body is not None
        if closes or edit is not None or not request.said.minor:
            head = self._head(200, file.fields, edit, closes, len(body))
            self._send_whole(200, head + body, closes)
            return
        now = int(self.http.seconds())
        if file.second != now:
            length = b"Content-Length: %d\r\n\r\n" % len(body)
            file.rendered = b"".join([_LINES[200], date(now), file.lines, length, body])
            file.second = now
        self._send_whole(200, file.rendered, False)

    def _answer_with(
        self, site: Site, file: File, request: Request, path: bytes, deciding: Sequence[Field]
    ) -> None:
        """The same where there are conditions, or the file is large."""
        of_head = request.method == b"HEAD"
        now = self.http.seconds()
        if of_head:
            deciding = [field for field in deciding if field[0] != b"range"]
        known = [*file.fields, parse_field(date(now)[:-2])]
        outcome = answer_to(deciding, known, file.size, now)
        if outcome == UNSATISFIABLE:
            words = Words(fields=(b"Content-Range: bytes */%d" % file.size,))
            self.say(416, Reason.ANSWERED, "", instead=words)
            return
        if outcome == FAILED:
            self.say(412, Reason.ANSWERED, "")
            return
        closes = not self._goes_on()
        if outcome == NOT_MODIFIED:
            self._send_whole(304, self._head(304, along(file.fields), self.edit(), closes, None), closes)
            return
        fields, status, first, count = list(file.fields), 200, 0, file.size
        if isinstance(outcome, tuple):
            first, last = outcome
            status, count = 206, last - first + 1
            fields.append(parse_field(b"Content-Range: bytes %d-%d/%d" % (first, last, file.size)))
        else:
            assert outcome == WHOLE
        head = self._head(status, fields, self.edit(), closes, count)
        if of_head or not count:
            self._send_whole(status, head, closes)
        elif file.body is not None:
            self._send_whole(status, head + file.body[first : first + count], closes)
        else:
            self._send_file(site, file, path, status, head, first, count, closes)

    def _head(
        self, status: int, fields: Sequence[Field], edit: Optional[Edit], closes: bool, length: Optional[int]
    ) -> bytes:
        assert self._request is not None
        if edit is not None:
            fields = edit(fields)
        lines = [_LINES[status], date(self.http.seconds())]
        lines += [field[2] for field in fields]
        if length is not None:
            lines.append(b"Content-Length: %d\r\n" % length)
        if closes:
            lines.append(b"Connection: close\r\n")
        elif not self._request.said.minor:
            lines.append(b"Connection: keep-alive\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _send_whole(self, status: int, data: bytes, closes: bool) -> None:
        """The whole answer."""
        self._status = status
        self._closes, self._complete = closes, not self._up_left
        self.server.received = len(data)  # as the record has it: what an answer was long
        self.client.transport.write(data)
        self._served()

    def _send_file(
        self,
        site: Site,
        file: File,
        path: bytes,
        status: int,
        head: bytes,
        first: int,
        count: int,
        closes: bool,
    ) -> None:
        """An answer of which the file itself is sent."""
        try:
            fd = file.open()
        except OSError:
            fd = None
        if fd is None:
            site.forget(path)
            self.say(503, Reason.FILE_CHANGED, "")  # it was replaced within a second; who asks again has it
            return
        self._status = status
        self._closes, self._complete = closes, not self._up_left
        self._nobody.received = len(head) + count
        self.send_file(head, FileBody(fd, 0, file.size), first, count, self._file_sent)

    def _file_sent(self, left: int) -> None:
        if left:
            self._file_changed()
        else:
            self._served()

    def _served(self) -> None:
        """The answer is complete."""
        self.conclude(Reason.ANSWERED, "")
        if self._closes or self.http.draining:
            self.close_client(self._complete)
        else:
            self._go_behind(False)
