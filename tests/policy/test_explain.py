"""Is the way of a client explained as it would go?"""

from __future__ import annotations

import ipaddress
from random import Random
from typing import Any

from attrs import evolve

from proxyd.config.address import TcpBind
from proxyd.config.affinity import AffinitySpec, CookieSpec
from proxyd.config.balance import BALANCES, BalanceSpec
from proxyd.config.health import CheckSpec
from proxyd.config.listener import ListenerSpec
from proxyd.config.lists import Clients, Rule
from proxyd.config.pool import PoolSpec
from proxyd.config.proxyprotocol import ProxyIn
from proxyd.config.route import RouteSpec
from proxyd.config.tls import TlsSpec
from proxyd.errors import Reason
from proxyd.policy.admission import Admission
from proxyd.policy.arrival import Arrival
from proxyd.policy.balance import make_balancer
from proxyd.policy.bans import Bans
from proxyd.policy.explain import Explanation, NotSupposed, Supposed, explain
from proxyd.policy.lists import Lists
from proxyd.policy.pool import Pool
from proxyd.policy.state import State
from tests.policy.test_simulate import pool
from tests.support.case import Case

FRONT = ListenerSpec("front", (), "web")
ENDING = evolve(FRONT, binds=(TcpBind("tcp:443", "0.0.0.0", 443),), tls=TlsSpec(("/certs",)))
OPEN = Admission((), Lists(()), Bans(1))
CLIENT = Arrival("10.1.2.3", 40312)


def of(
    spec: PoolSpec, listener: ListenerSpec = FRONT, arrival: Arrival = CLIENT, **supposed: Any
) -> Explanation:
    """The way of a client, to a pool called web or to others of its servers."""
    pools = {
        name: evolve(spec, name=name) for name in ("web", "api", "ssh", *(r.pool for r in listener.routes))
    }
    admission = Admission(listener.access, Lists(()), Bans(1))
    return explain(listener, admission, pools, Supposed(arrival, **supposed), Random(1).random, Lists(()))


def route(name: str, **conditions: Any) -> RouteSpec:
    """A route to the pool of its name."""
    return RouteSpec(name, ("front",), name, **conditions)


class AdmissionSteps(Case):
    """Whether the client may come in."""

    def test_allow_and_deny(self) -> None:
        """Whom the lines do not let in is closed, and told why; where there are none nobody is asked."""
        network = ipaddress.ip_network("10.1.0.0/16")
        denied = evolve(FRONT, access=(Rule(False, Clients((network,))),))
        for source, expected in (
            ("10.1.2.3", ("refused", "", Reason.DENIED, "deny: its networks")),
            ("::ffff:10.1.2.3", ("refused", "", Reason.DENIED, "deny: its networks")),
            ("10.2.2.3", ("let in", "a", None, "")),
            ("", ("let in", "a", None, "")),
        ):
            found = of(pool(1), denied, Arrival(source))
            self.assertEqual((found.admission, found.chosen, found.reason, found.detail), expected, source)
        self.assertEqual(of(pool(1)).admission, "")


