"""
How is a request answered with a file?

`HttpFiles.answer_with_file` finds it (`proxyd.frontends.http.static`), judges the conditions of the request
(`proxyd.policy.conditions`), and sends it: what is small at once, all else by `proxyd.relay.sendfile`, while
the connection is watched as for any body.  What is compressed on the way
(`proxyd.frontends.http.filecoding`), or paced by a bandwidth, is read in pieces
(`proxyd.frontends.http.filebody`).  A file that becomes shorter meanwhile cuts the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Sequence, Union

from twisted.internet.interfaces import IAddress

from proxyd.errors import Reason
from proxyd.frontends.http.bodies import Body, Whole
from proxyd.frontends.http.caching import CachingSession
from proxyd.frontends.http.connection import SENDING
from proxyd.frontends.http.filebody import FileBody, FromFile
from proxyd.frontends.http.filecoding import of_large, varying
from proxyd.frontends.http.making import Making
from proxyd.frontends.http.pages import Words, date, page
from proxyd.frontends.http.static import Absent, File, Site
from proxyd.frontends.http.variants import as_it_is, by_date, decided
from proxyd.policy.conditions import FAILED, NOT_MODIFIED, UNSATISFIABLE, WHOLE, along, answer_to
from proxyd.policy.encoding import Decision
from proxyd.relay.streams import CHUNK
from proxyd.wire.http1 import CHUNKED, Answer, Request, Said
from proxyd.wire.httpfields import Field, parse_field
from proxyd.wire.target import parse_target

if TYPE_CHECKING:
    from proxyd.frontends.http.factory import HttpFactory

_METHODS = (b"GET", b"HEAD")

_ALLOWED = Words(fields=(b"Allow: GET, HEAD",))

# Beside the codings that its client takes, these decide which answer there is to a path.
_CONDITIONS = frozenset(
    {
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

    __slots__ = ("_accept", "_closes", "_complete", "_conditions", "_conditions_of", "_found_anew")

    def __init__(self, factory: HttpFactory, address: IAddress) -> None:
        super().__init__(factory, address)
        self._closes = self._complete = False
        self._found_anew = 0  # the number of the last request whose file was replaced meanwhile
        self._conditions_of: Optional[Said] = None  # the last of which it is known what decides
        self._conditions: Sequence[Field] = ()
        self._accept: Optional[bytes] = None

    def answer_with_file(self, site: Site, request: Request, path: bytes) -> None:
        """Answer with what the path means."""
        if request.method not in _METHODS:
            self.say(405, Reason.ANSWERED, "", instead=_ALLOWED)
            return
        said = request.said
        if said is not self._conditions_of:
            self._conditions = [field for field in said.fields if field[0] in _CONDITIONS]
            accept = [field[1] for field in said.fields if field[0] == b"accept-encoding"]
            self._accept = b",".join(accept) if accept else None
            self._conditions_of = said
        try:
            file = site.find(path, self._accept)
        except Absent as absent:
            self._say_absent(absent, request)
            return
        if self._conditions:
            self._answer_with(site, file, request, path, self._conditions)
        else:
            self._answer_whole(site, file, request, path)

    def _say_absent(self, absent: Absent, request: Request) -> None:
        if not absent.folder:
            self.say(absent.status, Reason.ANSWERED, "")
            return
        target = parse_target(request.target)
        query = b"" if target.query is None else b"?" + target.query
        place = b"Location: %s/%s" % (target.path, query)
        self.say(301, Reason.ANSWERED, "", instead=Words(fields=(place,)))

    def _answer_with(
        self, site: Site, file: File, request: Request, path: bytes, conditions: Sequence[Field]
    ) -> None:
        """Answer where there are conditions, or a part is wanted."""
        of_head = request.method == b"HEAD"
        wall = self.http.wall.now()
        if of_head:
            conditions = [field for field in conditions if field[0] != b"range"]
        known = [*file.fields, parse_field(date(wall)[:-2])]
        outcome = answer_to(conditions, known, file.size, wall)
        compressor = self.compressor()
        decision = None
        if compressor is not None:
            decision = decided(compressor.spec, 200, file.fields, file.size, request)
        mixed = decision is not None and decision.encodes and isinstance(outcome, tuple) and by_date(request)
        if outcome == WHOLE or mixed:  # its client may have a part of what was compressed
            self._answer_whole(site, file, request, path)
            return
        if outcome == UNSATISFIABLE:
            words = Words(fields=(b"Content-Range: bytes */%d" % file.size,))
            self.say(416, Reason.ANSWERED, "", instead=words)
            return
        if outcome == FAILED:
            self.say(412, Reason.ANSWERED, "")
            return
        if decision is not None:
            file = varying(file)
        closes = not self._goes_on()
        if outcome == NOT_MODIFIED:
            fields = as_it_is(compressor, 304, along(file.fields), None, request)
            self._send_whole(304, self._head(304, fields, closes, None), closes)
            return
        assert isinstance(outcome, tuple)
        first, last = outcome
        part = parse_field(b"Content-Range: bytes %d-%d/%d" % (first, last, file.size))
        self._give_file(site, file, path, 206, [*file.fields, part], closes, first, last - first + 1)

    def _answer_whole(self, site: Site, file: File, request: Request, path: bytes) -> None:
        """All of a file, as most ask for it, in a coding if that is to be so."""
        compressor = self.compressor()
        if compressor is not None:
            found = self.http.codings.of(file, request, compressor, self.wheel.clock.callLater)
            if not isinstance(found, File):
                self._send_coded(site, file, request, path, found)
                return
            file, self._coded = found, found.coding
        closes = not self._goes_on()
        body = file.body
        if body is None or closes or not request.said.minor or request.method == b"HEAD":
            self._give_file(site, file, path, 200, file.fields, closes, 0, file.size)
        elif self.paced is not None or self.edit() is not None:
            self._give_file(site, file, path, 200, file.fields, closes, 0, file.size)
        else:
            wall = int(self.http.wall.now())
            if file.second != wall:  # the whole answer is made once a second
                length = b"Content-Length: %d\r\n\r\n" % len(body)
                file.rendered = b"".join([_LINES[200], date(wall), file.lines, length, body])
                file.second = wall
            self._send_whole(200, file.rendered, False)

    def _head(self, status: int, fields: Sequence[Field], closes: bool, length: Optional[int]) -> bytes:
        """The head of an answer whose body is so long, or `CHUNKED`, or not told of."""
        assert self._request is not None
        edit = self.edit()
        if edit is not None:
            fields = edit(fields)
        lines = [_LINES[status], date(self.http.wall.now())]
        lines += [field[2] for field in fields]
        if length == CHUNKED:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        elif length is not None:
            lines.append(b"Content-Length: %d\r\n" % length)
        if closes:
            lines.append(b"Connection: close\r\n")
        elif not self._request.said.minor:
            lines.append(b"Connection: keep-alive\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _give_file(
        self,
        site: Site,
        file: File,
        path: bytes,
        status: int,
        fields: Sequence[Field],
        closes: bool,
        first: int,
        count: int,
    ) -> None:
        """A file, or a part of it."""
        head = self._head(status, fields, closes, count)
        if not count or self.asked.method == b"HEAD":
            self._send_whole(status, head, closes)
        elif file.body is None:
            opened = self._open_file(site, file, path)
            if opened is not None:
                self._send_file(site, status, head, opened, first, count, closes)
        elif self.paced is not None:
            self._send_body(status, head, Whole(memoryview(file.body)[first : first + count]), closes)
        else:
            self._send_whole(status, head + file.body[first : first + count], closes)

    def _send_coded(
        self, site: Site, file: File, request: Request, path: bytes, found: Union[Making, Decision]
    ) -> None:
        """What is made of a file while it is sent."""
        compressor = self.compressor()
        assert compressor is not None
        decision = found.decision if isinstance(found, Making) else found
        fields, closes = decision.fields(file.fields), not self._goes_on()
        self._coded = decision.coding
        if request.method == b"HEAD":
            self._send_whole(200, self._head(200, fields, closes, None), closes)
            return
        if not isinstance(found, Making):
            opened = self._open_file(site, file, path)
            if opened is None:
                return
            found = of_large(opened, decision, compressor, self.wheel.clock.callLater)
        self._making = found
        self._send_body(200, self._head(200, fields, closes, CHUNKED), found.body, closes, True)

    def _send_whole(self, status: int, data: bytes, closes: bool) -> None:
        """The whole answer."""
        self._status = status
        self._closes, self._complete = closes, not self._up_left
        self._nobody.received = len(data)  # as the record has it: what an answer was long
        self.client.transport.write(data)
        self._served()

    def _open_file(self, site: Site, file: File, path: bytes) -> Optional[FileBody]:
        """The file, open; None if it was replaced since it was found: then the request is answered anew."""
        try:
            fd = file.open()
        except OSError:
            fd = None
        if fd is None:
            site.forget(path)
            if self._found_anew == self.requests:
                self.say(503, Reason.FILE_CHANGED, "")  # it cannot be opened, or not for long enough
            else:
                self._found_anew = self.requests
                self.answer_with_file(site, self.asked, path)
            return None
        return FileBody(fd, 0, file.size)

    def _send_file(
        self, site: Site, status: int, head: bytes, opened: FileBody, first: int, count: int, closes: bool
    ) -> None:
        """An answer of which the file itself is sent."""
        if self.paced is not None:
            self._send_body(status, head, FromFile(opened, first, count), closes)
            return
        self._status = status
        self._closes, self._complete = closes, not self._up_left
        self._nobody.received = len(head) + count
        self.send_file(head, opened, first, count, self._file_sent, opened.ahead(site.in_thread))

    def _file_sent(self, left: int) -> None:
        if left:
            self._file_changed()
        else:
            self._served()

    def _send_body(self, status: int, head: bytes, body: Body, closes: bool, chunked: bool = False) -> None:
        """An answer of which the body is read in pieces."""
        delivery = self._delivery
        assert delivery is not None
        self._status = status
        self._closes, self._complete = closes, not self._up_left
        self._phase = SENDING
        delivery.chunked = chunked
        self._nobody.received = len(head)
        self.client.transport.write(head)
        self._watch_progress()
        self._read(body, Answer(status, b"", Said(1), 0))

    def read_all(self) -> None:
        delivery = self._delivery
        assert delivery is not None
        if self._phase != SENDING:
            super().read_all()
            return
        end = delivery.end()
        if end:
            self.client.transport.write(end)
        self._served()

    def read_broken(self) -> None:
        if self._phase == SENDING:
            self._file_changed()
        else:
            super().read_broken()

    def respond(self, status: int, words: Words) -> None:
        """What the configuration says: at once if it is little, else as the client takes it."""
        body = words.body
        assert self._request is not None
        if body is None or self._request.method == b"HEAD" or (len(body) <= CHUNK and self.paced is None):
            self.say(status, Reason.ANSWERED, "", instead=words)
            return
        closes = not self._goes_on()
        head = page(status, closes, self.http.wall.now(), True, words, self.edit())
        self._send_body(status, head, Whole(memoryview(body)), closes)

    def _served(self) -> None:
        """The answer is complete."""
        self.conclude(Reason.ANSWERED, "")
        if self._closes or self.http.draining:
            self.close_client(self._complete)
        else:
            self._go_behind(False)
