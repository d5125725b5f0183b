"""
How does a test run other programs, and leave none of them behind?

A `Stage` has a folder in the temporary directory, addresses that nobody else uses, and child processes.
What is put on it is taken down in the reverse order by the ``add_cleanup`` that it is given, a test
case's or a proof's.  A child dies with the process that started it, however that ends (`setpriv
--pdeathsig`), and is only ever ended by its own process id.

Every test process has a loopback address of its own, made from its process id: 127.64.0.0/10 has one
for each.  A port that the kernel gives there is free for as long as we want it, because connections
that others make begin at 127.0.0.1.  Of IPv6 there is ::1 alone, on which each test process has some ports
below those that the kernel gives away.  So nothing need be tried twice, and tests may run in parallel.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Union

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest

import proxyd
from tests.support.peer import SocketPeer

ROOT = Path(__file__).resolve().parent.parent.parent
# What another Python needs to import the proxyd that this one has, compiled or not, and these tests.
PYTHONPATH = os.pathsep.join((str(Path(proxyd.__file__).parent.parent), str(ROOT)))
PATIENCE = 60.0  # seconds for whatever a program is asked to do, unless more is given
LOOK_SECONDS = 0.02  # between two looks at what tells nobody that it has changed

Argument = Union[str, Path]


@frozen
class Place:
    """An address to listen on, as the daemon's configuration writes it: as a bind and as a server."""

    host: str
    port: int = 0

    @property
    def bind(self) -> str:
        """The address for ``bind =``."""
        if not self.port:
            return f"unix:{self.host}"
        if ":" in self.host:
            return f"tcp6:{self.port}:interface=[{self.host}]"
        return f"tcp:{self.port}:interface={self.host}"

    def __str__(self) -> str:
        if not self.port:
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def socket(self, source: str = "") -> socket.socket:
        """A blocking socket that is connected to it, from this address if one is given."""
        if not self.port:
            skt = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            skt.settimeout(PATIENCE)
            skt.connect(self.host)
            return skt
        return socket.create_connection((self.host, self.port), PATIENCE, (source, 0) if source else None)


@frozen
class Finished:
    """What came of a program."""

    status: int
    out: bytes
    err: bytes

    def __str__(self) -> str:
        said = (self.out[-2000:] + b"\n" + self.err[-4000:]).decode(errors="replace")
        return f"exit status {self.status}: {said}"


class Child(ProcessProtocol):
    """A child process, what it has said, and how it ended: its exit status, or minus the signal."""

    transport: Any

    def __init__(self, reactor: Any, name: str) -> None:
        self.name = name
        self.out = bytearray()
        self.err = bytearray()
        self.status: Optional[int] = None
        self._reactor = reactor
        self._exited: list[Deferred[int]] = []
        self._ended: list[Deferred[int]] = []
        self._waits: list[tuple[re.Pattern[bytes], Deferred[re.Match[bytes]]]] = []
        self._closed = False

    def __repr__(self) -> str:
        said = bytes(self.out[-2000:] + self.err[-4000:]).decode(errors="replace")
        return f"<{self.name} {self.status}: {said}>"

    @property
    def pid(self) -> int:
        """The process id."""
        assert self.status is None, f"{self!r} has ended"
        return int(self.transport.pid)

    def says(self, pattern: bytes, seconds: float = PATIENCE) -> Deferred[re.Match[bytes]]:
        """Fires when what was said on either stream matches; fails as soon as that cannot happen."""
        found: Deferred[re.Match[bytes]] = Deferred()
        self._waits.append((re.compile(pattern, re.MULTILINE), found))
        self._tell()
        return found.addTimeout(seconds, self._reactor, self._give_up(pattern.decode()))

    def exits(self, seconds: float = PATIENCE) -> Deferred[int]:
        """Fires with the status when the process is gone; others may still hold its output open."""
        return self._when(self._exited, self.status is not None, seconds)

    def ends(self, seconds: float = PATIENCE) -> Deferred[int]:
        """Fires with the status when the process is gone and all that was said has been read."""
        return self._when(self._ended, self._closed, seconds)

    def signal(self, name: str) -> None:
        """Send the signal, TERM for example."""
        self.transport.signalProcess(name)

    async def stop(self) -> None:
        """Kill it if it still runs."""
        if self.status is None:
            try:
                self.signal("KILL")
            except ProcessExitedAlready:
                pass  # and we are about to be told
            await self.exits()
        if not self._closed:
            self.transport.loseConnection()  # a grandchild may hold the pipes
            await self.ends()

    def _when(self, waits: list[Deferred[int]], now: bool, seconds: float) -> Deferred[int]:
        wait: Deferred[int] = Deferred()
        if now:
            wait.callback(self.status or 0)
            return wait
        waits.append(wait)
        return wait.addTimeout(seconds, self._reactor, self._give_up("its end"))

    def _give_up(self, what: str) -> Callable[[object, float], Any]:
        def give_up(result: object, seconds: float) -> Any:
            raise AssertionError(f"waited {seconds:g} s for {what} of {self!r}")

        return give_up

    def _tell(self) -> None:
        for wait in list(self._waits):
            pattern, found = wait
            match = pattern.search(self.out) or pattern.search(self.err)
            if match or self._closed or found.called:
                self._waits.remove(wait)
                if found.called:
                    continue
                if match:
                    found.callback(match)
                else:
                    found.errback(AssertionError(f"{pattern.pattern!r} was never said by {self!r}"))

    # What the reactor calls

    def outReceived(self, data: bytes) -> None:
        self.out += data
        if self._waits:
            self._tell()

    def errReceived(self, data: bytes) -> None:
        self.err += data
        if self._waits:
            self._tell()

    def processExited(self, reason: Failure) -> None:
        ended: Any = reason.value
        code, signal = ended.exitCode, ended.signal
        self.status = code if code is not None else -signal
        self._fire(self._exited)

    def processEnded(self, reason: Failure) -> None:
        self._closed = True
        self._fire(self._ended)
        self._tell()

    def _fire(self, waits: list[Deferred[int]]) -> None:
        assert self.status is not None
        for wait in waits:
            if not wait.called:
                wait.callback(self.status)
        waits.clear()


