"""
How is the running daemon asked and steered?

By lines of JSON on a unix socket.  Each request is an object on a line of its own, such as
``{"command": "drain", "server": "db/a"}``.  Each is answered in its turn by a line that is
``{"result": {...}}``, or ``{"error": "what is wrong, and what would be right", "code": "unknown_server"}``.
What can be asked is a table of its own (`proxyd.ops.commands`).

Whoever can connect may steer, so the socket's file mode is the lock, and what is changed is logged with the
user and the process that asked for it.  Nobody can hold the socket against others: a line is bounded, and so
is what is answered unread; who is silent is hung up on, and when all places are taken, the one who has been
silent for longest gives way.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any, Mapping, Optional

from twisted.internet.interfaces import IAddress, IDelayedCall, IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from zope.interface import implementer

from proxyd.config.options import unknown
from proxyd.config.words import quoted
from proxyd.ops.command import Caller, Command, Declined, Steered
from proxyd.ops.commands import COMMANDS

LONGEST_REQUEST = 16 * 1024  # bytes of a line; the longest that makes sense has a few hundred

MOST_CONNECTIONS = 32

IDLE_SECONDS = 60.0  # from one request to the next, or until an answer is taken

REQUESTS_PER_TURN = 16  # of one connection, before others are served

log = Logger()

LOGIN = "/proc/%d/loginuid"
_NOBODY_LOGGED_IN = 0xFFFFFFFF  # it is of a service
_LONGEST_NUMBER = 16

_UCRED = struct.Struct("iII")  # pid, uid and gid: unix(7), SO_PEERCRED


def caller_at(transport: Any) -> Optional[Caller]:
    """Who is at the other end, as the kernel vouches for it; None on a host that does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    pid, uid, _ = _UCRED.unpack(transport.getHandle().getsockopt(socket.SOL_SOCKET, option, _UCRED.size))
    return Caller(uid, pid, _login(pid))


def _login(pid: int) -> Optional[int]:
    """As whom the session of a process has logged in, which sudo does not change: proc(5), loginuid."""
    try:
        with open(LOGIN % pid, encoding="ascii") as file:
            login = int(file.read(_LONGEST_NUMBER))
    except (OSError, ValueError):
        return None  # it has ended, or may not be seen, or the kernel keeps no such thing
    return login if login != _NOBODY_LOGGED_IN else None


