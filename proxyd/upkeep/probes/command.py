"""
Does a program of the operator's find that the server works?

It is run without a shell, in a session of its own, so that whatever it has started ends with it.  What it
says is read and forgotten but for the end.
"""

from __future__ import annotations

import os
import shutil
import signal
from typing import Any, Iterator, Mapping

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from proxyd.config.address import TcpAddress, UnixAddress
from proxyd.config.probes import CommandAsk
from proxyd.upkeep.probes.conversation import CLOSING_SECONDS, Call, Failed, Unable, shown

MOST_PROCESSES = 16  # at a time; each is worth some MB, and a fork stops the daemon for a millisecond
MOST_KEPT = 4096  # bytes of the end of what it says

_SETSID = "setsid"  # of util-linux; spawnProcess gives no session, and after the exec it is too late for us
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def faults(ask: CommandAsk) -> Iterator[str]:
    """Why it could not be run, as far as that can be known before."""
    if shutil.which(_SETSID) is None:
        yield f"{_SETSID}, a program of util-linux, is missing"
    if not ask.can_be_run:
        yield f"{ask.path} is not a program that can be run"


async def probe(call: Call, ask: CommandAsk) -> str:
    """Pass when it exits with 0; otherwise its last line says why."""
    for fault in faults(ask):
        raise Unable(fault)
    call.awaited = "end of the command"
    try:
        await call.processes.acquire()
    except CancelledError:
        raise Unable(f"{call.processes.limit} other commands were running all the time") from None
    try:
        return await _run(call, ask)
    finally:
        call.processes.release()


async def _run(call: Call, ask: CommandAsk) -> str:
    child = _Child()
    arguments = [shutil.which(_SETSID) or _SETSID, ask.path, *_arguments(call, ask)]
    try:
        call.reactor.spawnProcess(child, arguments[0], arguments, env=_environment(call), path="/")
    except OSError as failed:
        raise Unable(f"{ask.path} cannot be started: {failed.strerror}") from None
    try:
        ended = await child.exited
    finally:
        child.kill()
        await child.let_go(call.reactor)
    if ended.exitCode != 0:
        code, number = ended.exitCode, ended.signal
        how = f"exited with {code}" if code is not None else f"was ended by signal {number}"
        last = child.last_line()
        raise Failed(f"{how}: {shown(last)}" if last else how)
    return ""


def _arguments(call: Call, ask: CommandAsk) -> list[str]:
    values = {f"{{{name}}}": value for name, value in _facts(call).items()}
    found = []
    for argument in ask.arguments:
        for name, value in values.items():
            argument = argument.replace(name, value)
        found.append(argument)
    return found


def _environment(call: Call) -> Mapping[str, str]:
    """What the program is told of the server; the names are those of HAProxy's external-check."""
    facts = _facts(call)
    return {
        "PATH": os.environ.get("PATH", _PATH),
        "PROXYD_POOL_NAME": facts["pool"],
        "PROXYD_SERVER_NAME": facts["server"],
        "PROXYD_SERVER_ADDR": facts["address"],
        "PROXYD_SERVER_PORT": facts["port"],
    }


def _facts(call: Call) -> dict[str, str]:
    """What there is to know of the server."""
    address = call.place
    names = {"pool": call.pool, "server": call.server}
    if isinstance(address, TcpAddress):
        return {**names, "address": address.host, "port": str(address.port)}
    return {
        **names,
        "address": address.path if isinstance(address, UnixAddress) else str(address),
        "port": "",
    }


class _Child(ProcessProtocol):
    """The program while it runs."""

    transport: Any

    def __init__(self) -> None:
        self.exited: Deferred[Any] = Deferred()
        self._ended: Deferred[None] = Deferred()
        self._group = 0
        self._tail = b""

    def last_line(self) -> bytes:
        """The last line that it has said and that is not blank."""
        lines = [line for line in self._tail.splitlines() if line.strip()]
        return lines[-1].strip() if lines else b""

    def kill(self) -> None:
        """End it and all that it has started and that is still there."""
        try:
            os.killpg(self._group, signal.SIGKILL)
        except OSError:
            if self.transport.pid:  # it has not got to its session yet
                self.transport.signalProcess("KILL")

    async def let_go(self, reactor: Any) -> None:
        """Wait until its last words are read, unless one of its own has fled and may go on talking."""
        try:
            await self._ended.addTimeout(CLOSING_SECONDS, reactor)
        except (CancelledError, TimeoutError):
            self.transport.loseConnection()

    # What Twisted calls

    def connectionMade(self) -> None:
        self._group = self.transport.pid
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-MOST_KEPT:]

    errReceived = outReceived

    def processExited(self, reason: Failure) -> None:
        if not self.exited.called:
            self.exited.callback(reason.value)

    def processEnded(self, reason: Failure) -> None:
        if not self._ended.called:
            self._ended.callback(None)
