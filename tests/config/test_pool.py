"""Is a ``[pool]`` taken for what an operator means by it?"""

from __future__ import annotations

from proxyd.config.address import TcpAddress
from proxyd.config.balance import BalanceSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.proxyprotocol import ProxyOut
from tests.config.ini import LISTENER, IniCase

REFUSED = [
    ("10.0.0.1", '"10.0.0.1" is not an address; write HOST:PORT, [IPv6]:PORT or unix:PATH'),
    ("10.0.0.1:80 weight=257", 'weight: "257" is not a whole number, 0 to 256'),
    ("10.0.0.1:80 resolve=all", "resolve is for servers that are given by a name"),
    ("unix:/s resolve=first", "resolve is for servers that are given by a name"),
    ("db:80 resolve=some", 'resolve: "some" is not known; known here: first, all'),
    ("srv:_db._tcp.example weight=2", "weight is given by the SRV records"),
    ("srv:_db._tcp.example priority=2", "priority is given by the SRV records"),
    (
        "srv:db.example",
        '"db.example" names no SRV records; write srv:_postgresql._tcp.example.com, for example',
    ),
    ("10.0.0.1:80 backup=yes", "backup takes no value; write backup alone"),
    ("10.0.0.1:80 priority=128", 'priority: "128" is not a whole number, 0 to 127'),
    (
        "10.0.0.1:80 max_connections=0",
        'max_connections: "0" is not a whole number, 1 to 1000000, and not adaptive',
    ),
    (
        "10.0.0.1:80 10.0.0.2:80",
        '"10.0.0.2:80" is not known; known here: weight, backup, priority, max_connections, resolve, '
        "receive_buffer, send_buffer, mss, window_clamp, notsent_lowat, user_timeout, keepalive, ...",
    ),
    ("", "has no value; write server a = 10.0.0.1:5432 weight=2, for example"),
]


class PoolTests(IniCase):
    def test_defaults(self) -> None:
        """A pool needs a server; all else has a default."""
        pool = self.load(f"{LISTENER}[pool p]\nserver a = h:80\n").pools[0]
        self.assertEqual(
            pool,
            PoolSpec("p", (ServerSpec("a", TcpAddress("h", 80), 1, False),), BalanceSpec("p2c"), (), 5, 2),
        )

    def test_all_given(self) -> None:
        """Each option is taken as it is written, and servers keep their order."""
        pool = self.load(
            f"{LISTENER}[pool p]\nretries = 0\nserver b = h:1 weight=0\nserver a = h:2 backup weight=256\n"
            "balance = random\nbackup_below = 3\nconnect_timeout = 250ms\nproxy_protocol = v1\n"
        ).pools[0]
        servers = (
            ServerSpec("b", TcpAddress("h", 1), 0, False),
            ServerSpec("a", TcpAddress("h", 2), 256, True),
        )
        self.assertEqual(pool, PoolSpec("p", servers, BalanceSpec("random"), (), 0.25, 0, ProxyOut(1), 3))

    def test_places(self) -> None:
        """A server has a bound and a place in the order."""
        servers = "server a = h:1 max_connections=90\nserver b = h:2 priority=1\n"
        text = f"{LISTENER}[pool p]\nbalance = first\n{servers}"
        a, b = self.load(text).pools[0].servers
        self.assertEqual((a.max_connections, a.priority, b.max_connections, b.priority), (90, 0, 0, 1))

    def test_queue_without_bound(self) -> None:
        """A queue in which nobody will ever wait is refused, not forgotten."""
        text = f"{LISTENER}[pool p]\nserver a = h:1\nqueue = wait=1s\n"
        reason = "nobody will ever wait; neither the pool nor a server has max_connections"
        self.assertEqual(self.problems(text), [f"proxy.ini:6: [pool p] queue: {reason}"])

    def test_servers_refused(self) -> None:
        """A server that cannot be one is refused with what would be right."""
        for value, reason in REFUSED:
            self.assertEqual(
                self.problems(f"{LISTENER}[pool p]\nserver a = {value}\n"),
                [f"proxy.ini:5: [pool p] server a: {reason}"],
            )

    def test_no_server(self) -> None:
        """A pool without servers is refused; it could serve nobody."""
        example = "server a = 10.0.0.1:5432 weight=2"
        self.assertEqual(
            self.problems(f"{LISTENER}[pool p]\nbalance = random\n"),
            [f"proxy.ini:4: [pool p] server: is missing; write {example}, for example"],
        )