@implementer(IHalfCloseableProtocol, IPushProducer)
class AdminConnection(Protocol):
    """One who asks.  It is the producer of its own transport: answers that are not taken stop it."""

    factory: AdminFactory
    transport: Any

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._asked = bytearray()
        self._caller: Optional[Caller] = None
        self._held = False  # its answers are not taken
        self._finished = False  # it will ask no more
        self._closing = False
        self._deadline: Optional[IDelayedCall] = None
        self._turn: Optional[IDelayedCall] = None

    def connectionMade(self) -> None:
        self._caller = caller_at(self.transport)
        self._deadline = self._reactor.callLater(IDLE_SECONDS, self.give_way)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        if not self._closing:
            self._asked += data
            self._serve()

    def readConnectionLost(self) -> None:
        """It asks no more, and waits for its answers; a last line needs no end."""
        self._finished = True
        self._serve()

    def writeConnectionLost(self) -> None:
        """It takes no more answers."""
        self.give_way()

    def connectionLost(self, reason: object = None) -> None:
        for call in (self._deadline, self._turn):
            if call is not None and call.active():
                call.cancel()
        self.factory.connections.pop(self, None)

    def give_way(self) -> None:
        """End at once, whatever is unsent."""
        self._closing = True
        self.factory.connections.pop(self, None)
        self.transport.abortConnection()

    # What the transport asks of its producer

    def pauseProducing(self) -> None:
        """The answers are not taken: ask for no more requests."""
        self._held = True

    def resumeProducing(self) -> None:
        """They are, and that counts as life."""
        self._held = False
        self._moved()
        self._serve()

    def stopProducing(self) -> None:
        """The transport is gone, and tells us so itself."""

    # Answering

    def _serve(self) -> None:
        """Answer what has been asked, a few requests a turn; until then no more are read."""
        for _ in range(REQUESTS_PER_TURN):
            if self._held or self._closing or not self._answer_next():
                break
        if self._closing:
            return
        waiting = b"\n" in self._asked or (self._finished and bool(self._asked))
        if waiting and not self._held and self._turn is None:
            self._turn = self._reactor.callLater(0, self._take_turn)
        if self._finished:
            if not waiting:
                self._close()
        elif waiting or self._held:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    def _take_turn(self) -> None:
        self._turn = None
        self._serve()

    def _answer_next(self) -> bool:
        """Answer one request; false if there is no whole one."""
        end = self._asked.find(b"\n")
        if end > LONGEST_REQUEST or (end < 0 and len(self._asked) > LONGEST_REQUEST):
            self._send(_error("too_long", f"a request has at most {LONGEST_REQUEST} bytes"))
            self._close()
            return False
        if end < 0:
            if not self._finished or not self._asked:
                return False
            end = len(self._asked)
        line = bytes(self._asked[:end])
        del self._asked[: end + 1]
        if line.strip():
            self._moved()
            self._send(self.factory.answer(line, self._caller))
        return True

    def _moved(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.reset(IDLE_SECONDS)
        self.factory.connections[self] = self.factory.connections.pop(self, None)

    def _send(self, answer: dict[str, Any]) -> None:
        self.transport.write(json.dumps(answer, separators=(",", ":")).encode("ascii") + b"\n")

    def _close(self) -> None:
        """End when all answers are taken; the deadline runs on."""
        self._closing = True
        self._asked.clear()
        self.transport.unregisterProducer()
        self.transport.loseConnection()


class AdminFactory(Factory):
    """Answers everybody who connects, from one table of commands."""

    noisy = False

    def __init__(self, steered: Steered, reactor: Any, commands: Mapping[str, Command] = COMMANDS) -> None:
        self._steered = steered
        self._reactor = reactor
        self._commands = commands
        self.connections: dict[AdminConnection, None] = {}  # who has asked last is the last

    def buildProtocol(self, addr: Optional[IAddress]) -> Any:
        if len(self.connections) >= MOST_CONNECTIONS:
            next(iter(self.connections)).give_way()
        connection = AdminConnection(self._reactor)
        connection.factory = self
        self.connections[connection] = None
        return connection

    def stopFactory(self) -> None:
        """Nobody new will come; who is there is hung up on."""
        for connection in list(self.connections):
            connection.give_way()

    def answer(self, line: bytes, caller: Optional[Caller]) -> dict[str, Any]:
        """The answer to one request; whatever the request is, there is one."""
        try:
            return {"result": self._run(_request(line), caller)}
        except Declined as refused:
            return _error(refused.code, str(refused))
        except Exception:  # noqa: BLE001 - a fault of ours in one command must not end the others
            log.failure("admin: a command failed")
            return _error("internal", "a fault in the daemon; its log has the traceback")

    def _run(self, request: dict[str, Any], caller: Optional[Caller]) -> dict[str, Any]:
        name = request.pop("command", None)
        if not isinstance(name, str):
            raise Declined("bad_request", 'a request has a command; write {"command": "help"}, for example')
        command = self._commands.get(name)
        if command is None:
            raise Declined("unknown_command", f"command: {unknown(name, self._commands)}")
        return command.run(self._steered, command.given(request), caller)


def _request(line: bytes) -> dict[str, Any]:
    """The object that the line holds.  Raises `Declined`."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        text = 'is not a JSON object on one line; write {"command": "help"}, for example'
        raise Declined("bad_request", f"{quoted(line.decode(errors='replace').strip())} {text}")
    return request


def _error(code: str, text: str) -> dict[str, Any]:
    return {"error": text, "code": code}