class Stage:
    """What one test or proof has set up."""

    def __init__(self, reactor: Any, add_cleanup: Callable[..., Any]) -> None:
        self.reactor = reactor
        self.add_cleanup = add_cleanup
        self.folder = Path(tempfile.mkdtemp(prefix="proxyd-test-"))
        self.folder.chmod(0o1777)  # it is the TMPDIR of servers that run as somebody else
        add_cleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def tcp(self) -> Place:
        """A free port on the address of this process."""
        return Place(_own_host(), _free_port(_own_host()))

    def tcp6(self) -> Place:
        """A free port on ::1 of those that this process has."""
        return Place("::1", _free_port6())

    def unix(self, name: str) -> Place:
        """A unix socket in the folder."""
        return Place(str(self.folder / name))

    def subfolder(self, name: str, user: str = "") -> Path:
        """A new folder, which belongs to the user if we are root."""
        made = self.folder / name
        made.mkdir()
        if user and os.geteuid() == 0:
            shutil.chown(made, user, user)
        return made

    def connect(self, place: Place, keep: bool = True, source: str = "") -> SocketPeer:
        """A client of the place, with this address if one is given; it is closed with the stage."""
        peer = SocketPeer(self.reactor, place.socket(source), keep)
        self.add_cleanup(peer.close)
        return peer

    def spawn(
        self,
        *arguments: Argument,
        user: str = "",
        feed: Optional[bytes] = b"",
        environment: Optional[Mapping[str, str]] = None,
        fds: Optional[Mapping[int, int]] = None,
        limit: int = 0,
        network: int = 0,
        capable: bool = True,
    ) -> Child:
        """
        Start a program, and end it with the stage.

        It runs in the folder, as ``user`` if we are root; ``feed`` is its standard input, ``fds`` are
        further descriptors by the number they get there, ``limit`` is its hard RLIMIT_NOFILE, ``network``
        a process in whose network it is (`tests.support.networks`).  Without ``capable`` it has no
        capability, whoever it is.  Of our environment it sees PATH alone, lest a PGHOST or http_proxy lead
        it astray.
        """
        command = ["nsenter", f"--net=/proc/{network}/ns/net"] if network else []
        command += ["setpriv", "--pdeathsig", "KILL"]
        if not capable and os.geteuid() == 0:
            command += ["--inh-caps=-all", "--bounding-set=-all"]
        if user and os.geteuid() == 0:
            command += ["--reuid", user, "--regid", user, "--clear-groups"]
        if limit:
            command += ["prlimit", f"--nofile={limit}:{limit}"]
        command += map(str, arguments)
        child = Child(self.reactor, Path(arguments[0]).name)
        self.reactor.spawnProcess(
            child,
            program(command[0], "util-linux"),
            command,
            env={
                "PATH": f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin",
                "HOME": str(self.folder),
                "LC_ALL": "C.UTF-8",
                "RES_OPTIONS": "timeout:1 attempts:1",  # a name server that is away costs no test more
                "TMPDIR": str(self.folder),
                **(environment or {}),
            },
            path=str(self.folder),
            childFDs={0: "w", 1: "r", 2: "r", **(fds or {})},
        )
        if feed is not None:
            child.transport.write(feed)
            child.transport.closeStdin()
        self.add_cleanup(lambda: Deferred.fromCoroutine(child.stop()))
        return child

    async def run(self, *arguments: Argument, seconds: float = PATIENCE, **how: Any) -> Finished:
        """Run a program to its end."""
        child = self.spawn(*arguments, **how)
        status = await child.ends(seconds)
        return Finished(status, bytes(child.out), bytes(child.err))

    async def check(self, *arguments: Argument, **how: Any) -> bytes:
        """Run a program that must succeed, and return what it printed."""
        finished = await self.run(*arguments, **how)
        assert finished.status == 0, f"{arguments}: {finished}"
        return finished.out

    async def until(self, true: Callable[[], Any], what: str, seconds: float = PATIENCE) -> None:
        """Look again and again, for what has no event to wait for: a file of another process."""
        for _ in range(int(seconds / LOOK_SECONDS)):
            if true():
                return
            await deferLater(self.reactor, LOOK_SECONDS)
        raise AssertionError(f"waited {seconds:g} s for {what}")


def program(name: str, package: str) -> str:
    """The path of a program; without it the test is skipped, and says which Debian package has it."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        raise SkipTest(f"{name} is missing: it is in the Debian package {package} (make services)")
    return path


def _own_host() -> str:
    pid = os.getpid()  # at most 22 bits, proc(5)
    return f"127.{64 + (pid >> 16)}.{pid >> 8 & 255}.{pid & 255}"


_given: set[int] = set()


_OWN_PORTS = 20
_LOWEST_PORT = 10_000  # and the highest is below 32,768, from where on the kernel gives them away

_turn = itertools.count()


def _free_port6() -> int:
    for _ in range(_OWN_PORTS):
        port = _LOWEST_PORT + os.getpid() % 1000 * _OWN_PORTS + next(_turn) % _OWN_PORTS
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as skt:
            skt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            try:
                skt.bind(("::1", port))
            except OSError:
                continue
        return port
    raise AssertionError("all ports of this process are in use on ::1")


def _free_port(host: str) -> int:
    while True:
        with socket.socket() as skt:
            skt.bind((host, 0))
            port = int(skt.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port
