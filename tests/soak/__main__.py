"""
Does a daemon that has been busy for an hour hold more than one that has just begun?

``python -m tests.soak --minutes 60`` relays through a real daemon whatever `tests.soak.talk` has, many
conversations at once and each chosen by chance; every byte is checked.  After a tenth of the time (the
warm-up) and at the end it lets all connections end, and compares.  Each minute it prints what the daemon
has, and what was done.  The exit status is 1 if a byte was wrong, a descriptor was left, memory has grown
by more than `GROWTH`, or the daemon has logged a fault.
"""

from __future__ import annotations

import argparse
from collections import Counter
from random import Random
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.task import LoopingCall

from proxyd.relay.lane.pipes import MOST_PIPES
from tests.proof._footing import MIB, prove
from tests.soak.talk import CONVERSATIONS, Client, ServerFactory
from tests.support.daemon import Daemon, descriptors, relay
from tests.support.peer import SocketPeer
from tests.support.stage import Place, Stage

AT_ONCE = 48  # conversations

WARM_UP = 0.1  # of the time; the allocator, the caches and the pool of pipes find their size in it

GROWTH = 4 * MIB  # bytes resident, beyond what there was after the warm-up

IDLE_SECONDS = 6  # the daemon's idle_timeout, and half as much for half-closed connections
SLOW_SECONDS = 1.0  # for how long a client may stall, and may do so twice; well below both

MINUTE = 60.0


@frozen
class Holding:
    """What the daemon has when nobody is connected; the pool may keep pipes, as many as it likes."""

    resident: int
    pipes: int
    others: int

    def __str__(self) -> str:
        return f"{self.resident / MIB:.1f} MiB resident, {self.others} descriptors, {self.pipes} of pipes"


def holding(daemon: Daemon) -> Holding:
    """What the daemon has now."""
    links = descriptors(daemon.child.pid)
    pipes = sum(link.startswith("pipe:") for link in links)
    return Holding(daemon.resident(), pipes, len(links) - pipes)


class Soak:
    """The load."""

    def __init__(self, stage: Stage, daemon: Daemon, seed: int) -> None:
        self.stage = stage
        self.daemon = daemon
        self.seed = seed
        self.done: Counter[str] = Counter()
        self.began = stage.reactor.seconds()
        self._clients = 0

    def connect(self, keep: bool) -> SocketPeer:
        """A connection to the daemon, which whoever asks for it ends."""
        return SocketPeer(self.stage.reactor, self.daemon.front.socket(), keep)

    async def load(self, seconds: float) -> None:
        """Keep so many conversations going for so long, and let the last ones end."""
        end = self.stage.reactor.seconds() + seconds
        talks = [Deferred.fromCoroutine(self.talk(end)) for _ in range(AT_ONCE)]
        try:
            await gatherResults(talks, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()

    async def talk(self, end: float) -> None:
        """One conversation after another."""
        self._clients += 1
        random = Random(f"{self.seed} {self._clients}")
        client = Client(self.stage.reactor, random, self.connect, SLOW_SECONDS)
        weights = [weight for weight, _ in CONVERSATIONS]
        while self.stage.reactor.seconds() < end:
            _, conversation = random.choices(CONVERSATIONS, weights)[0]
            try:
                await conversation(client)
            except Exception as error:
                raise AssertionError(f"{conversation.__name__} failed: {error}") from error
            self.done[conversation.__name__] += 1

    def report(self) -> None:
        """Print a line."""
        minutes = (self.stage.reactor.seconds() - self.began) / MINUTE
        done = ", ".join(f"{count} {name}" for name, count in sorted(self.done.items()))
        print(f"{minutes:5.1f} min: {holding(self.daemon)}; {done}")

    async def at_rest(self) -> Holding:
        """What the daemon has once all connections have ended."""
        await self.daemon.leaves_nothing()
        found = holding(self.daemon)
        self.report()
        return found


async def soak(stage: Stage, minutes: float, seed: int) -> str:
    """Run it; return what was found in a line, or fail."""
    port: Any = stage.reactor.listenTCP(0, ServerFactory(), backlog=511, interface=stage.tcp().host)
    stage.add_cleanup(port.stopListening)
    server = port.getHost()
    daemon = await relay(
        stage,
        Place(server.host, server.port),
        proxyd="access_log = /dev/null format=json",
        listener=f"idle_timeout = {IDLE_SECONDS}s\nhalf_closed_timeout = {IDLE_SECONDS // 2}s",
    )
    print(f"{minutes:g} minutes, {AT_ONCE} conversations at once, --seed {seed}")
    load = Soak(stage, daemon, seed)
    reports = LoopingCall(load.report)
    reports.clock = stage.reactor
    reports.start(MINUTE, now=False)
    await load.load(WARM_UP * minutes * MINUTE)
    before = await load.at_rest()
    await load.load((1 - WARM_UP) * minutes * MINUTE)
    after = await load.at_rest()
    reports.stop()
    for name, count in sorted((await daemon.metrics()).items()):
        if name.startswith("proxyd_connections_total{"):
            print(f"{count:10g} {name}")
            assert 'reason="internal"' not in name, "the daemon has met a fault of its own"
    print(f"after the warm-up: {before}")
    print(f"at the end:        {after}; {GROWTH / MIB:g} MiB more would be allowed")
    assert after.others <= before.others, "descriptors were left behind"
    assert after.pipes <= before.pipes + 2 * MOST_PIPES, "pipes were left behind"
    assert after.resident - before.resident <= GROWTH, "memory has grown"
    await daemon.stop()
    grown = (after.resident - before.resident) / MIB
    return f"{sum(load.done.values())} conversations, every byte right; {grown:+.1f} MiB, no descriptor left"


def main() -> None:
    """Read the options, and run it."""
    parser = argparse.ArgumentParser("tests.soak", description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (%(default)g)")
    parser.add_argument("--seed", type=int, default=1, help="of all chance (%(default)d)")
    options = parser.parse_args()
    prove(lambda stage: soak(stage, options.minutes, options.seed))


if __name__ == "__main__":
    main()
