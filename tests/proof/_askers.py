"""What does a client of a cache ask, and what has it of the answer, by HTTP/1 and by HTTP/2?"""

from __future__ import annotations

from typing import Optional, Sequence

from attrs import frozen

from tests.frontends.http.client2 import Http2Client
from tests.frontends.http.test_cacheorder import heard
from tests.support.peer import Ended
from tests.support.streams import FakePeer


def fields_of(head: bytes) -> dict[bytes, bytes]:
    """The fields of a head, with the names in lower case."""
    found: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b": ")
        name = name.lower()
        found[name] = found[name] + b", " + value if name in found else value
    return found


@frozen
class Asked:
    """What a client wants to know, and the oldest version that it may be given."""

    page: int
    oldest: int
    method: bytes
    accepts: bytes
    language: bytes
    tag: bytes
    first: int  # byte of a range, or -1


@frozen
class Answer:
    """What has come of an answer; the status is 0 before there is a head."""

    status: int = 0
    fields: dict[bytes, bytes] = {}
    body: bytes = b""
    complete: bool = False


class Client:
    """A connection of HTTP/1, which may ask again when it has its answer."""

    def __init__(self, peer: FakePeer) -> None:
        self.peer = peer
        self.asked: Optional[Asked] = None
        self.begun = 0  # bytes received before the answer

    def ask(self, asked: Asked, request: bytes) -> None:
        self.asked, self.begun = asked, self.peer.count
        self.peer.send(request)

    @property
    def gone(self) -> bool:
        return self.peer.closed

    @property
    def ended(self) -> bool:
        return self.peer.ended is not Ended.NOT

    def answer(self, method: bytes) -> Answer:
        said = self.peer.received[self.begun :]
        if b"\r\n\r\n" not in said:
            return Answer()
        complete, _, head, body = heard(said)
        status, fields = int(head.split(b" ", 2)[1]), fields_of(head)
        if method == b"HEAD" or status == 304:
            complete = True
        elif not fields.keys() & {b"content-length", b"transfer-encoding"}:
            complete = self.peer.ended is Ended.END
        return Answer(status, fields, body, complete)

    def leave(self) -> None:
        self.peer.reset()


class Stream:
    """A stream of HTTP/2."""

    def __init__(self, client: Http2Client, asked: Asked, head: Sequence[tuple[str, str]]) -> None:
        self.http2, self.peer = client, client.peer
        self.asked: Optional[Asked] = asked
        self.gone = False
        self.number = client.h2.get_next_available_stream_id()
        client.h2.send_headers(self.number, head, end_stream=True)
        client.peer.send(client.h2.data_to_send())

    @property
    def ended(self) -> bool:
        return self.number in self.http2.resets or self.peer.ended is not Ended.NOT

    def answer(self, method: bytes) -> Answer:
        head = self.http2.heads.get(self.number)
        if head is None:
            return Answer()
        fields = {name.encode(): value.encode() for name, value in head.items()}
        status, body = int(head[":status"]), self.http2.bodies[self.number]
        complete = self.number in self.http2.ended
        if complete and method != b"HEAD" and status != 304:
            assert len(body) == int(fields.get(b"content-length", len(body))), (fields, len(body))
        return Answer(status, fields, body, complete)

    def leave(self) -> None:
        self.gone = True
        if self.number not in (*self.http2.ended, *self.http2.resets) and not self.peer.closed:
            self.http2.h2.reset_stream(self.number, 8)
            self.peer.send(self.http2.h2.data_to_send())
