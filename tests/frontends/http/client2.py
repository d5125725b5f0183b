"""What is a client of HTTP/2 on the fake network?  The library h2, told to check nothing that it sends."""

from __future__ import annotations

from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from tests.frontends.http.front import HttpCase

GET2 = [(":method", "GET"), (":scheme", "http"), (":authority", "example.com"), (":path", "/x")]
POST2 = [(":method", "POST"), *GET2[1:]]


class Http2Client:
    """One connection; ``acknowledges`` says that it gives back its windows as it reads."""

    def __init__(self, case: HttpCase, acknowledges: bool = True, **how: Any) -> None:
        self.case = case
        self.acknowledges = acknowledges
        self.h2 = H2Connection(
            H2Configuration(
                header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        self.h2.initiate_connection()
        self.heads: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.interim: dict[int, str] = {}
        self.trailers: dict[int, list[Any]] = {}
        self.ended: list[int] = []
        self.resets: dict[int, int] = {}
        self.goaway: Any = None
        self.peer = case.client(self.h2.data_to_send(), **how)
        self.hear()

    def ask(self, *more: Any, ends: bool = True, head: Any = None) -> int:
        """Begin a request; its stream."""
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, [*(head or GET2), *more], end_stream=ends)
        self.flush()
        return number

    def flush(self) -> None:
        """Send what there is, and hear."""
        self.case.say(self.peer, self.h2.data_to_send())
        self.hear()

    def raw(self, data: bytes) -> None:
        """Send these bytes, which may be wrong."""
        self.case.say(self.peer, data)
        self.hear()

    def hear(self) -> None:
        """Read what has come, until nothing does."""
        while self.hear_once():
            pass

    def hear_once(self) -> bool:
        """Read what has come, and say what is due; whether that was anything."""
        self.case.network.flush()
        self.case.clock.advance(0)
        for event in self.h2.receive_data(self.case.heard(self.peer)):
            self._note(event)
        data = self.h2.data_to_send()
        if not data or self.peer.closed:
            return False
        self.case.say(self.peer, data)
        return True

    def _note(self, event: Any) -> None:
        if isinstance(event, ResponseReceived):
            self.heads[event.stream_id] = dict(event.headers)  # type: ignore[arg-type]
            self.bodies[event.stream_id] = b""
        elif isinstance(event, InformationalResponseReceived):
            self.interim[event.stream_id] = str(dict(event.headers)[":status"])  # type: ignore[index]
        elif isinstance(event, DataReceived):
            self.bodies[event.stream_id] += event.data
            if self.acknowledges:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, TrailersReceived):
            self.trailers[event.stream_id] = list(event.headers)
        elif isinstance(event, StreamEnded):
            self.ended.append(event.stream_id)
        elif isinstance(event, StreamReset):
            self.resets[event.stream_id] = int(event.error_code or 0)
        elif isinstance(event, ConnectionTerminated):
            self.goaway = event.error_code
