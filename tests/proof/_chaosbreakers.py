"""Who aborts, resets, cuts short and sends rubbish in a chaos, and does not look at what it is answered?"""

from __future__ import annotations

import socket
from collections import Counter
from time import monotonic, sleep

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived
from h2.exceptions import FlowControlError, NoSuchStreamError, StreamClosedError
from h2.settings import SettingCodes

from tests.proof._chaosclients import Socket, context, dial
from tests.proof._chaosorigin import PAGES
from tests.proof._chaosplans import AUTHORIZATION, PREFIXES, Fronts, Visitor

RESET = b"\1\0\0\0\0\0\0\0"  # struct linger: a close sends RST


class Breaker(Visitor):
    """What both versions have."""

    def __init__(self, fronts: Fronts, number: int) -> None:
        super().__init__(fronts, number)
        self._tls = context(fronts, *(["h2"] if self.kind == "breaker2" else []))
        self.did: Counter[str] = Counter()

    def _somewhere(self) -> str:
        random = self.random
        prefix, kind = random.choice(PREFIXES), random.random()
        if kind < 0.2:
            return f"{prefix}/page/{random.randrange(PAGES)}"
        if kind < 0.3:
            return f"{prefix}/tunnel/{self.new_name()}"
        if kind < 0.35:
            return "/nowhere"
        return f"{prefix}/echo/{self.new_name()}/{random.choice((0, 300, 50_000, 2_000_000))}"

    def turn(self) -> None:
        skt = dial(self.fronts, self.random.random() < 0.5, self._tls)
        try:
            with skt:
                skt.settimeout(3)
                self.visit(skt)
        except OSError as error:
            self.did[type(error).__name__] += 1

    def visit(self, skt: Socket) -> None:
        """Do something with this connection."""
        raise NotImplementedError


class Breaker1(Breaker):
    """By HTTP/1."""

    kind = "breaker1"

    def visit(self, skt: Socket) -> None:
        random = self.random
        for _ in range(random.randint(1, 4)):
            said = b"".join(self._request() for _ in range(random.choice((1, 1, 1, 3))))
            if random.random() < 0.2:
                cut = random.randrange(len(said))
                skt.sendall(said[:cut])
                sleep(random.random() / 10)
                skt.sendall(said[cut:])
            else:
                skt.sendall(said)
            chance = random.random()
            if chance < 0.15:
                self.did["aborted"] += 1
                return
            if chance < 0.2:
                skt.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                self.did["reset"] += 1
                return
            if chance < 0.22:
                skt.shutdown(socket.SHUT_WR)
                self.did["half closed"] += 1
            self._read(skt)

    def _read(self, skt: Socket) -> None:
        """Read some of the answers, for a while."""
        skt.settimeout(self.random.choice((0.1, 0.5, 1.5)))
        end = monotonic() + 2
        try:
            while monotonic() < end and skt.recv(self.random.choice((100, 65536, 65536))):
                pass
            self.did["read"] += 1
        except TimeoutError:
            self.did["waited"] += 1
        skt.settimeout(3)

    def _request(self) -> bytes:
        random = self.random
        target = self._somewhere()
        method = random.choice(("GET", "GET", "GET", "HEAD", "POST", "PUT", "OPTIONS"))
        lines, body = ["Host: chaos"], b""
        for chance, line in (
            (0.3, "Accept-Encoding: gzip"),
            (0.7, f"Authorization: {AUTHORIZATION}"),
            (0.3, f"X-Forwarded-For: 192.0.2.{random.randrange(20)}"),
            (0.1, "Range: bytes=0-5"),
            (0.05, "Connection: close"),
        ):
            if random.random() < chance:
                lines.append(line)
        if "/tunnel/" in target:
            method = "GET"
            lines += ["Upgrade: websocket", "Connection: Upgrade"]
        if method in ("POST", "PUT"):
            body = bytes(random.choice((0, 5, 2000, 200_000)))
            if random.random() < 0.2:
                lines.append("Expect: 100-continue")
            if random.random() < 0.5:
                lines.append(f"Content-Length: {len(body)}")
            else:
                lines.append("Transfer-Encoding: chunked")
                body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\nX-T: 1\r\n\r\n"
            if random.random() < 0.15:
                body = body[: len(body) // 2]
        if random.random() < 0.02:
            body += b"garbage\r\n\r\n"
        version = "1.1" if random.random() < 0.95 else "1.0"
        return (
            f"{method} {target} HTTP/{version}\r\n".encode() + "\r\n".join([*lines, "\r\n"]).encode() + body
        )


class Breaker2(Breaker):
    """By HTTP/2; what it is sent is read as frames, and must be right as such."""

    kind = "breaker2"

    def visit(self, skt: Socket) -> None:
        random = self.random
        h2 = H2Connection(H2Configuration(header_encoding="utf-8", validate_outbound_headers=False))
        h2.initiate_connection()
        if random.random() < 0.3:
            h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: random.choice((1, 100, 20_000))})
        for _ in range(random.randint(1, 4)):
            for _ in range(random.randint(1, 6)):
                self._ask(h2)
            skt.sendall(h2.data_to_send())
            if random.random() < 0.1:
                self.did["aborted"] += 1
                return
            if not self._read(skt, h2):
                self.did["ended"] += 1
                return

    def _ask(self, h2: H2Connection) -> None:
        random = self.random
        target = self._somewhere()
        method = random.choice(("GET", "GET", "HEAD", "POST", "PUT"))
        more = [("accept-encoding", "gzip")] * (random.random() < 0.3)
        more += [("authorization", AUTHORIZATION)] * (random.random() < 0.7)
        more += [("x-forwarded-for", f"192.0.2.{random.randrange(20)}")] * (random.random() < 0.3)
        if "/tunnel/" in target:
            method = "CONNECT"
            more.insert(0, (":protocol", "websocket"))
        number = h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http"), (":authority", "chaos"), (":path", target)]
        sends = method in ("POST", "PUT", "CONNECT")
        h2.send_headers(number, [*head, *more], end_stream=not sends)
        try:
            if sends:
                size = min(random.choice((0, 10, 5000, 60_000)), h2.local_flow_control_window(number))
                for at in range(0, size, 16_000):
                    h2.send_data(number, bytes(min(16_000, size - at)))
                if random.random() < 0.8:
                    h2.end_stream(number)
            if random.random() < 0.1:
                h2.reset_stream(number, ErrorCodes.CANCEL)
                self.did["reset"] += 1
        except (FlowControlError, NoSuchStreamError, StreamClosedError):
            self.did["no window"] += 1

    def _read(self, skt: Socket, h2: H2Connection) -> bool:
        """Read frames for a while, and perhaps open no window again; False at the end."""
        acknowledges = self.random.random() < 0.9
        skt.settimeout(self.random.choice((0.1, 0.5, 1.5)))
        end = monotonic() + 2
        try:
            while monotonic() < end:
                data = skt.recv(65536)
                if not data:
                    return False
                for event in h2.receive_data(data):
                    if isinstance(event, DataReceived) and acknowledges:
                        h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                said = h2.data_to_send()
                if said:
                    skt.sendall(said)
        except TimeoutError:
            self.did["waited"] += 1
        skt.settimeout(3)
        return True
