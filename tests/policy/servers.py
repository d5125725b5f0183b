"""What do the tests of the balancers choose from, and how do connections come and go?"""

from __future__ import annotations

from collections import Counter
from random import Random as Dice
from typing import Any, Optional, Sequence

from proxyd.config.address import TcpAddress
from proxyd.config.balance import BalanceSpec
from proxyd.interfaces import IBalancer, ICounting
from proxyd.policy.arrival import Arrival
from proxyd.policy.balance import make_balancer
from proxyd.policy.lots import Chance
from proxyd.policy.server import Server
from proxyd.policy.slowstart import FULL


def servers(*weights: int) -> list[Server]:
    """Servers a, b, c … of these weights; a name is one letter, whatever the alphabet."""
    return [
        Server(chr(ord("a") + n), TcpAddress("10.0.0.1", 1000 + n), weight)
        for n, weight in enumerate(weights)
    ]


def weigh(server: Server, weight: int) -> None:
    """Give it another weight, of which it has its full share."""
    server.weight, server.share = weight, weight * FULL


def names(balancer: IBalancer, among: list[Server], times: int) -> str:
    """The names of so many choices; no connection is opened."""
    return "".join(balancer.choose(among).name for _ in range(times))


def draws(*values: float) -> Chance:
    """Chance that is none."""
    return iter(values).__next__


def always(value: float) -> Chance:
    """Chance that says the same for ever."""
    return lambda: value


def no_chance() -> float:
    """What must not be asked."""
    raise AssertionError("nothing here is left to chance")


class Hours:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = 1000.0

    def seconds(self) -> float:
        return self.time


def made(name: str, chance: Chance, hours: Optional[Hours] = None, **parameters: Any) -> IBalancer:
    """The balancer of a name."""
    clock = hours or Hours()
    balancer: IBalancer = make_balancer(BalanceSpec(name, **parameters), chance, clock.seconds)
    return balancer


def client(number: int) -> Arrival:
    """One of many clients, each with an address of its own."""
    return Arrival(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 40000)


def end(balancer: IBalancer, server: Server, moved: int = 0) -> None:
    """A connection ends, and the balancer is told if it wants to be."""
    server.open -= 1
    if ICounting.providedBy(balancer):
        balancer.released(server, moved)


def busy(balancer: IBalancer, among: list[Server], dice: Dice, connections: int, held: int) -> Counter[str]:
    """
    How often each was chosen, of so many connections, of which ``held`` are open at a time.

    They end in any order.  Each is of a client of its own.
    """
    chosen: Counter[str] = Counter()
    open_ones: list[Server] = []
    for number in range(connections):
        if len(open_ones) >= held:
            place = dice.randrange(len(open_ones))
            open_ones[place], open_ones[-1] = open_ones[-1], open_ones[place]
            end(balancer, open_ones.pop(), 1000)
        server = balancer.choose(among, (), client(number))
        server.open += 1
        open_ones.append(server)
        chosen[server.name] += 1
    for server in open_ones:
        end(balancer, server, 1000)
    return chosen


def off_share(chosen: Counter[str], among: Sequence[Server]) -> float:
    """By what part of its share by weight the worst server is off."""
    whole, weights = sum(chosen.values()), sum(server.weight for server in among)
    return max(abs(chosen[server.name] * weights / (whole * server.weight) - 1) for server in among)
