"""In whatever order clients, servers and dials go on: is nothing left, and no body taken for a request?"""

from __future__ import annotations

from random import Random
from typing import Any, Callable

from hpack import Encoder
from twisted.internet.defer import Deferred

from proxyd.config.action import RespondSpec
from proxyd.config.http import HttpSpec
from proxyd.errors import DialFailed, Reason
from proxyd.frontends.http.auth import Verdict
from proxyd.frontends.http.pages import Words
from proxyd.wire.http2frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)
from tests.frontends.http.front import OK
from tests.frontends.http.test_routed import Judge, RoutedCase, route

ROUNDS = 150  # which take two seconds

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: example.com\r\n\r\n"  # in bodies

HEAD = b"HTTP/1.1 200 OK\r\nDate: then\r\n"
SAID = (
    OK,
    OK,
    HEAD + b"Content-Length: 100000\r\n\r\n" + bytes(100_000),
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A: b\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    HEAD + b"\r\nuntil it closes",
    b"HTTP/1.1 103 Early Hints\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nwelcome",
)

KINDS = {"get": b"GET", "post": b"POST", "length": b"POST", "tunnel": b"CONNECT"}


class AnyOrder(RoutedCase):
    """One client of HTTP/2, before servers that are reached late, or not."""

    def begin(self, random: Random) -> None:
        """A listener, and a client without requests."""
        self.random = random
        courses = self.routes(
            route("own", "", {"path": ("/own",)}, respond=RespondSpec(403)),
            route("decided", "web", {"path": ("/decided",)}),
            idle_timeout=8.0,
            http=HttpSpec(max_requests=40),
        ).courses
        judge = self.judge = Judge()
        courses[1].auth, courses[1].patience = judge, judge.patience  # type: ignore[assignment]
        self.dials: list[tuple[Any, Deferred[Any]]] = []
        self.datapath.dial = self.dial  # type: ignore[method-assign]
        window = random.choice((0, 100, 65_535, 1 << 20))
        settings = (4).to_bytes(2, "big") + window.to_bytes(4, "big")
        self.encoder = Encoder()
        self.peer = self.client(PREFACE + frame(SETTINGS, 0, 0, settings))
        self.said = b""
        self.next = 1
        self.left: dict[int, int] = {}  # of the bodies that are under way; -1: it is not said

    def dial(self, address: Any, side: Any, tcp: Any = None, client: str = "", tls: Any = None) -> Any:
        dialing: Deferred[Any] = Deferred(lambda _: None)
        self.dials.append((side, dialing))
        return dialing

    def ask(self) -> None:
        kind = self.random.choice(("get", "get", "post", "length", "tunnel"))
        path = self.random.choice((b"/x", b"/own", b"/decided"))
        head = [(b":method", KINDS[kind]), (b":scheme", b"http"), (b":authority", b"e.com"), (b":path", path)]
        if kind == "tunnel":
            head.append((b":protocol", b"websocket"))
        length = self.random.randrange(300) if kind == "length" else -1
        if kind == "length":
            head.append((b"content-length", b"%d" % length))
        ends = END_STREAM if kind == "get" else 0
        self.said += frame(HEADERS, END_HEADERS | ends, self.next, self.encoder.encode(head))
        if not ends:
            self.left[self.next] = length
        self.next += 2

    def go_on(self) -> None:
        """Some of a body, its end, or its stream's."""
        if not self.left:
            return
        number, how = self.random.choice(list(self.left)), self.random.random()
        if how < 0.15:
            del self.left[number]
            self.said += frame(RST_STREAM, 0, number, (8).to_bytes(4, "big"))
        elif how < 0.25:
            del self.left[number]
            trailers = self.encoder.encode([(b"x-a", b"b" * self.random.choice((1, 9000)))])
            self.said += frame(HEADERS, END_HEADERS | END_STREAM, number, trailers)
        else:
            left, size = self.left[number], self.random.randrange(400)
            size = min(left, size) if left >= 0 and how < 0.9 else size
            ends = END_STREAM if size == left or how > 0.7 else 0
            self.said += frame(DATA, ends, number, HIDDEN[:size].ljust(size, b"\0"))
            self.left[number] -= size if left >= 0 else 0
            if ends:
                del self.left[number]

    def open_windows(self) -> None:
        more = self.random.randrange(1, 100_000).to_bytes(4, "big")
        self.said += frame(WINDOW_UPDATE, 0, self.random.choice((0, max(self.next - 2, 0))), more)

    def send(self) -> None:
        said, self.said = self.said, b""
        if said and not self.peer.closed:
            self.say(self.peer, said)

    def reach(self) -> None:
        self.random.shuffle(self.dials)
        while self.dials:
            side, dialing = self.dials.pop()
            if dialing.called:
                continue  # it was given up
            if self.random.random() < 0.9:
                self.datapath.peers.append(self.network.connect(side))
                dialing.callback(None)
            else:
                dialing.errback(DialFailed(Reason.CONNECT_REFUSED, "connection refused"))
            break
        self.network.flush()

    def answer(self) -> None:
        servers = [peer for peer in self.datapath.peers if not (peer.closed or peer._finishing)]
        if servers:
            server, how = self.random.choice(servers), self.random.random()
            if how < 0.8:
                server.send(self.random.choice(SAID))
            else:
                getattr(server, self.random.choice(("close", "reset", "finish")))()
            self.network.flush()

    def decide(self) -> None:
        for verdict in self.judge.verdicts:
            if not verdict.called:
                yes = self.random.random() < 0.7
                verdict.callback(Verdict("alice") if yes else Verdict(status=401, words=Words()))

    def wait(self) -> None:
        self.clock.advance(self.random.choice((0, 1.0, 3.0)))
        self.network.flush()

    def test_nothing_is_left(self) -> None:
        """When the client is gone no slot, dial, socket or session is left; and nothing has failed."""
        steps: list[Callable[[], None]] = [self.ask] * 6 + [self.go_on] * 6 + [self.answer] * 5
        steps += [self.open_windows, self.decide, self.reach, self.reach, self.wait] + [self.send] * 4
        asked = 0
        for seed in range(ROUNDS):
            self.setUp()
            random = Random(seed)
            self.begin(random)
            for _ in range(random.randrange(5, 80)):
                random.choice(steps)()
            self.send()
            if not self.peer.closed:
                getattr(self.peer, random.choice(("close", "reset", "finish")))()
            for _ in range(12):
                self.pass_time(1)
            self.assertEqual([dialing.called for _, dialing in self.dials], [True] * len(self.dials), seed)
            self.assertEqual(
                (self.pool.open, self.factory.streams, self.factory.sessions), (0, set(), set()), seed
            )
            self.assertNotIn(b"/hidden", [record.target for record in self.notebook.requests], seed)
            self.assertEqual(self.flushLoggedErrors(), [], seed)
            asked += len(self.notebook.requests)
            self.over()
        self.assertGreater(asked, 5 * ROUNDS)
