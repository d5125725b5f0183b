"""Who sees in a chaos that each answer is its own, and whole, by HTTP/1, by HTTP/2 and in tunnels?"""

from __future__ import annotations

import select
import socket
import ssl
from time import monotonic
from typing import Iterator, Optional, Union

import httpx
from attrs import define, field
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import StreamClosedError

from tests.proof._chaosplans import AUTHORIZATION, REFUSALS, Fronts, Plan, Visitor, plan
from tests.support.markers import Client

HANG_SECONDS = 60.0  # who waits for longer has been forgotten
ABORTED = 0.05  # share of what a client asks and does not wait for

Socket = Union[socket.socket, ssl.SSLSocket]


def context(fronts: Fronts, *protocols: str) -> ssl.SSLContext:
    """What knows the certificate, and these protocols."""
    made = ssl.create_default_context(cafile=fronts.certificate)
    made.set_alpn_protocols(list(protocols))
    return made


def dial(fronts: Fronts, secure: bool, tls: ssl.SSLContext) -> Socket:
    """A connection."""
    place = fronts.secure if secure else fronts.plain
    skt = place.socket()
    skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return tls.wrap_socket(skt, server_hostname=place.host) if secure else skt


class Asker(Visitor):
    """A client as people have: httpx, which keeps its connections, and takes compressed answers."""

    kind = "http1"

    def __init__(self, fronts: Fronts, number: int) -> None:
        super().__init__(fronts, number)
        self._url = f"https://{fronts.secure}" if number % 2 else f"http://{fronts.plain}"
        self._client = httpx.Client(verify=context(fronts), timeout=HANG_SECONDS, trust_env=False)

    def turn(self) -> None:
        asked = plan(self.random, self.new_name())
        content = self._pieces(asked.body) if asked.body and self.random.random() < 0.5 else asked.body
        fields = {"accept-encoding": "identity", **asked.fields}
        try:
            with self._client.stream(
                asked.method, self._url + asked.target, headers=fields, content=content
            ) as answer:
                if self.random.random() < ABORTED:
                    self.found["left"] += 1
                    return
                body = b"".join(answer.iter_raw())
                self.note(asked, answer.status_code, answer.headers, body)
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            self.found["cut"] += 1

    def _pieces(self, body: bytes) -> Iterator[bytes]:
        for at in range(0, len(body), 7000):
            yield body[at : at + 7000]

    def run(self) -> None:
        with self._client:
            super().run()


class Pipeliner(Visitor):
    """Several requests at once on a connection, whose answers come in their order."""

    kind = "pipe"

    def turn(self) -> None:
        asked = [plan(self.random, self.new_name(), upload=False) for _ in range(self.random.randint(1, 6))]
        client = Client(self.fronts.plain, "127.0.0.2")
        client.patience(HANG_SECONDS)
        said = ""
        for one in asked:
            lines = "".join(f"{name}: {value}\r\n" for name, value in one.fields.items())
            lines = lines.replace("accept-encoding: gzip\r\n", "")
            said += f"{one.method} {one.target} HTTP/1.1\r\nHost: chaos\r\n{lines}\r\n"
        client.send(said.encode())
        for one in asked:
            answer = client.hear()
            if answer is None:
                self.found["cut"] += 1  # and those behind it are not answered
                break
            self.note(one, answer.status, {}, answer.body)
        client.close()


class Tunneller(Visitor):
    """Bytes through a tunnel come back as they are."""

    kind = "tunnel"

    def turn(self) -> None:
        target = f"{self.random.choice(('', '/ba', '/sticky'))}/tunnel/{self.new_name()}"
        with self.fronts.plain.socket() as skt:
            skt.settimeout(HANG_SECONDS)
            try:
                self._converse(skt, target)
            except ConnectionError:
                self.found["cut"] += 1

    def _converse(self, skt: socket.socket, target: str) -> None:
        skt.sendall(
            f"GET {target} HTTP/1.1\r\nHost: chaos\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Authorization: {AUTHORIZATION}\r\n\r\n".encode()
        )
        with skt.makefile("rb") as file:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = file.readline()
                if not line:
                    self.found["cut"] += 1
                    return
                head += line
            status = int(head.split(b" ")[1])
            if status != 101:
                assert status in REFUSALS, f"{target} was answered {head!r}"
                self.found[str(status)] += 1
                return
            for _ in range(self.random.randint(1, 5)):
                data = self.random.randbytes(self.random.choice((1, 1000, 50_000)))
                skt.sendall(data)
                heard = file.read(len(data))
                assert data.startswith(heard), f"{target} brings other bytes than those that were sent"
                if len(heard) < len(data):
                    self.found["cut"] += 1
                    return
        self.found["tunnel"] += 1


