"""Does a simulation do what the daemon would have done?"""

from __future__ import annotations

from random import Random
from typing import Any

from attrs import evolve

from proxyd.config.address import TcpAddress
from proxyd.config.balance import BALANCES, BalanceSpec
from proxyd.config.health import CheckSpec
from proxyd.config.listener import ListenerSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.queue import QueueSpec
from proxyd.policy.accesslog import Logged
from proxyd.policy.simulate import Imbalance, Loss, Outcome, Simulation
from proxyd.policy.traffic import Lasting, Traffic, arrivals
from tests.policy.servers import no_chance
from tests.support.case import Case

CHECKS = (CheckSpec(interval=5.0, fall=3, rise=2),)


def pool(*weights: int, balance: str = "roundrobin", **values: Any) -> PoolSpec:
    """A pool with servers a, b, c and so on, of these weights."""
    servers = tuple(
        ServerSpec(chr(ord("a") + n), TcpAddress("10.0.0.1", n + 1), weight)
        for n, weight in enumerate(weights)
    )
    return PoolSpec("web", servers, **{"balance": BalanceSpec(balance), **values})


def came(started: float, seconds: float = 1.0, **values: Any) -> Logged:
    """A connection as a log tells of it."""
    ordinary = Logged(started, seconds, 0.001, 10, 90, "10.0.0.9:40312", "", "l", "web", "a")
    return ordinary._replace(**values)


def outcome(spec: PoolSpec, *clients: Logged, losses: tuple[Loss, ...] = ()) -> Outcome:
    """What becomes of these clients."""
    simulation = Simulation(spec, Random(1).random, losses)
    for client in clients:
        simulation.arrive(client)
    return simulation.outcome()


def each(found: Outcome, name: str) -> list[Any]:
    """A number of each server."""
    return [getattr(load, name) for load in found.loads]


