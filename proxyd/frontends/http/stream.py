"""
What does a stream of HTTP/2 look like to the session that answers its request?

Like a client's connection of HTTP/1.1 on which one request comes after another, each when the last one has
its answer: so a request takes the same story whichever way it came (`session`).  Its head and body are put
into the words of HTTP/1.1, and the answer is taken out of them.  Each request may be of another stream.

A WebSocket (RFC 8441) is a request of HTTP/1.1 with Upgrade.  When its server has switched protocols, the
bytes of the stream are those of a tunnel, and its ends are those of the tunnel's halves.

Bytes of the client are taken off its window when the session has taken them, and no sooner; and the server
is paused while more than `CHUNK` of its answer wait for the window of this stream, or of all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Sequence

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from proxyd.relay.streams import CHUNK, ssl_connection
from proxyd.wire.chunked import Chunks, chunk, last
from proxyd.wire.http1 import CHUNKED, Answer, parse_answer
from proxyd.wire.http2 import TUNNEL, Head
from proxyd.wire.http2frames import INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR
from proxyd.wire.http2heads import Header, Headers
from proxyd.wire.httpfields import Field, Unacceptable

if TYPE_CHECKING:
    from proxyd.frontends.http.http2 import Http2
    from proxyd.frontends.http.session import HttpSession

ANY = 1 << 20  # what we have made ourselves was judged before


class Stream:
    """One request of a connection at a time, and its answer: the transport of its session's client."""

    __slots__ = (
        "_answer",
        "_chunks",
        "_closing",
        "_come",
        "_come_taken",
        "_connection",
        "_end_came",
        "_left",
        "_length",
        "_method",
        "_paused",
        "_pausing",
        "_producer",
        "_pulled",
        "_sent",
        "_switched",
        "_told_all",
        "_trailers",
        "_waiting",
        "complete",
        "number",
        "over",
        "sent_all",
        "session",
    )

    def __init__(self, connection: Http2, session: HttpSession) -> None:
        self._connection = connection
        self.number = 0
        self.session = session
        self._method = b""
        # From the client.
        self._length = 0  # of its body, as much as is still to come; CHUNKED, or TUNNEL
        self._paused = False
        self._come = bytearray()  # unread, as much as the window has room for
        self._come_taken = 0  # of that
        self._end_came: Optional[bytes] = None  # unread, too
        self.complete = False  # it has said all
        # To the client.
        self._waiting = bytearray()
        self._chunks: Optional[Chunks] = None
        self._left = 0
        self._switched = False  # it is a tunnel
        self._answer: Optional[Answer] = None
        self._trailers: Sequence[Field] = ()
        self._told_all = False  # the answer is complete; it may wait
        self.sent_all = False
        self._sent = 0
        self._closing = False
        self._producer: Any = None
        self._pulled = False  # it asks to be told when nothing waits
        self._pausing = False  # our producer
        self.over = False

    # What comes from the client.

    def begin(self, number: int, ended: bool, head: Head) -> None:
        """Its head."""
        self._renew(number, ended)
        self._method, self._length = head.method, head.length
        self.session.client.dataReceived(head.head)

    def refuse(self, number: int, ended: bool, wrong: Unacceptable) -> None:
        """Its head, which nobody should read."""
        self._renew(number, ended)
        self._method, self._length = b"GET", CHUNKED
        self.session.reject(wrong)

    def _renew(self, number: int, ended: bool) -> None:
        self.number = number
        self.complete = ended
        self._chunks = self._answer = None
        self._trailers = ()
        self._told_all = self.sent_all = self._switched = False

    def came(self, data: bytes, taken: int, ended: bool) -> None:
        """Some of its body; ``taken`` is its share of the window."""
        if self._length >= 0:
            self._length -= len(data)
            if self._length < 0 or (ended and self._length):
                self._connection.taken(self.number, taken)
                self.complete = ended
                self.reject(Unacceptable(400, "Content-Length that is not that of the body", "9113 8.1.1"))
                return
        if self._holds():
            self._come += data
            self._come_taken += taken
        else:
            self._give(data, taken)
        if ended and not self.over:
            self.ended()

    def ended(self, trailers: Sequence[Field] = ()) -> None:
        """Its end."""
        if self._length > 0:
            self.complete = True
            self.reject(Unacceptable(400, "Content-Length of more than the body", "9113 8.1.1"))
            return
        self.complete = True
        answered = self.sent_all  # else who has sent all sees that this is complete
        if self._length < 0:
            end = last(list(trailers)) if self._length == CHUNKED else b""
            if self._holds():
                self._end_came = end
            else:
                self._give_end(end)
        if answered and self._length != TUNNEL and not self.over:
            self._connection.done(self)

    def _holds(self) -> bool:
        """Whether what comes waits: for its turn, or for the tunnel that it is for; it is no request."""
        return self._paused or self._come_taken > 0 or (self._length == TUNNEL and not self._switched)

    def _give(self, data: bytes, taken: int) -> None:
        if data:
            self.session.client.dataReceived(chunk(data) if self._length == CHUNKED else data)
        self._connection.taken(self.number, taken)

    def _give_end(self, end: bytes) -> None:
        if self._length == TUNNEL:
            self.session.client.readConnectionLost()
        else:
            self.session.client.dataReceived(end)

    def reject(self, wrong: Unacceptable) -> None:
        """The client has sent what nobody should read."""
        if self._told_all:
            self._connection.reset(self.number, PROTOCOL_ERROR)
            self._end(Failure(ConnectionDone()))
        else:
            self.session.reject(wrong)

    def cancelled(self, detail: str) -> None:
        """The client wants no answer any more."""
        self._end(Failure(ConnectionLost(detail)))

    @property
    def free(self) -> bool:
        """Whether there may be another request."""
        return not (self.over or self._closing or self.session.parting)

    # What a session needs of a transport.

    @property
    def ssl(self) -> Any:
        """The TLS of the connection."""
        return ssl_connection(self._connection.transport)

    def getPeer(self) -> Any:
        return self._connection.transport.getPeer()

    def getHost(self) -> Any:
        return self._connection.transport.getHost()

    def setTcpKeepAlive(self, on: bool) -> None:
        """It is the connection's."""

    def buffered(self) -> int:
        """How much waits for the client's window."""
        return len(self._waiting)

    def unacknowledged(self) -> int:
        """Nothing that could be known of a stream alone."""
        return 0

    def taken(self) -> int:
        """How much the client's windows have had room for."""
        return self._sent

    def may_come(self) -> bool:
        """Whether the client may send more of its body: its other streams may have used up the window."""
        return self._connection.may_come(self.number)

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        if self._come_taken or self._end_came is not None:
            self._connection.later(self._go_on)  # as with any transport, no call of theirs calls them back

    def _go_on(self) -> None:
        """Give the session what has waited."""
        if self._paused or self.over or (self._length == TUNNEL and not self._switched):
            return
        if self._come_taken:
            data, taken = bytes(self._come), self._come_taken
            self._come.clear()
            self._come_taken = 0
            self._give(data, taken)
        if self._end_came is not None and not self._paused and not self.over:
            end, self._end_came = self._end_came, None
            self._give_end(end)
        self._connection.send()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """The server's side, or who is asked for more when all is taken: for a file, or the next request."""
        self._producer = producer
        self._pulled = not streaming
        self._pausing = False
        if self._pulled:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self._producer = None
        self._pulled = self._pausing = False

    def write(self, data: bytes) -> None:
        """Some of the answer, as HTTP/1.1 has it; a head comes whole."""
        if self.over or not data:
            return
        while data and self._answer is None:
            answer = parse_answer(data, self._connection.memory, self._method, ANY, ANY)
            assert answer is not None, "a head in pieces"
            data = data[answer.took :]
            self._tell(answer)
        if not self._told_all and data:
            if self._switched:
                found = data
            elif self._chunks is not None:
                found = self._chunks.feed(data)
                if self._chunks.done:
                    self._told_all, self._trailers = True, self._chunks.trailers
            else:
                found = data[: self._left]
                self._left -= len(found)
                self._told_all = not self._left
            self._pass(found)
        self._connection.send()

    def _pass(self, data: bytes) -> None:
        """Some of the body: at once, if nothing waits and the windows have room."""
        if not self._waiting and data and len(data) <= self._connection.room(self.number):
            ends = self._told_all and not self._trailers
            self._sent += len(data)
            self._connection.data(self.number, data, ends)
            if ends:
                self._has_sent_all()
        else:
            self._waiting += data
        self.flush()
        if self._pulled:
            if not self._waiting:
                self._connection.later(self._pull)  # others have their turns before
        elif len(self._waiting) > CHUNK and self._producer is not None and not self._pausing:
            self._pausing = True
            self._producer.pauseProducing()

    def _tell(self, answer: Answer) -> None:
        said, connection = answer.said, self._connection
        if self._length == TUNNEL:
            headers: Headers = _of_tunnel(answer)
            self._switched = answer.status == 101
        else:
            if connection.told is not answer:
                connection.told, connection.headers_told = answer, _headers(answer, answer.status)
            headers = connection.headers_told
        if answer.status < 200:
            connection.headers(self.number, headers, False)
            if self._switched:
                self._answer = answer
            return
        self._answer = answer
        self._chunks = Chunks() if said.length == CHUNKED else None
        self._left = said.length
        self._told_all = not said.length
        connection.headers(self.number, headers, self._told_all)
        if self._told_all:
            self._has_sent_all()

    def flush(self) -> None:
        """Send what the windows have room for."""
        connection = self._connection
        while self._waiting:
            room = connection.room(self.number)
            if room <= 0:
                return
            first = bytes(self._waiting[:room])
            del self._waiting[:room]
            self._sent += len(first)
            ends = self._told_all and not self._waiting and not self._trailers
            connection.data(self.number, first, ends)
            if ends:
                self._has_sent_all()
        if self._told_all and not self.sent_all:
            if self._trailers:
                headers = [(name, value) for name, value, _, _ in self._trailers]
                connection.headers(self.number, headers, True)
            else:
                connection.data(self.number, b"", True)
            self._has_sent_all()

    def _has_sent_all(self) -> None:
        self.sent_all = True
        if self._length != TUNNEL:
            if self.complete:
                self._connection.done(self)
        elif not self._switched:
            self._closing = True  # there will be no tunnel, and nothing else can follow
            self._connection.later(self.drained)

    def drained(self) -> None:
        """Some may have left: let the server go on, or end if that was all."""
        if self._closing and not self.over and self.sent_all:
            self._close()
        elif self._pulled:
            self._pull()
        elif self._pausing and self._producer is not None and len(self._waiting) <= CHUNK // 2:
            self._pausing = False
            self._producer.resumeProducing()

    def _pull(self) -> None:
        if self._pulled and not (self._waiting or self.over):
            self._producer.resumeProducing()

    def loseConnection(self) -> None:
        """Close when all has left."""
        self._closing = True
        self._end_tunnel()
        if self.sent_all or not self._told_all:
            self._close()

    def loseWriteConnection(self) -> None:
        """End our half of a tunnel; other streams have no halves, and are closed, but not from here."""
        if self._switched:
            self._end_tunnel()
            return
        self._closing = True
        self._connection.later(self.drained if self._told_all else self._close)

    def _end_tunnel(self) -> None:
        if self._switched and not self.over:
            self._told_all = True
            self.flush()
            self._connection.send()

    def abortConnection(self) -> None:
        """Close now; what waits is lost."""
        self._close()

    def _close(self) -> None:
        if self.over:
            return
        if not self.sent_all:
            self._connection.reset(self.number, INTERNAL_ERROR)
        elif not self.complete:
            self._connection.reset(self.number, NO_ERROR)  # its body is not wanted (RFC 9113, 8.1)
        self._end(Failure(ConnectionDone()))

    def _end(self, reason: Failure) -> None:
        if self.over:
            return
        self.over = True
        self._waiting.clear()
        self._connection.taken(self.number, self._come_taken)
        self._come.clear()
        self._connection.closed(self)
        self.session.client.connectionLost(reason)
        self._producer = None


def _of_tunnel(answer: Answer) -> list[Header]:
    """
    The same of an answer to who has asked for a tunnel.

    There it is 200 that opens one (RFC 8441, 5), so a server that says so, and has opened none, has failed.
    """
    status = 200 if answer.status == 101 else 502 if 200 <= answer.status < 300 else answer.status
    return [header for header in _headers(answer, status) if header[0] != b"sec-websocket-accept"]


def _headers(answer: Answer, status: int) -> list[Header]:
    """The head of an answer as HTTP/2 has it."""
    headers = [(b":status", b"%d" % status)]
    headers += [(name, value) for name, value, _, _ in answer.said.fields]
    if answer.said.declared is not None:
        headers.append((b"content-length", b"%d" % answer.said.declared))
    return headers
