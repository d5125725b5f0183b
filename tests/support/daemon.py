"""
How does a test start the real daemon, and look at it from outside?

`start` runs ``twistd -n tcpproxy`` in a child process, with metrics on a unix socket and an access log in
JSON, in a folder of its own.  What the daemon has open is read from /proc and from its own metrics, so
that a test can tell that nothing was left behind.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.support.case import AsyncCase
from tests.support.stage import LOOK_SECONDS, PYTHONPATH, Child, Place, Stage

TWISTD = Path(sys.executable).with_name("twistd")

SETTLE_SECONDS = 15.0


class Daemon:
    """A running daemon."""

    def __init__(self, stage: Stage, folder: Path, child: Child, front: Place) -> None:
        self.stage = stage
        self.folder = folder
        self.child = child
        self.front = front
        self._sockets = self.sockets()

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.child.out.decode(errors="replace") + self.child.err.decode(errors="replace")

    @property
    def access_log(self) -> Path:
        """The access log's file."""
        return self.folder / "access.log"

    def sockets(self) -> int:
        """How many sockets it has open."""
        return sum(link.startswith("socket:") for link in descriptors(self.child.pid))

    def resident(self) -> int:
        """How much of its memory is in RAM, bytes."""
        return status(self.child.pid, "VmRSS") * 1024

    async def metrics(self) -> dict[str, float]:
        """The samples of its metrics, by ``name{label="value",...}`` with the labels in order."""
        return samples(await self.metrics_text())

    async def metrics_text(self) -> str:
        """The metrics as Prometheus reads them."""
        peer = self.stage.connect(Place(str(self.folder / "metrics.sock")))
        peer.send(b"GET /metrics HTTP/1.0\r\n\r\n")
        answer = await peer.sees_end()
        peer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.split()[1] == b"200", answer
        return body.decode()

    async def open_connections(self) -> float:
        """How many connections its metrics say are open."""
        return sum(
            value
            for name, value in (await self.metrics()).items()
            if name.startswith("proxyd_connections_open{")
        )

    async def records(self, count: int) -> list[dict[str, Any]]:
        """The access log, once it has so many lines at least."""
        await self.stage.until(
            lambda: self.access_log.read_bytes().count(b"\n") >= count,
            f"{count} lines in {self.access_log.read_text()!r}",
        )
        return [json.loads(line) for line in self.access_log.read_text().splitlines()]

    async def record(self) -> dict[str, Any]:
        """The access log's only line."""
        [record] = await self.records(1)
        return record

    async def leaves_nothing(self) -> None:
        """Wait until the metrics say that none is relayed, and as many sockets are open as at the start."""
        now = 0.0
        for _ in range(int(SETTLE_SECONDS / LOOK_SECONDS)):
            now = await self.open_connections()
            if now == 0 and self.sockets() <= self._sockets:
                return
            await deferLater(self.stage.reactor, LOOK_SECONDS)
        raise AssertionError(
            f"{now:g} connections are open, and of {self._sockets} sockets at the start these are left: "
            f"{descriptors(self.child.pid)}"
        )

    async def stop(self) -> str:
        """Stop it in order, and return its log; a traceback in there is an error."""
        self.child.signal("TERM")
        ended = await self.child.ends()
        # Having stopped in order, twistd ends by the signal that it was sent, as a shell would see it.
        assert ended == -signal.SIGTERM, f"exit status {ended}: {self.log}"
        assert "Traceback" not in self.log and "Unhandled" not in self.log, self.log
        return self.log