class RouteSteps(Case):
    """Where the client is led, and why."""

    LISTENER = evolve(
        FRONT,
        routes=(
            route("api", sni=("api.example.com",), alpn=(b"h2",)),
            route("wild", sni=("*.example.com",)),
            route("ssh", speaks=("ssh", "silent")),
        ),
    )

    def steps(self, sni: str = "", **supposed: Any) -> tuple[str, list[tuple[str, bool, str]]]:
        found = of(pool(1), self.LISTENER, Arrival("10.1.2.3", 1, sni), **supposed)
        return found.pool, [(step.route, step.taken, step.why) for step in found.routes]

    def test_each_route(self) -> None:
        """One is taken; of each other one is told which of its conditions does not hold."""
        self.assertEqual(
            self.steps("API.example.com", alpn=(b"h2", b"http/1.1")),
            (
                "api",
                [
                    ("api", True, "all its conditions hold"),
                    ("wild", False, "fits, but api stands before it"),
                    ("ssh", False, "speaks = ssh silent, and the client speaks tls"),
                ],
            ),
        )
        self.assertEqual(
            self.steps("www.example.com"),
            (
                "wild",
                [
                    (
                        "api",
                        False,
                        "sni = api.example.com, and the client asks for www.example.com; "
                        "alpn = h2, and the client offers no protocol",
                    ),
                    ("wild", True, "all its conditions hold"),
                    ("ssh", False, "speaks = ssh silent, and the client speaks tls"),
                ],
            ),
        )

    def test_none(self) -> None:
        """Whom no route fits goes to the listener's pool, or is closed if it has none."""
        told, steps = self.steps(speaks="http")
        self.assertEqual((told, [taken for _, taken, _ in steps]), ("web", [False] * 3))
        self.assertEqual(steps[1][2], "sni = *.example.com, and the client asks for no name")
        found = of(pool(1), evolve(self.LISTENER, pool=""), speaks="http")
        self.assertEqual((found.reason, found.pool, found.chosen), (Reason.NO_ROUTE, "", ""))

    def test_opening(self) -> None:
        """What is heard of the client is told; what nobody reads decides nothing."""
        for listener, arrival, supposed, expected in (
            (
                FRONT,
                Arrival(sni="x"),
                {},
                "what the client sends first is not read, since nothing here depends on it",
            ),
            (self.LISTENER, CLIENT, {}, "it speaks other (assumed)"),
            (self.LISTENER, CLIENT, {"speaks": "ssh"}, "it speaks ssh"),
            (self.LISTENER, CLIENT, {"speaks": "tls"}, "it speaks tls, asks for no name, offers no protocol"),
            (
                self.LISTENER,
                Arrival(sni="x"),
                {"alpn": (b"h2",)},
                "it speaks tls (assumed), asks for x, offers h2",
            ),
            (
                evolve(FRONT, tls="passthrough", proxy_protocol=ProxyIn()),
                CLIENT,
                {"speaks": "tls"},
                "a PROXY header tells who the client is, it speaks tls, asks for no name, offers no protocol",
            ),
            (
                ENDING,
                Arrival(sni="x"),
                {"alpn": (b"h2",)},
                "TLS ends here: it asks for x, and offers h2",
            ),
            (
                evolve(ENDING, speaks="smtp"),
                Arrival(sni="x"),
                {},
                "TLS begins in the way of smtp, when the server has greeted",
            ),
            (
                evolve(ENDING, speaks="pgsql"),
                Arrival(sni="x"),
                {},
                "TLS ends here: it asks for x, and offers no protocol",
            ),
            (
                evolve(FRONT, routes=(route("ssh", speaks=("ssh",)),)),
                Arrival(sni="x"),
                {},
                "it speaks tls (assumed), no route goes by sni or alpn, so these are not read",
            ),
        ):
            self.assertEqual(of(pool(1), listener, arrival, **supposed).opening, expected)

    def test_tls_that_ends(self) -> None:
        """Where TLS ends, routes go by the name as well as by what is within."""
        routes = (route("named", sni=("x",)), route("web", speaks=("http",)))
        listener = evolve(ENDING, routes=routes)
        for arrival, speaks, taken in ((Arrival(sni="x"), "http", "named"), (CLIENT, "http", "web")):
            steps = of(pool(1), listener, arrival, speaks=speaks).routes
            self.assertEqual([step.route for step in steps if step.taken], [taken])

    def test_not_tls(self) -> None:
        """Where only TLS is let in, others are closed."""
        found = of(pool(1), evolve(FRONT, tls="passthrough"), speaks="ssh")
        self.assertEqual(
            (found.reason, found.detail), (Reason.TLS_MALFORMED, "it speaks ssh, and only TLS is let in")
        )


