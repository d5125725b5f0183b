"""What do clients see when servers die, hang and come back under load, and what does a restart remember?"""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from tests.support.daemon import Daemon, DaemonCase, twistd
from tests.support.services import redis
from tests.support.stage import Place, Stage

PING, PONG = b"PING\r\n", b"+PONG\r\n"

CLIENT_EVERY = 0.02  # seconds

CHECK = "redis interval=1s timeout=900ms fall=2"


class Load:
    """Clients who come at a steady rate, whatever becomes of those before; each asks once and goes."""

    def __init__(self, stage: Stage, front: Place) -> None:
        self.answered = 0
        self.failed = 0
        self._stage = stage
        self._front = front
        self._open = 0
        self._loop = LoopingCall(self._come)
        self._loop.start(CLIENT_EVERY)
        stage.add_cleanup(self._end)

    def _come(self) -> None:
        self._open += 1
        Deferred.fromCoroutine(self._ask())

    async def _ask(self) -> None:
        peer = self._stage.connect(self._front)
        peer.send(PING)
        try:
            await peer.receives(len(PONG))
            self.answered += 1
        except AssertionError:
            self.failed += 1
        peer.close()
        self._open -= 1

    async def serves(self, more: int) -> None:
        """Wait until so many more have been answered."""
        wanted = self.answered + more
        await self._stage.until(lambda: self.answered >= wanted, f"{more} more answers")

    async def stop(self) -> None:
        """Let nobody else come, and wait for those who have."""
        self._end()
        await self._stage.until(lambda: not self._open, "the last clients to go")

    def _end(self) -> None:
        if self._loop.running:
            self._loop.stop()


def started(record: dict[str, Any]) -> float:
    """When the client came, in seconds since the epoch."""
    return datetime.fromisoformat(record["started"].replace("Z", "+00:00")).timestamp()


class UnderLoad(DaemonCase):
    """Three servers with a check that speaks their protocol."""

    async def test_killed_and_stopped(self) -> None:
        """
        One is killed and one hangs: soon no new connection goes to either, and the killed one fails only
        those that it was serving.  When they are back they get their share step by step.
        """
        a, b, c = [await redis(self.stage) for _ in range(3)]
        daemon = await self.relay(
            a.place,
            b.place,
            c.place,
            pool=f"balance = roundrobin\ncheck = {CHECK}\non_down = close\nslow_start = 4s",
        )
        for name in "abc":
            await daemon.child.says(rf"server {name} \S+ is up".encode())
        load = Load(self.stage, daemon.front)
        await load.serves(60)
        self.assertEqual(load.failed, 0)

        fell = time.time()
        b.child.signal("KILL")
        c.child.signal("STOP")
        await b.child.exits()
        dead = time.time()
        for name in "bc":
            await daemon.child.says(rf"server {name} \S+ is down".encode())
        known = time.time()
        await load.serves(60)
        records = await daemon.records(load.answered + load.failed)
        late = [record for record in records if started(record) > known]
        self.assertEqual({(record["server"], record["retries"]) for record in late}, {("a", 0)})
        failed = [record for record in records if record["reason"] != "client_finished"]
        self.assertEqual(len(failed), load.failed)
        for record in failed:
            self.assertGreater(started(record) + record["total_seconds"], fell)
            self.assertLess(started(record), dead if record["server"] == "b" else known)
            self.assertIn(record["server"], "bc")
        self.assertLess(len(failed), (known - fell) / CLIENT_EVERY)

        os.kill(c.child.pid, signal.SIGCONT)
        await redis(self.stage, b.place)
        failures = load.failed
        for name in "bc":
            await self.comes_back(daemon, name)
        await load.stop()
        self.assertEqual(load.failed, failures)

    async def comes_back(self, daemon: Daemon, name: str) -> None:
        """The server is up again, and its weight grows to what it was."""
        back = rf"server {name} \S+ is up: check passed \(2 checks in a row\)".encode()
        await daemon.child.says(back)
        weights = [0.0]
        while weights[-1] < 1.0:
            samples = await daemon.metrics()
            weights.append(samples[f'proxyd_server_effective_weight{{pool="servers",server="{name}"}}'])
        self.assertEqual(weights, sorted(weights))
        if name == "b":  # the other may have been up for long by then
            self.assertLess(weights[1], 1.0)


class Restart(DaemonCase):
    """What a process knows of the one before."""

    async def test_knows_who_is_down(self) -> None:
        """A server that was found down is down after a restart, before anybody has looked."""
        web = await redis(self.stage)
        gone = self.stage.tcp()
        state = self.stage.folder / "state"
        state.mkdir()
        first = await self.relay(
            gone, web.place, proxyd=f"state = {state}", pool="balance = roundrobin\ncheck = redis interval=1s"
        )
        await first.child.says(rb"server a \S+ is down")
        await first.child.says(rb"server b \S+ is up")
        await first.stop()
        config = first.folder / "proxy.ini"
        config.write_text(config.read_text().replace("interval=1s", "interval=1h"))
        child = twistd(self.stage, "-n", "--pidfile=", "tcpproxy", "--config", config)
        await child.says(rb"server a \S+ is down as before, weight 1: connection refused")
        second = self._tended(Daemon(self.stage, first.folder, child, first.front))
        for _ in range(3):
            peer = self.stage.connect(second.front)
            peer.send(PING)
            await peer.receives(len(PONG))
            peer.close()
        for record in (await second.records(3))[-3:]:
            self.assertEqual((record["server"], record["retries"]), ("b", 0))


class Unchecked(DaemonCase):
    """Servers that nobody checks."""

    async def test_killed(self) -> None:
        """One that is killed is soon left alone, though nobody checks it; it is tried again, and serves."""
        a, b = [await redis(self.stage) for _ in range(2)]
        daemon = await self.relay(
            a.place, b.place, pool="balance = roundrobin\neject = 3 time=10s\nslow_start = 0s"
        )
        load = Load(self.stage, daemon.front)
        await load.serves(20)
        b.child.signal("KILL")
        await daemon.child.says(
            rb"server b \S+ is ejected: 3 connections in a row came to nothing, .*refused"
        )
        await load.serves(10)
        failed = load.failed  # those that it was serving, who know by now
        again = await redis(self.stage, b.place)
        await daemon.child.says(rb"server b \S+ is up: the time of its ejection is over")
        await load.serves(20)
        self.assertIs(again.child.status, None)
        await load.stop()
        self.assertEqual(load.failed, failed)
        records = await daemon.records(load.answered + load.failed)
        self.assertLessEqual(sum(record["retries"] for record in records), 3)
        self.assertEqual({record["server"] for record in records[-10:]}, {"a", "b"})