class DaemonCase(AsyncCase):
    """A test with a daemon; when it is over, the daemon has nothing open, and stops in order."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.stage = Stage(reactor, self.addCleanup)

    async def relay(self, *servers: Place, front: Optional[Place] = None, **how: Any) -> Daemon:
        """A daemon that leads from a port, or from ``front``, to servers named a, b, c and so on."""
        return self._tended(await relay(self.stage, *servers, front=front, **how))

    async def start(self, sections: str, front: Place, **how: Any) -> Daemon:
        """A daemon with these sections."""
        return self._tended(await start(self.stage, sections, front, **how))

    async def route(self, pools: Mapping[str, Place], routes: Mapping[str, str], **how: Any) -> Daemon:
        """A daemon that leads to one of several pools, as `route` says."""
        return self._tended(await route(self.stage, pools, routes, **how))

    def _tended(self, daemon: Daemon) -> Daemon:
        self.addCleanup(lambda: Deferred.fromCoroutine(self._settle(daemon)))
        return daemon

    async def _settle(self, daemon: Daemon) -> None:
        if daemon.child.status is None:
            await daemon.leaves_nothing()
            await daemon.stop()


async def relay(
    stage: Stage,
    *servers: Place,
    front: Optional[Place] = None,
    proxyd: str = "",
    listener: str = "",
    pool: str = "",
    **how: Any,
) -> Daemon:
    """Start a daemon that leads to the servers; the texts are further lines of its sections."""
    front = front or stage.tcp()
    lines = [f"server {name} = {server}" for name, server in zip("abcdefgh", servers)]
    text = "\n".join(
        [
            "[listener front]",
            f"bind = {front.bind}",
            "pool = servers",
            listener,
            "[pool servers]",
            *lines,
            pool,
        ]
    )
    return await start(stage, text, front, proxyd, **how)


async def route(
    stage: Stage,
    pools: Mapping[str, Place],
    routes: Mapping[str, str],
    front: Optional[Place] = None,
    listener: str = "",
    **how: Any,
) -> Daemon:
    """
    Start a daemon with a server for each pool, and a route to a pool for each condition.

    A route is called like its pool.  The pool for the rest, if there is one, is a line of ``listener``.
    """
    front = front or stage.tcp()
    sections = [f"[listener front]\nbind = {front.bind}\n{listener}"]
    sections += [f"[pool {name}]\nserver {name} = {server}" for name, server in pools.items()]
    sections += [
        f"[route {name}]\nlistener = front\npool = {name}\n{condition}" for name, condition in routes.items()
    ]
    return await start(stage, "\n".join(sections), front, **how)


async def start(
    stage: Stage, sections: str, front: Place, proxyd: str = "", options: Sequence[str] = (), **how: Any
) -> Daemon:
    """Start a daemon with these sections, and ``proxyd`` as further lines of its first section."""
    folder = stage.folder / "daemon"
    folder.mkdir()
    config = folder / "proxy.ini"
    access_log = "" if "access_log" in proxyd else "access_log = access.log format=json"
    config.write_text(f"[proxyd]\nmetrics = unix:metrics.sock\n{proxyd}\n{access_log}\n{sections}\n")
    child = twistd(stage, "-n", "--pidfile=", *options, "tcpproxy", "--config", config, **how)
    await child.says(rb"proxyd [^:]+: \d+ listener")
    return Daemon(stage, folder, child, front)


def twistd(
    stage: Stage, *arguments: Any, environment: Optional[Mapping[str, str]] = None, **how: Any
) -> Child:
    """Run twistd with the proxyd that is tested."""
    return stage.spawn(
        TWISTD, *arguments, environment={"PYTHONPATH": PYTHONPATH, **(environment or {})}, **how
    )


def samples(text: str) -> dict[str, float]:
    """The samples of a page of metrics, as prometheus_client reads it."""
    return {
        sample.name
        + "{"
        + ",".join(f'{label}="{value}"' for label, value in sorted(sample.labels.items()))
        + "}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def descriptors(pid: int) -> list[str]:
    """What the descriptors of a process lead to."""
    folder = f"/proc/{pid}/fd"
    links = []
    for name in os.listdir(folder):
        try:
            links.append(os.readlink(f"{folder}/{name}"))
        except FileNotFoundError:
            pass  # closed meanwhile
    return links


def tcp_states(pid: int) -> list[str]:
    """The states of the TCP sockets of a process, by the names of tcp(7)'s TCP_INFO and of ss."""
    own = {link[len("socket:[") : -1] for link in descriptors(pid) if link.startswith("socket:")}
    states = {"01": "ESTABLISHED", "02": "SYN_SENT", "08": "CLOSE_WAIT", "0A": "LISTEN"}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return [states.get(row[3], row[3]) for row in rows if row[9] in own]


def status(pid: int, field: str) -> int:
    """The first number behind a field of /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise KeyError(field)
