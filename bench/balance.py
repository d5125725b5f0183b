"""
What does one choice of a server cost, for each way to balance and with how many servers?

``python -m bench.balance [--choices N] [NAME ...]`` prints microseconds for a connection: the choice, what
the balancer is told of it, and its end.  Of a thousand connections that are open at a time one ends in
each step.  Beside it stand what the first choice costs, when nothing is laid out yet, what one costs after a
server went down, and what a retry does.  The numbers are never a failure.
"""

from __future__ import annotations

import argparse
import gc
import time
from random import Random
from typing import Optional, Sequence

from proxyd.config.address import TcpAddress
from proxyd.config.balance import BALANCES, BalanceSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.policy.arrival import Arrival
from proxyd.policy.balance import make_balancer
from proxyd.policy.pool import Pool
from proxyd.policy.server import Server
from proxyd.policy.state import State

SIZES = (10, 100, 1000)
OPEN = 1000
CLIENTS = 5000

WAYS = (
    *(BalanceSpec(name) for name in BALANCES),
    BalanceSpec("hash", hash_balance_factor=125),
    BalanceSpec("maglev", hash_balance_factor=125),
)


class Trial:
    """A pool with so many servers, and connections that come and go."""

    def __init__(self, spec: BalanceSpec, size: int) -> None:
        self._dice = Random(1)
        self._time = 0.0
        most = OPEN // size + 1 if spec.name == "first" else 0
        servers = tuple(
            ServerSpec(f"s{n}", TcpAddress("10.0.0.1", n + 1), 1 + n % 4, max_connections=most)
            for n in range(size)
        )
        balancer = make_balancer(spec, self._dice.random, self._seconds)
        self.pool = Pool(PoolSpec("web", servers, spec), balancer)
        self._clients = [
            Arrival(f"2001:db8:{n:x}::1" if n % 2 else f"10.0.{n >> 8}.{n & 255}", n) for n in range(CLIENTS)
        ]
        self._open: list[Server] = []

    def _seconds(self) -> float:
        return self._time

    def run(self, choices: int) -> float:
        """Microseconds for each of so many connections; the first ones only open."""
        pool, dice, open_ones = self.pool, self._dice, self._open
        order = [self._clients[dice.randrange(CLIENTS)] for _ in range(choices)]
        ends = [dice.randrange(OPEN) for _ in range(choices)]
        began = time.perf_counter()
        for arrival, place in zip(order, ends):
            self._time += 0.0001
            server = pool.pick((), arrival if pool.by_client else None)
            assert server is not None
            server.open += 1
            if pool.timed is not None:
                pool.timed(server, 0.001)
            if len(open_ones) < OPEN:
                open_ones.append(server)
                continue
            ended, open_ones[place] = open_ones[place], server
            ended.open -= 1
            if pool.released is not None:
                pool.released(ended, 1000)
        return (time.perf_counter() - began) / choices * 1e6

    def after_a_change(self) -> float:
        """Microseconds for the first choice after a server went down, or came up again."""
        server = self.pool.servers[0]
        began = time.perf_counter()
        for turn in range(20):
            self.pool.turned(server, State.UP if turn % 2 else State.DOWN, "", 0.0)
            self.pool.pick((), self._clients[turn])
        return (time.perf_counter() - began) / 20 * 1e6

    def retry(self) -> float:
        """Microseconds for a choice that failed, and the one of another server."""
        began = time.perf_counter()
        for turn in range(200):
            first = self.pool.pick((), self._clients[turn])
            assert first is not None
            self.pool.pick([first], self._clients[turn])
        return (time.perf_counter() - began) / 200 * 1e6


def row(spec: BalanceSpec, choices: int) -> str:
    """What is known of one way to balance."""
    name = f"{spec.name} {spec.hash_balance_factor}%" if spec.hash_balance_factor else spec.name
    usual = []
    for size in SIZES:
        trial = Trial(spec, size)
        first = trial.run(1)
        trial.run(OPEN)
        usual.append(trial.run(choices))
    cells = [*usual, first, trial.after_a_change(), trial.retry()]
    return f"{name:14}" + "".join(f"{cell:10.1f}" for cell in cells)


def main(words: Optional[Sequence[str]] = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="bench.balance", description="What does one choice cost?")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BALANCES)}; all if none")
    parser.add_argument("--choices", type=int, default=50_000, help="for each number")
    asked = parser.parse_args(words)
    for name in asked.names:
        if name not in BALANCES:
            parser.error(f"{name} is not known; there are {', '.join(BALANCES)}")
    gc.disable()
    sizes = "".join(f"{size:>10}" for size in SIZES)
    print(f"µs; servers:  {sizes}{'the first':>10}{'a change':>10}{'a retry':>10}   (with {SIZES[-1]})")
    for spec in WAYS:
        if not asked.names or spec.name in asked.names:
            print(row(spec, asked.choices), flush=True)


if __name__ == "__main__":
    main()
