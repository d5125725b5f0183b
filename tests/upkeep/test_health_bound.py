"""Is a server that dies or hangs left alone within ``fall`` times interval, a fifth of it, and timeout?"""

from __future__ import annotations

from random import Random

from proxyd.config.address import TcpAddress
from proxyd.config.health import CheckSpec
from proxyd.relay.stock import Stock
from proxyd.upkeep.health import HealthChecks
from tests.support.walltime import SetTime
from tests.upkeep.checking import InMemory, pool_of

STEP = 1 / 64  # seconds


class Bound(InMemory):
    def seconds_until_down(self, spec: CheckSpec, dice: Random, hangs: bool) -> float:
        """How long a server that has worked for some time is up when it does no more."""
        self.setUp()
        self.pool = pool_of(TcpAddress("10.0.0.1", 80), TcpAddress("10.0.0.2", 80), check=spec)
        wall = SetTime(self.reactor.seconds)
        checks = HealthChecks(self.reactor, wall, dice.random, Stock(self.reactor), [self.pool])
        checks.start()
        served, steps, fails_at = 0, 0, int((3 + 2 * dice.random()) * spec.interval / STEP)
        a = self.pool.servers[0]
        while self.pool.serves(a) or steps <= fails_at:
            self.reactor.advance(STEP)
            steps += 1
            for place in range(served, self.attempts()):
                if self.reactor.tcpClients[place][0] == "10.0.0.2" or steps <= fails_at:
                    self.accept(place=place)
                elif not hangs:
                    self.refuse(place)
            served = self.attempts()
        self.assertStill(checks)
        return (steps - fails_at) * STEP

    def test_bound(self) -> None:
        """Whenever it happens, whatever the numbers are, and whether it refuses or says nothing more."""
        dice = Random(5)
        worst = 0.0
        for number in range(60):
            interval = dice.choice((1.0, 2.0, 5.0))
            spec = CheckSpec(
                interval=interval,
                timeout=interval * dice.choice((0.1, 0.4, 0.9)),
                fall=dice.choice((1, 2, 3)),
                fast=dice.choice((None, interval / 4)),
            )
            found = self.seconds_until_down(spec, dice, hangs=number % 3 > 0)
            share = found / (spec.fall * (interval * 1.2 + spec.timeout))
            self.assertLessEqual(share, 1.0 + STEP, (spec, found))
            worst = max(worst, share)
        self.assertGreater(worst, 0.6)  # it is no bound that nothing comes near