class SimulationTests(Case):
    def test_one_after_the_other(self) -> None:
        """Connections are counted where they go, for as long as they last, with what they move."""
        found = outcome(pool(1, 1), came(100), came(100.5), came(102), came(104, 5, bytes_out=0))
        self.assertEqual(each(found, "connections"), [2, 2])
        self.assertEqual(each(found, "peak"), [1, 1])
        self.assertEqual(each(found, "open_seconds"), [2.0, 1.0])  # the last had just come
        self.assertEqual(each(found, "bytes_in"), [20, 20])
        self.assertEqual(each(found, "bytes_out"), [180, 90])
        self.assertEqual((found.arrivals, found.seconds, found.retries), (4, 4.0, 0))

    def test_at_the_same_time(self) -> None:
        """What ends when a client comes has ended before it; what lasts is there."""
        self.assertEqual(each(outcome(pool(1), came(0, 2), came(1, 2), came(2, 2)), "peak"), [2])
        self.assertEqual(each(outcome(pool(1), came(5, 0), came(5, 0), came(5, 0)), "peak"), [1])

    def test_goes_by_what_is_open(self) -> None:
        """A balancer that counts sees connections come and end."""
        long, short = came(0, 100), came(1, 1)
        found = outcome(
            pool(1, 1, balance="leastconn"), long, *(short._replace(started=2.0 * n) for n in range(1, 9))
        )
        self.assertEqual(each(found, "connections"), [1, 8])

    def test_goes_by_the_client(self) -> None:
        """A balancer that goes by clients is told of them."""
        spec = pool(1, 1, 1, balance="source")
        found = outcome(spec, *(came(n, client=f"10.0.0.7:{n}") for n in range(30)))
        self.assertEqual(sorted(each(found, "connections")), [0, 0, 30])
        found = outcome(spec, *(came(n, client=f"10.0.{n}.7:5") for n in range(200)))
        self.assertGreater(min(each(found, "connections")), 30)

    def test_goes_by_time(self) -> None:
        """A server takes as long to be reached as it took in the log, whoever had the connection there."""
        seen = [came(n / 10, 0.1, server="ab"[n % 2], connect=(0.001, 0.1)[n % 2]) for n in range(2000)]
        found = outcome(pool(1, 1, balance="leasttime"), *seen)
        self.assertGreater(found.loads[0].connections, 20 * found.loads[1].connections)

    def test_goes_by_bytes(self) -> None:
        """A server that has moved much gets less until that is forgotten."""
        first = came(0, 0.5, bytes_out=10**9)
        found = outcome(
            pool(1, 1, balance="leastbytes"), first, *(came(1 + n / 100, 0.01) for n in range(500))
        )
        self.assertEqual(sorted(each(found, "connections")), [1, 500])

    def test_weights(self) -> None:
        """Every way that heeds weights meets them."""
        clients = list(arrivals(Traffic(6000, clients=6000), Random(1).random))
        for name in BALANCES:
            if name != "first":
                found = outcome(pool(1, 2, 3, balance=name), *clients)
                of_mean = found.imbalance(lambda load: load.connections)
                self.assertLess(of_mean.worst, 1.2, name)

    def test_the_same_again(self) -> None:
        """The same dice give the same outcome."""
        clients = list(arrivals(Traffic(500), Random(1).random))
        for name in BALANCES:
            one, other = (outcome(pool(1, 2, 3, balance=name), *clients) for _ in "xx")
            self.assertEqual(each(one, "connections"), each(other, "connections"), name)

    def test_backups(self) -> None:
        """Backups wait, as they do in the daemon, and being idle is no imbalance."""
        spec = pool(1, 1)
        servers = (spec.servers[0], evolve(spec.servers[1], backup=True))
        found = outcome(evolve(spec, servers=servers), *map(came, range(5)))
        self.assertEqual(each(found, "connections"), [5, 0])
        self.assertEqual(found.imbalance(lambda load: load.connections), Imbalance(1.0, 0.0))

    def test_nobody_left(self) -> None:
        """Clients that no server can have are counted."""
        found = outcome(pool(0, 0), came(0), came(1))
        self.assertEqual((found.no_server, found.unreachable, each(found, "connections")), (2, 0, [0, 0]))

    def test_failed_in_the_log(self) -> None:
        """A connection that failed then would have lasted as long as those that did not."""
        found = outcome(pool(1), came(0, 4), came(10, 0.001, connect=-1.0), came(20, 0))
        self.assertEqual(each(found, "open_seconds"), [8.0])

    def test_nobody_came(self) -> None:
        """Without clients there is nothing to tell, and nothing breaks."""
        found = Simulation(pool(1, 1), no_chance).outcome()
        self.assertEqual((found.arrivals, found.seconds), (0, 0.0))
        self.assertEqual(found.imbalance(lambda load: load.connections), Imbalance(1.0, 0.0))