class ServerSteps(Case):
    """Who may be chosen, and why not."""

    def seen(self, spec: PoolSpec, **supposed: Any) -> list[tuple[str, int, str]]:
        return [(step.server, step.tier, step.why) for step in of(spec, **supposed).servers]

    def test_states(self) -> None:
        """A server that gets nobody has a reason."""
        spec = pool(1, 1, 1, 1, 1, 0, 1, checks=(CheckSpec(),))
        others = (State.DOWN, State.DRAINING, State.MAINTENANCE, State.EJECTED, State.CHECKING)
        states = dict(zip("bcdeg", others))
        self.assertEqual(
            self.seen(spec, states=states),
            [
                ("a", 1, "gets clients"),
                ("b", 0, "gets nobody: it is down"),
                ("c", 0, "gets nobody: it is draining"),
                ("d", 0, "gets nobody: it is in maintenance"),
                ("e", 0, "gets nobody: it is ejected"),
                ("f", 0, "gets nobody: its weight is 0"),
                ("g", 0, "gets nobody: it is checking"),
            ],
        )

    def test_tiers(self) -> None:
        """Backups and servers of a higher priority wait, or join in when too few are left."""
        spec = pool(1, 1, 1, backup_below=1)
        a, b, c = spec.servers
        spec = evolve(spec, servers=(a, evolve(b, priority=2), evolve(c, backup=True)))
        self.assertEqual(
            self.seen(spec),
            [
                ("a", 1, "gets clients"),
                ("b", 2, "waits: it is of priority 2"),
                ("c", 3, "waits: it is a backup"),
            ],
        )
        down = {"a": State.DOWN, "b": State.DOWN}
        self.assertEqual(
            self.seen(spec, states=down)[2], ("c", 1, "gets clients though it is a backup: too few others do")
        )

    def test_nobody_is_up(self) -> None:
        """When nobody is up, who gets clients all the same is told."""
        spec = pool(1, 1, checks=(CheckSpec(),))
        states = {"a": State.DOWN, "b": State.CHECKING}
        self.assertEqual(
            self.seen(spec, states=states)[1], ("b", 1, "gets clients though it is checking: nobody is up")
        )
        found = of(evolve(spec, panic_threshold=60), states={"a": State.DOWN})
        self.assertEqual((found.panic, found.servers[0].why), (True, "gets clients though it is down: panic"))
        found = of(pool(1, 1), states={"a": State.DOWN, "b": State.DOWN})
        self.assertEqual(
            (found.reason, found.detail, found.chosen), (Reason.NO_SERVER, "no server of pool web is up", "")
        )

    def test_full(self) -> None:
        """A pool whose servers are full lets the client wait, and says so."""
        spec = pool(1, 1, balance="first")
        spec = evolve(spec, servers=tuple(evolve(server, max_connections=5) for server in spec.servers))
        self.assertEqual(of(spec, open={"a": 5}).chosen, "b")
        found = of(spec, open={"a": 5, "b": 5})
        expected = "all servers have their max_connections; the client waits in the queue for up to 10s"
        self.assertEqual((found.reason, found.detail), (None, expected))

    def test_weights(self) -> None:
        """Weights may be other ones, as far as the pool can have them."""
        found = of(pool(1, 1), weights={"a": 0})
        self.assertEqual((found.chosen, [step.weight for step in found.servers]), ("b", [0, 1]))
        for spec, supposed, expected in (
            (
                pool(1, balance="static-rr"),
                {"weights": {"a": 2}},
                "with balance static-rr the weight can be 0 or 1, not 2",
            ),
            (
                pool(1),
                {"states": {"aa": State.DOWN}},
                'pool web, where the client is led: "aa" is not known; did you mean "a"?',
            ),
            (
                pool(1),
                {"open": {"q": 1}},
                'pool web, where the client is led: "q" is not known; known here: a',
            ),
            (
                pool(1),
                {"states": {"a": State.CHECKING}},
                'pool web has no check, so server "a" is never checking',
            ),
        ):
            self.assertEqual(str(self.assertRaises(NotSupposed, of, spec, **supposed)), expected)


