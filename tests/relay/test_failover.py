"""What becomes of sessions when servers fail, go down and come back?"""

from __future__ import annotations

from typing import Any

from proxyd.config.address import TcpAddress
from proxyd.config.ejection import EjectSpec
from proxyd.config.health import CheckSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.errors import Reason
from proxyd.policy.connections import LeastConnections
from proxyd.policy.pool import Pool
from proxyd.policy.state import State
from proxyd.relay.failover import AT_ONCE, Failover
from tests.relay.test_session import SessionCase

UP, DOWN = State.UP, State.DOWN


class FailoverCase(SessionCase):
    """Sessions whose pool closes them."""

    def pool_of(self, *ports: int, backup: bool = False, clients: int = 0, **options: Any) -> None:
        """A pool whose servers behave as their ports say, the last of them maybe a backup; and clients."""
        servers = tuple(
            ServerSpec(f"s{place}", TcpAddress("10.0.0.1", port), backup=backup and place == len(ports) - 1)
            for place, port in enumerate(ports)
        )
        self.front(Pool(PoolSpec("web", servers, **options), LeastConnections()))
        self.failover = Failover(self.clock, [self.factory])
        self.pool.watch(self.failover.changed)
        for _ in range(clients):
            self.connect()

    def turn(self, place: int, state: State) -> None:
        self.pool.turned(self.pool.servers[place], state, "a test", self.clock.seconds())
        self.network.flush()

    def reasons(self) -> list[Reason]:
        self.network.flush()
        return [record.reason for record in self.notebook.records]

    def let_all_go(self) -> None:
        """Nothing is left when it is over."""
        for session in list(self.factory.sessions):
            session.cut(Reason.DRAINED)
        self.failover.stop()
        self.pass_time(3)
        self.assertEqual((self.factory.sessions, self.clock.getDelayedCalls()), (set(), []))


class OnDown(FailoverCase):
    """Connections of a server that goes down."""

    def test_keep(self) -> None:
        """They go on, unless it is said otherwise."""
        self.pool_of(1, 1, clients=4, checks=(CheckSpec(),))
        self.turn(0, DOWN)
        self.pass_time(5)
        self.assertEqual(self.reasons(), [])
        self.let_all_go()

    def test_close(self) -> None:
        """With close they end at once, with a reason of their own; those of other servers go on."""
        self.pool_of(1, 1, clients=4, checks=(CheckSpec(),), on_down=0.0)
        self.turn(0, DOWN)
        self.pass_time(2)
        self.assertEqual(self.reasons(), [Reason.SERVER_DOWN] * 2)
        self.assertEqual({record.server for record in self.notebook.records}, {"s0"})
        self.assertEqual(self.notebook.records[0].detail, "a test")
        self.let_all_go()

    def test_close_after(self) -> None:
        """With close_after they have that time, and longer if the server comes up again by then."""
        self.pool_of(1, 1, clients=2, checks=(CheckSpec(),), on_down=30.0)
        self.turn(0, DOWN)
        self.pass_time(29)
        self.turn(0, UP)
        self.pass_time(29)
        self.assertEqual(self.reasons(), [])
        self.turn(0, DOWN)
        self.pass_time(29)
        self.assertEqual(self.reasons(), [])
        self.pass_time(3)
        self.assertEqual(self.reasons(), [Reason.SERVER_DOWN])
        self.let_all_go()

    def test_operators(self) -> None:
        """Maintenance and removal close them; draining keeps them, until the server goes down."""
        now = self.clock.seconds
        self.pool_of(1, 1, 1, clients=3, checks=(CheckSpec(),), on_down=0.0)
        a, b, c = self.pool.servers
        self.pool.disable(a, "", now())
        self.pool.remove([b], "", now())
        self.pool.drain(c, "", now())
        self.pass_time(2)
        self.assertEqual({record.server for record in self.notebook.records}, {"s0", "s1"})
        self.pool.turned(c, DOWN, "", now())
        self.pass_time(2)
        self.assertEqual(self.reasons(), [Reason.SERVER_DOWN] * 3)
        self.let_all_go()

    def test_ejected(self) -> None:
        """One that is ejected keeps its connections: some of them work."""
        self.pool_of(1, 1, clients=2, on_down=0.0)
        self.pool.eject(self.pool.servers[0], 99.0, "", self.clock.seconds())
        self.pass_time(2)
        self.assertEqual(self.reasons(), [])
        self.let_all_go()

    def test_many(self) -> None:
        """Many are closed a few at a time, so that others are served meanwhile."""
        self.capacity.most = 10_000
        clients = 2 * AT_ONCE + 3
        self.pool_of(1, clients=clients, checks=(CheckSpec(),), on_down=0.0)
        turns: list[int] = []
        call_later = self.clock.callLater

        def note(delay: float, call: Any, *args: Any) -> Any:
            def run() -> None:
                before = sum(not session.parting for session in self.factory.sessions)
                call(*args)
                turns.append(before - sum(not session.parting for session in self.factory.sessions))

            return call_later(delay, run)

        self.patch(self.clock, "callLater", note)
        self.turn(0, DOWN)
        self.assertEqual([turn for turn in turns if turn], [AT_ONCE, AT_ONCE, 3])
        self.pass_time(2)
        self.assertEqual(self.reasons(), [Reason.SERVER_DOWN] * clients)
        self.let_all_go()

    def test_dialing(self) -> None:
        """One that is still dialing is not cut: it goes to another server."""
        self.pool_of(3, 1, clients=1, checks=(CheckSpec(),), on_down=0.0, connect_timeout=1.0)
        self.turn(0, DOWN)
        self.pass_time(2)
        (session,) = self.factory.sessions
        self.assertIs(session.picked, self.pool.servers[1])
        self.let_all_go()