class LossTests(Case):
    def test_unnoticed(self) -> None:
        """Without checks a lost server is dialed in vain, and each client gets another one."""
        found = outcome(pool(1, 1), *map(came, range(10)), losses=(Loss("b", 4.5),))
        self.assertEqual(each(found, "connections"), [8, 2])
        self.assertEqual((each(found, "failed"), found.retries), ([0, found.retries], found.loads[1].failed))
        self.assertEqual((found.no_server, found.unreachable), (0, 0))

    def test_ejected(self) -> None:
        """Without checks a lost server is ejected after some failures, and comes back in time."""
        clients = [came(n / 2) for n in range(400)]
        [a, b] = outcome(pool(1, 1), *clients, losses=(Loss("b", 0.2),)).loads
        self.assertTrue(10 < b.failed < 50, b)
        kept = outcome(pool(1, 1, eject=None), *clients, losses=(Loss("b", 0.2),))
        self.assertGreater(kept.loads[1].failed, 150)
        [a, b] = outcome(pool(1, 1, slow_start=5.0), *clients, losses=(Loss("b", 0.2, 20.0),)).loads
        self.assertTrue(100 < b.connections < 200, b)

    def test_noticed(self) -> None:
        """Checks notice it after as many intervals as they take, and then it is left alone."""
        found = outcome(pool(1, 1, checks=CHECKS), *map(came, range(100)), losses=(Loss("b", 10.5),))
        self.assertGreater(found.loads[1].failed, 4)
        self.assertLessEqual(found.loads[1].failed, 15)
        later = outcome(pool(1, 1, checks=CHECKS), *map(came, range(200)), losses=(Loss("b", 10.5),))
        self.assertEqual(later.loads[1].failed, found.loads[1].failed)

    def test_comes_back(self) -> None:
        """One that comes back is used again when checks have seen it twice."""
        found = outcome(
            pool(1, 1, checks=CHECKS, slow_start=0), *map(came, range(100)), losses=(Loss("b", 10.5, 40.5),)
        )
        [_, b] = found.loads
        self.assertEqual(b.connections, 5 + (99 - 50) // 2)
        brief = outcome(
            pool(1, 1, checks=CHECKS, slow_start=0), *map(came, range(100)), losses=(Loss("b", 10.5, 13.5),)
        )
        self.assertGreater(brief.loads[1].connections, 45)

    def test_starts_slowly(self) -> None:
        """One that comes back gets its share step by step, if its pool says so."""
        clients = [came(n / 10) for n in range(1000)]
        for slow_start, low, high in ((0.0, 245, 255), (40.0, 130, 200)):
            spec = pool(1, 1, checks=CHECKS, slow_start=slow_start)
            found = outcome(spec, *clients, losses=(Loss("b", 0.05, 40.05),))
            self.assertTrue(low < found.loads[1].connections < high, found.loads[1])

    def test_cut(self) -> None:
        """Connections that it has end with it, and the balancer knows."""
        clients = [came(0, 100), came(1, 100), came(2, 100)]
        spec = pool(1, 1, balance="leastconn", checks=CHECKS)
        found = outcome(spec, *clients, *(came(20 + n) for n in range(4)), losses=(Loss("a", 5),))
        self.assertEqual(each(found, "cut"), [2, 0])
        self.assertEqual(found.loads[0].open_seconds, 5.0 + 3.0)
        self.assertEqual((found.loads[0].bytes_out, found.loads[0].server.open), (0, 0))

    def test_all_lost(self) -> None:
        """With nobody left clients are refused; how they were is told apart."""
        spec = pool(1, 1, checks=CHECKS, eject=None)
        found = outcome(spec, *map(came, range(40)), losses=(Loss("a", 10.5), Loss("b", 10.5)))
        self.assertEqual(found.unreachable, 15)
        self.assertEqual(found.no_server, 14)
        self.assertEqual(found.retries, 15)

    def test_counts(self) -> None:
        """Whatever happens, no client is lost from the count, and all that was opened is closed."""
        clients = list(arrivals(Traffic(3000, lasting=Lasting("lognormal", 2, 1.5)), Random(3).random))
        losses = (Loss("a", 3), Loss("b", 5, 9), Loss("b", 12, 13), Loss("c", 5, 6))
        for name in BALANCES:
            for checks in (CHECKS, ()):
                simulation = Simulation(pool(1, 2, 3, balance=name, checks=checks), Random(1).random, losses)
                for client in clients:
                    simulation.arrive(client)
                found = simulation.outcome()
                self.assertEqual(
                    sum(each(found, "connections")) + found.unserved,
                    found.arrivals,
                    name,
                )
                self.assertEqual(sum(load.server.open for load in found.loads), 0, name)


class QueueTests(Case):
    def full(self, *weights: int, most: int = 1, **values: Any) -> PoolSpec:
        """A pool whose servers have so many connections at most."""
        spec = pool(*weights, **values)
        return evolve(spec, servers=tuple(evolve(one, max_connections=most) for one in spec.servers))

    def test_waits(self) -> None:
        """Who finds all servers full waits until one has room, and then stays as long as ever."""
        found = outcome(self.full(1), came(0, 10), came(4, 2), came(5, 1), came(30, 1))
        self.assertEqual((each(found, "connections"), each(found, "peak"), found.unserved), ([4], [1], 0))
        waiting = found.waiting
        self.assertEqual((waiting.clients, waiting.seconds, waiting.longest), (2, 6.0 + 7.0, 7.0))
        self.assertAlmostEqual(waiting.within(0.5), 6.0, 1)
        self.assertEqual(waiting.within(0.99), 7.0)
        self.assertEqual(each(found, "open_seconds"), [13.0])

    def test_refused(self) -> None:
        """So many may wait, and so long; who is left out is counted."""
        spec = self.full(1, queue=QueueSpec(length=2, wait=5.0))
        clients = [came(0, 30), *(came(n, client=f"10.0.0.{n}:5") for n in range(1, 6)), came(50, 1)]
        found = outcome(spec, *clients)
        self.assertEqual((found.waiting.refused, found.waiting.timed_out, found.unserved), (3, 2, 5))
        self.assertEqual((found.waiting.seconds, found.waiting.longest), (10.0, 5.0))
        found = outcome(spec, *clients[:3])
        self.assertEqual((found.waiting.timed_out, found.unserved, found.seconds), (2, 2, 2.0))

    def test_makes_room(self) -> None:
        """A client who has most in the queue makes room for another."""
        spec = self.full(1, queue=QueueSpec(length=2))
        greedy = [came(n / 10, 3, client=f"10.0.0.1:{n}") for n in range(3)]
        found = outcome(spec, *greedy, came(1, 3, client="10.0.0.2:5"), came(60, 1))
        self.assertEqual(
            (found.waiting.evicted, found.waiting.clients, each(found, "connections")), (1, 3, [4])
        )

    def test_priority(self) -> None:
        """Clients of a listener of a lower priority come first, as in the daemon."""
        clients = [came(0, 9), came(1, 9, listener="l"), came(2, 9, listener="first"), came(60, 1)]
        longest = []
        for listeners in ({}, {"l": ListenerSpec("l", (), priority=1)}):
            simulation = Simulation(self.full(1, queue=QueueSpec(wait=60.0)), no_chance, (), listeners)
            for client in clients:
                simulation.arrive(client)
            longest.append(simulation.outcome().waiting.longest)
        self.assertEqual(longest, [16.0, 17.0])

    def test_goes_on_trying(self) -> None:
        """Who has waited, and finds the server gone, tries another one; nobody is lost from the count."""
        clients = list(arrivals(Traffic(600, rate=10, lasting=Lasting("lognormal", 2, 1)), Random(3).random))
        losses = (Loss("a", 3), Loss("b", 20, 40), Loss("c", 25, 26))
        for name in BALANCES:
            for checks in (CHECKS, ()):
                queue = QueueSpec(length=10)
                spec = self.full(1, 2, 3, most=6, balance=name, checks=checks, queue=queue)
                found = outcome(spec, *clients, losses=losses)
                self.assertEqual(sum(each(found, "connections")) + found.unserved, found.arrivals, name)
                self.assertLessEqual(max(each(found, "peak")), 6, name)
                self.assertGreater(found.waiting.clients, 100, name)


class ImbalanceTests(Case):
    def test_by_weight(self) -> None:
        """A load is uneven if it does not go by the weights."""
        found = outcome(pool(1, 3), *map(came, range(8)))
        self.assertEqual(each(found, "connections"), [2, 6])
        self.assertEqual(found.imbalance(lambda load: load.connections), Imbalance(1.0, 0.0))
        self.assertEqual(
            found.imbalance(lambda load: load.server.weight * (1 + (load.server.name == "a"))),
            Imbalance(4 / 3, 1 / 3),
        )