class Chosen(Case):
    """Who is chosen."""

    def test_as_the_daemon_does(self) -> None:
        """It is who the pool and its balancer choose, and then those that a retry would try."""
        for name in BALANCES:
            for number in range(30):
                spec, arrival = pool(1, 2, 3, balance=name), Arrival(f"10.0.0.{number}", 40000)
                found = explain(
                    FRONT, OPEN, {"web": spec}, Supposed(arrival), Random(number).random, Lists(())
                )
                real = Pool(spec, make_balancer(spec.balance, Random(number).random, lambda: 0.0))
                server = real.pick((), arrival if real.by_client else None)
                assert server is not None
                self.assertEqual(found.chosen, server.name, name)
                self.assertEqual({found.chosen, *found.retries}, {"a", "b", "c"})

    def test_retries(self) -> None:
        """No more servers are tried than the pool says."""
        self.assertEqual(len(of(pool(1, 1, 1, 1, 1)).retries), 2)
        self.assertEqual(of(pool(1, 1, 1), states={"c": State.DOWN}).retries, ("b",))
        self.assertEqual(of(pool(1, 1, retries=0)).retries, ())

    def test_likely(self) -> None:
        """How many of such clients each server gets, by chance or in turn."""
        for name in ("random", "roundrobin", "p2c", "leastconn"):
            likely = of(pool(1, 3, balance=name)).likely
            self.assertLess(abs(likely["b"] - 0.75), 0.05, name)
        self.assertEqual(of(pool(1, 1, balance="leastconn"), open={"a": 3}).likely, {"b": 1.0})

    def test_affinity(self) -> None:
        """A client that is remembered comes back, as long as its server may be chosen."""
        spec = pool(1, 3, balance="roundrobin", affinity=AffinitySpec("source"))
        found = of(spec)
        self.assertEqual((found.affinity, found.remembered, len(found.likely)), ("source", "", 2))
        found = of(spec, remembered="a")
        self.assertEqual((found.chosen, found.retries, found.likely), ("a", ("b",), {}))
        found = of(spec, remembered="a", states={"a": State.DOWN})
        self.assertEqual((found.chosen, found.retries, found.likely), ("b", (), {"b": 1.0}))
        for other, arrival, expected in (
            (pool(1), CLIENT, "pool web has no affinity, so it remembers nobody"),
            (spec, Arrival(), "pool web remembers clients by source, and nothing of that was supposed"),
        ):
            wrong = self.assertRaises(NotSupposed, of, other, FRONT, arrival, remembered="a")
            self.assertEqual(str(wrong), expected)
        self.assertIn('"z" is not known', str(self.assertRaises(NotSupposed, of, spec, remembered="z")))

    def test_cookies(self) -> None:
        """One who brings a cookie comes back, also to a server that is drained."""
        for key in ("cookie", "learned_cookie"):
            spec = pool(1, 3, balance="roundrobin", affinity=AffinitySpec(key, cookie=CookieSpec("SRV")))
            self.assertEqual(of(spec, remembered="a").chosen, "a")
            found = of(spec, remembered="a", states={"a": State.DRAINING})
            self.assertEqual((found.affinity, found.chosen), (key, "a"))
            self.assertEqual(found.servers[0].why, "gets those alone whom cookies lead to it: it is draining")
            self.assertEqual(of(spec, remembered="a", states={"a": State.MAINTENANCE}).chosen, "b")

    def test_key(self) -> None:
        """A balancer that goes by the client tells by what; then there is one server and no chance."""
        found = of(pool(1, 1, 1, balance="source"))
        self.assertEqual((found.key, found.likely), ("10.1.2.3", {found.chosen: 1.0}))
        self.assertEqual(of(pool(1, 1)).key, "")
        by_port = pool(1, 1, balance="hash")
        by_port = evolve(by_port, balance=BalanceSpec("hash", key="source+port"))
        self.assertEqual(of(by_port).key, "10.1.2.3 40312")