class OnUp(FailoverCase):
    """Connections to backups when they are needed no more."""

    def fail_over(self, **options: Any) -> None:
        self.pool_of(1, 1, backup=True, checks=(CheckSpec(),), **options)
        self.turn(0, DOWN)
        self.turn(1, UP)
        for _ in range(3):
            self.connect()

    def test_keep(self) -> None:
        """They go on, unless it is said otherwise."""
        self.fail_over()
        self.turn(0, UP)
        self.pass_time(2)
        self.assertEqual(self.reasons(), [])
        self.let_all_go()

    def test_close_backups(self) -> None:
        """With close_backups they end when another server is up again, so that clients come back."""
        self.fail_over(on_up="close_backups")
        self.turn(0, UP)
        self.pass_time(2)
        self.assertEqual(self.reasons(), [Reason.FAILBACK] * 3)
        self.assertEqual(self.notebook.records[0].detail, "server s0 is up again")
        self.let_all_go()

    def test_still_needed(self) -> None:
        """Backups that still serve, since too few others do, keep theirs."""
        self.fail_over(on_up="close_backups", backup_below=2)
        self.turn(0, UP)
        self.pass_time(2)
        self.assertEqual(self.reasons(), [])
        self.let_all_go()


class Ejected(FailoverCase):
    """What sessions tell their pool of servers that fail."""

    def serve_with(self, *ports: int, **options: Any) -> None:
        self.pool_of(*ports, eject=EjectSpec(in_a_row=3), **options)

    def test_refused(self) -> None:
        """A server that refuses is out after so many in a row; clients notice nothing, as before."""
        self.serve_with(2, 1)
        for _ in range(9):
            self.connect()
        self.assertIs(self.pool.servers[0].state, State.EJECTED)
        self.assertEqual(self.datapath.dialed.count(2), 3)
        self.assertEqual(self.reasons(), [])
        self.let_all_go()

    def test_silent(self) -> None:
        """So is one that does not answer."""
        self.serve_with(3, 1, connect_timeout=1.0)
        for _ in range(9):
            self.connect()
            self.pass_time(2)
        self.assertIs(self.pool.servers[0].state, State.EJECTED)
        self.assertEqual(self.datapath.dialed.count(3), 3)
        self.let_all_go()

    def test_early_close(self) -> None:
        """So is one that accepts, and closes or resets without a byte."""
        for leave in ("finish", "reset"):
            self.serve_with(1, 1)
            self.datapath.peers.clear()
            for _ in range(3):
                client = self.connect()
                session = next(iter(self.factory.sessions))
                while session.picked is not self.pool.servers[0]:
                    client.reset()
                    client = self.connect()
                    session = next(iter(self.factory.sessions))
                getattr(self.datapath.peers[-1], leave)()
                self.network.flush()
                client.finish()
                self.network.flush()
            self.assertEqual(self.pool.servers[0].state, State.EJECTED, leave)
            self.let_all_go()

    def test_not_the_servers_fault(self) -> None:
        """Clients that leave, and want of descriptors, do not count."""
        self.serve_with(1, 1)
        for _ in range(9):
            client = self.connect()
            client.finish()
            self.network.flush()
            self.datapath.peers[-1].finish()
            self.network.flush()
            self.connect().reset()
            self.network.flush()
        self.assertEqual([server.failures for server in self.pool.servers], [0, 0])
        self.serve_with(5, 5)
        for _ in range(9):
            self.connect()
        self.assertEqual([server.failures for server in self.pool.servers], [0, 0])
        self.capacity.stop()
        self.let_all_go()

    def test_older_connections(self) -> None:
        """Those that began before it failed prove nothing when they end."""
        self.serve_with(1, 2)
        good, bad = self.pool.servers
        client = self.connect()
        (session,) = self.factory.sessions
        self.assertIs(session.picked, good)
        self.datapath.peers[-1].send(b"+OK\r\n")
        self.pass_time(5)
        for failures in (1, 2):
            self.pool.failed(good, "connect_refused", self.clock.seconds())
            client.finish()
            self.network.flush()
            self.datapath.peers[0].finish()
            self.network.flush()
            self.assertEqual(good.failures, failures)
        self.let_all_go()

    def test_connections_that_last(self) -> None:
        """Those that begin between failures, and go on, are seen to work: now and then is not in a row."""
        self.serve_with(1, 1)
        good = self.pool.servers[0]
        for _ in range(9):
            self.pool.failed(good, "connect_refused", self.clock.seconds())
            for _ in range(2):
                self.connect()
                self.datapath.peers[-1].send(b"+OK\r\n")
            self.pass_time(90)
            for peer in self.datapath.peers:
                peer.send(b"+OK\r\n")
            self.network.flush()
        self.assertIs(good.state, State.UP)
        self.let_all_go()

    def test_a_byte(self) -> None:
        """A byte from the server ends the row."""
        self.serve_with(1, 1)
        for server in self.pool.servers:
            server.failures = 2
        client = self.connect()
        (session,) = self.factory.sessions
        assert session.picked is not None
        picked = session.picked
        self.datapath.peers[-1].send(b"+OK\r\n")
        self.network.flush()
        client.finish()
        self.network.flush()
        self.datapath.peers[-1].finish()
        self.network.flush()
        self.assertEqual(sorted(server.failures for server in self.pool.servers), [0, 2])
        self.assertEqual(picked.failures, 0)
        self.let_all_go()
