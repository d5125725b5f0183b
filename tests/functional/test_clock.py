"""The clock on the wall is set while the daemon runs: do timeouts come in time, and does the log follow?"""

from __future__ import annotations

import glob
import json
import os
from datetime import datetime
from pathlib import Path
from time import time
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.support.daemon import Daemon, DaemonCase, start
from tests.support.echo import EchoFactory
from tests.support.peer import Ended, SocketPeer
from tests.support.stage import Place

HOUR = 3600
CLOSE = 600  # seconds by which times of a busy machine may differ, and which are no hour


def faketime() -> str:
    """The library that gives a program another time, where the program has threads."""
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not found:
        raise SkipTest("libfaketime is missing: it is in the Debian package faketime (make services)")
    return found[0]


class ClockTests(DaemonCase):
    """A daemon whose clock on the wall, and that alone, is what a file says."""

    async def serve(self) -> tuple[Daemon, Place]:
        """A daemon with one listener whose clients may be silent for ten minutes, and one for a second."""
        port = self.stage.reactor.listenTCP(0, EchoFactory(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.file = Path(self.stage.folder / "time")
        self.file.write_text("+0\n")
        self.state = self.stage.folder / "state"
        self.state.mkdir()
        patient, brief = self.stage.tcp(), self.stage.tcp()
        sections = "\n".join(
            [
                f"[listener patient]\nbind = {patient.bind}\npool = echo\nidle_timeout = 10m",
                f"[listener brief]\nbind = {brief.bind}\npool = echo\nidle_timeout = 1s",
                f"[pool echo]\nserver a = 127.0.0.1:{port.getHost().port}",
            ]
        )
        environment = {
            "LD_PRELOAD": faketime(),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        proxyd = f"state = {self.state}"
        daemon = await start(self.stage, sections, patient, proxyd, environment=environment)
        return self._tended(daemon), brief

    async def set(self, daemon: Daemon, seconds: int) -> None:
        """Set the clock, and see that it is noticed."""
        beside = self.stage.folder / "time.new"
        beside.write_text(f"{seconds:+d}\n")
        os.rename(beside, self.file)
        way = "forward" if seconds > 0 else "back"
        await daemon.child.says(rb"the clock was set %s by (3599\.9\d\d|3600\.0\d\d) s" % way.encode())

    async def talk(self, peer: SocketPeer) -> None:
        """A client that is served."""
        before = peer.count
        peer.send(b"hello")
        await peer.receives(before + 5)

    async def is_cut(self, peer: SocketPeer) -> None:
        await peer.sees_end()
        self.assertIs(peer.ended, Ended.END)

    def ago(self, record: dict[str, Any]) -> float:
        """How long ago a connection began, by our clock on the wall."""
        return time() - datetime.strptime(f"{record['started']}+0000", "%Y-%m-%dT%H:%M:%S.%fZ%z").timestamp()

    async def test_back(self) -> None:
        """A clock that is set back by an hour holds up no timeout; logs and files have the new time."""
        daemon, brief = await self.serve()
        waiting = self.stage.connect(brief)
        await self.talk(waiting)
        await self.set(daemon, -HOUR)
        late = self.stage.connect(brief)
        await self.talk(late)
        await self.is_cut(waiting)
        await self.is_cut(late)
        first, second = await daemon.records(2)
        self.assertEqual([first["reason"], second["reason"]], ["idle_timeout"] * 2)
        self.assertLess(abs(self.ago(second) - HOUR), CLOSE)
        self.assertLess(second["total_seconds"], CLOSE)
        await daemon.stop()
        written = json.loads((self.state / "servers.json").read_text())["written"]
        self.assertLess(abs(time() - HOUR - written), CLOSE)

    async def test_forward(self) -> None:
        """A clock that is set forward by an hour ends nothing before its time."""
        daemon, brief = await self.serve()
        patient = self.stage.connect(daemon.front)
        await self.talk(patient)
        await self.set(daemon, HOUR)
        waiting = self.stage.connect(brief)
        await self.talk(waiting)
        await self.is_cut(waiting)  # so deadlines were served meanwhile
        await self.talk(patient)
        patient.close()
        first, second = await daemon.records(2)
        self.assertEqual([first["reason"], second["reason"]], ["idle_timeout", "client_finished"])
        self.assertLess(abs(self.ago(second) + HOUR), CLOSE)
        self.assertLess(second["total_seconds"], CLOSE)
