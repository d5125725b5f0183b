"""Is the admin socket's line protocol answered in order, and can nobody hold the socket against others?"""

from __future__ import annotations

import json
import os
import socket
from typing import Any, Mapping, Optional

from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from proxyd.ops import admin
from proxyd.ops.admin import (
    IDLE_SECONDS,
    LONGEST_REQUEST,
    MOST_CONNECTIONS,
    REQUESTS_PER_TURN,
    AdminFactory,
    caller_at,
)
from proxyd.ops.command import Caller, Command, Parameter, Steered
from tests.support.case import Case
from tests.support.peer import Ended
from tests.support.streams import FakePeer, Network
from tests.support.walltime import SetTime

CALLER = Caller(1000, 4321)


class Admin(Case):
    """An admin socket with commands of the test's own, on a network without sockets."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = Network(self.clock)
        self.asked: list[Any] = []
        self.patch(admin, "caller_at", lambda transport: CALLER)
        commands = [
            Command("echo", "say it again", self.echo, (Parameter("text", "any text"),)),
            Command("much", "a long answer", lambda *_: {"much": "x" * 100_000}),
            Command("fail", "fail", lambda *_: 1 / 0),  # type: ignore[arg-type]
        ]
        table = {command.name: command for command in commands}
        self.factory = AdminFactory(
            Steered({}, self.clock.seconds, SetTime(self.clock.seconds)), self.clock, table
        )

    def echo(self, steered: Steered, given: Mapping[str, Any], caller: Optional[Caller]) -> dict[str, Any]:
        self.asked.append(given.get("text"))
        return {"text": given.get("text"), "caller": str(caller)}

    def connect(self, **how: Any) -> FakePeer:
        return self.network.connect(self.factory.buildProtocol(None), **how)

    def answers(self, peer: FakePeer) -> list[Any]:
        """Everything that it has been answered so far."""
        self.network.flush()
        return [json.loads(line) for line in peer.received.splitlines()]

    def texts(self, peer: FakePeer) -> list[Any]:
        return [answer["result"]["text"] for answer in self.answers(peer)]

    def test_lines(self) -> None:
        """Each line is answered by a line, in their order, however they arrive; empty ones are none."""
        lines = b'{"command":"echo","text":"a"}\n\n \r\n {"text": "\\u00fc\\n", "command": "echo"}\r\n'
        for step in (1, 7, len(lines)):
            peer = self.connect()
            for place in range(0, len(lines), step):
                peer.send(lines[place : place + step])
                self.network.flush()
            self.assertEqual(self.texts(peer), ["a", "ü\n"])
            self.assertEqual(peer.received.count(b"\n"), 2)

    def test_who_asks(self) -> None:
        """A command is told who connected."""
        peer = self.connect()
        peer.send(b'{"command":"echo"}\n')
        self.assertEqual(self.answers(peer), [{"result": {"text": None, "caller": "uid 1000"}}])

    def test_pipelined(self) -> None:
        """Many requests at once are served a few a turn, and all are answered."""
        peer = self.connect()
        peer.send(b"".join(b'{"command":"echo","text":"%d"}\n' % number for number in range(100)))
        self.network.turn()
        self.assertLessEqual(len(self.asked), 2 * REQUESTS_PER_TURN)
        self.assertEqual(self.texts(peer), [str(number) for number in range(100)])

    def test_finished(self) -> None:
        """Who has asked everything still gets the answers; the last line needs no end."""
        peer = self.connect()
        lines = [b'{"command":"echo","text":"%d"}' % number for number in range(50)]
        peer.send(b"\n".join(lines))
        peer.finish()
        self.assertEqual(self.texts(peer), [str(number) for number in range(50)])
        self.assertEqual(peer.ended, Ended.END)
        self.assertEqual((self.network.open(), self.factory.connections), ([], {}))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_asked(self) -> None:
        """Who leaves without a word leaves nothing behind."""
        for leave in (FakePeer.finish, FakePeer.reset, FakePeer.close):
            leave(self.connect())
            self.network.flush()
            self.assertEqual((self.network.open(), self.factory.connections), ([], {}))
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_cannot_be_understood(self) -> None:
        """It is answered by what would be right, and the next request is served."""
        shown = 'is not a JSON object on one line; write {"command": "help"}, for example'
        for line, code, text in [
            (b"help", "bad_request", f'"help" {shown}'),
            (b"[1]", "bad_request", f'"[1]" {shown}'),
            (b"\xff\x00", "bad_request", f'"\\ufffd\\x00" {shown}'),
            (b"[" * 10_000, "bad_request", f'"{"[" * 60}..." {shown}'),
            (b'{"command":"echo"} 1', "bad_request", f'"{{"command":"echo"}} 1" {shown}'),
            (b"{}", "bad_request", 'a request has a command; write {"command": "help"}, for example'),
            (
                b'{"command":1}',
                "bad_request",
                'a request has a command; write {"command": "help"}, for example',
            ),
            (b'{"command":"ecko"}', "unknown_command", 'command: "ecko" is not known; did you mean "echo"?'),
            (
                b'{"command":"quit"}',
                "unknown_command",
                'command: "quit" is not known; known here: echo, much, fail',
            ),
            (
                b'{"command":"echo","tekst":""}',
                "unknown_parameter",
                'echo: "tekst" is not known; did you mean "text"?',
            ),
            (b'{"command":"echo","text":1}', "bad_parameter", "echo: text is a text: any text"),
        ]:
            peer = self.connect()
            peer.send(line + b'\n{"command":"echo"}\n')
            wrong, right = self.answers(peer)
            self.assertEqual((wrong, list(right)), ({"error": text, "code": code}, ["result"]))

    def test_fault(self) -> None:
        """A fault of the daemon's is answered as one, and logged; the next request is served."""
        peer = self.connect()
        with capturedLogs() as events:
            peer.send(b'{"command":"fail"}\n{"command":"echo"}\n')
            wrong, right = self.answers(peer)
        self.assertEqual(wrong["code"], "internal")
        self.assertEqual(list(right), ["result"])
        self.assertEqual([event["log_failure"].type for event in events], [ZeroDivisionError])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_too_long(self) -> None:
        """A line that has no end is not waited for: it is answered, and that was all."""
        for end in (b"", b"\n", b'\n{"command":"echo"}\n'):
            peer = self.connect()
            peer.send(b'{"command":"echo"}\n' + b" " * (LONGEST_REQUEST + 1) + end)
            first, last = self.answers(peer)
            self.assertEqual(list(first), ["result"])
            self.assertEqual(
                last, {"error": f"a request has at most {LONGEST_REQUEST} bytes", "code": "too_long"}
            )
            self.assertNotEqual(peer.ended, Ended.NOT)
            self.assertEqual(len(self.factory.connections), 0)

    def test_longest(self) -> None:
        """A line that is as long as it may be is a request like any other."""
        line = b'{"command":"echo"}'
        peer = self.connect()
        peer.send(line + b" " * (LONGEST_REQUEST - len(line)) + b"\n")
        self.assertEqual(self.texts(peer), [None])

    def test_answers_that_are_not_taken(self) -> None:
        """Who does not read is not answered without bound, nor read from; reading again, it gets the rest."""
        peer = self.connect()
        peer.stop_reading()
        peer.send(b'{"command":"much"}\n{"command":"echo","text":"1"}\n' * 20)
        self.network.flush()
        self.assertLess(len(self.asked), 4)
        (stream,) = self.network.open()
        self.assertLess(stream.buffered(), 250_000)
        peer.send(b'{"command":"echo","text":"2"}\n' * 10_000)
        self.network.flush()
        self.assertGreater(peer.queued, 0)
        peer.read_again()
        self.network.flush()
        self.assertEqual(self.asked, ["1"] * 20 + ["2"] * 10_000)
        self.assertEqual(len(self.answers(peer)), 10_040)

    def test_answers_that_are_never_taken(self) -> None:
        """Who does not read at all is hung up on when its time is over, even when all was asked."""
        for finish in (False, True):
            peer = self.connect()
            peer.stop_reading()
            peer.send(b'{"command":"much"}\n' * 10)
            if finish:
                peer.finish()
            self.network.flush()
            self.clock.advance(IDLE_SECONDS)
            self.network.flush()
            self.assertEqual((self.network.open(), self.factory.connections), ([], {}))

    def test_silence(self) -> None:
        """Who asks for nothing is hung up on, also who only begins to; each request is a new start."""
        silent, slow, steady = self.connect(), self.connect(), self.connect()
        for _ in range(int(IDLE_SECONDS / 10)):
            slow.send(b" ")
            steady.send(b'{"command":"echo"}\n')
            self.network.flush()
            self.clock.advance(10)
        self.network.flush()
        self.assertEqual([peer.ended is Ended.NOT for peer in (silent, slow, steady)], [False, False, True])
        self.assertEqual(len(self.factory.connections), 1)

    def test_all_places_taken(self) -> None:
        """When there are too many, the one who has asked nothing for longest gives way to the new one."""
        peers = [self.connect() for _ in range(MOST_CONNECTIONS)]
        peers[0].send(b'{"command":"echo"}\n')
        self.network.flush()
        late = self.connect()
        late.send(b'{"command":"echo"}\n')
        self.assertEqual(self.texts(late), [None])
        self.assertEqual([peer.ended is Ended.NOT for peer in peers[:3]], [True, False, True])
        self.assertEqual(len(self.factory.connections), MOST_CONNECTIONS)
        for _ in range(100):
            self.connect()
        self.network.flush()
        self.assertEqual(len(self.network.open()), MOST_CONNECTIONS)

    def test_stop(self) -> None:
        """When the socket closes, all who are connected are hung up on, and no timer is left."""
        peers = [self.connect() for _ in range(3)]
        self.factory.stopFactory()
        self.network.flush()
        self.assertEqual([peer for peer in peers if peer.ended is Ended.NOT], [])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Credentials(Case):
    """Who is at the other end of a unix socket."""

    def test_of_this_process(self) -> None:
        """The kernel names the user and the process."""
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)

        class Transport:
            def getHandle(self) -> socket.socket:
                return ours

        found = caller_at(Transport())
        assert found is not None
        self.assertEqual((found.uid, found.pid), (os.getuid(), os.getpid()))
        folder = self.mktemp()
        os.mkdir(folder)
        self.patch(admin, "LOGIN", os.path.join(folder, "%d"))
        uid, path = os.getuid(), os.path.join(folder, str(os.getpid()))
        for text, said in (
            ("4294967295", f"uid {uid}"),
            ("1000", f"uid {uid}, logged in as uid 1000"),
            (str(uid), f"uid {uid}"),
            ("nonsense", f"uid {uid}"),
        ):
            with open(path, "w") as file:
                file.write(text)
            self.assertEqual(str(caller_at(Transport())), said)
        os.unlink(path)
        self.assertEqual(str(caller_at(Transport())), f"uid {uid}")

    def test_of_a_host_that_does_not_tell(self) -> None:
        """Where the kernel has no word for it, nobody is named."""
        self.patch(admin, "socket", object())
        self.assertIsNone(caller_at(None))