@define
class Stream:
    """A stream: what was asked, and what has come."""

    asked: Plan
    until: float  # when it is reset, which may be never
    sent: int = 0
    status: int = 0
    fields: dict[str, str] = field(factory=dict)
    body: bytes = b""


class Multiplexer(Visitor):
    """Many streams at once on a connection, of which some are reset while others bring bodies."""

    kind = "http2"
    most = 8  # streams at once

    def turn(self) -> None:
        skt = dial(self.fronts, bool(self.number % 2), context(self.fronts, "h2"))
        skt.setblocking(False)
        self._h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._streams: dict[int, Stream] = {}
        left = self.random.randint(10, 200)
        out, heard = bytearray(), monotonic()
        with skt:
            while left or self._streams:
                if self.fronts.over.is_set():
                    left = 0
                while left and len(self._streams) < self.most:
                    self._ask()
                    left -= 1
                self._upload()
                out += self._h2.data_to_send()
                try:
                    data = self._exchange(skt, out)
                except OSError:
                    data = b""
                if data is None:
                    assert monotonic() - heard < HANG_SECONDS, f"forgotten: {self._streams}"
                    continue
                if not data:
                    self.found["cut"] += len(self._streams)
                    return
                heard = monotonic()
                self._hear(data)
            self.found["connection"] += 1

    def _ask(self) -> None:
        asked = plan(self.random, self.new_name())
        number = self._h2.get_next_available_stream_id()
        place = self.fronts.secure if self.number % 2 else self.fronts.plain
        head = [(":method", asked.method), (":scheme", "https" if self.number % 2 else "http")]
        head += [(":authority", str(place)), (":path", asked.target), *asked.fields.items()]
        self._h2.send_headers(number, head, end_stream=not asked.body)
        aborted = not asked.body and self.random.random() < ABORTED
        self._streams[number] = Stream(asked, monotonic() + self.random.random() / 2 if aborted else 1e9)

    def _upload(self) -> None:
        """Send of each body what may be sent; reset what is not waited for."""
        for number, stream in list(self._streams.items()):
            if monotonic() > stream.until:
                self._h2.reset_stream(number, ErrorCodes.CANCEL)
                del self._streams[number]
                self.found["left"] += 1
                continue
            body = stream.asked.body
            try:
                while stream.sent < len(body):
                    size = min(self._h2.local_flow_control_window(number), 5000, len(body) - stream.sent)
                    if size <= 0:
                        break
                    last = stream.sent + size == len(body)
                    piece = body[stream.sent : stream.sent + size]
                    self._h2.send_data(number, piece, end_stream=last)
                    stream.sent += size
            except StreamClosedError:
                stream.sent = len(body)

    def _exchange(self, skt: Socket, out: bytearray) -> Optional[bytes]:
        """Send and receive what is possible now; None if nothing has come."""
        pending = isinstance(skt, ssl.SSLSocket) and skt.pending()
        _, writable, _ = select.select([skt], [skt] if out else [], [], 0 if pending else 0.02)
        again = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
        if writable:
            try:
                del out[: skt.send(out)]
            except again:
                pass
        try:
            return skt.recv(65536)
        except again:
            return None

    def _hear(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            if isinstance(event, ConnectionTerminated):
                raise AssertionError(f"nobody has a reason to end this connection: {event}")
            if isinstance(event, DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if event.stream_id in self._streams:
                    self._streams[event.stream_id].body += event.data
            elif isinstance(event, ResponseReceived) and event.stream_id in self._streams:
                stream = self._streams[event.stream_id]
                stream.fields = {str(name): str(value) for name, value in event.headers}
                stream.status = int(stream.fields[":status"])
            elif isinstance(event, StreamReset):
                self.found["cut"] += self._streams.pop(event.stream_id, None) is not None
            elif isinstance(event, StreamEnded) and event.stream_id in self._streams:
                stream = self._streams.pop(event.stream_id)
                self.note(stream.asked, stream.status, stream.fields, stream.body)
