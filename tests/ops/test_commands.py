"""Does the daemon tell of itself what is so, and change what it is asked to and nothing else?"""

from __future__ import annotations

import os
from typing import Any

from twisted.logger import capturedLogs, formatEvent

from proxyd.config import load
from proxyd.config.adaptive import AdaptiveSpec
from proxyd.config.servertls import ServerTlsSpec
from proxyd.native import version
from proxyd.ops.command import LONGEST_REASON, Caller, Declined, Steered
from proxyd.ops.commands import COMMANDS
from proxyd.policy.adaptive import Adaptive
from proxyd.policy.balance import make_balancer
from proxyd.policy.pool import Pool
from proxyd.policy.state import State
from proxyd.snapshots import AcmeSnapshot, NameSnapshot
from tests.config.ini import IniCase
from tests.support.walltime import SetTime

INI = """
[listener front]
bind = tcp:5432
  unix:/run/db.sock
pool = db
[pool db]
balance = roundrobin
check = tcp
server a = 10.0.0.1:5432 weight=2
server b = unix:/run/b.sock backup
[pool web]
balance = static-rr
server a = 10.0.0.3:80 max_connections=7
"""

ROOT = Caller(0, 99)


class CommandCase(IniCase):
    """Commands on two pools."""

    def setUp(self) -> None:
        super().setUp()
        config = load(self.write(INI), {})
        self.now = 1000.0
        self.pools = {
            spec.name: Pool(spec, make_balancer(spec.balance, lambda: 0.5, lambda: self.now))
            for spec in config.pools
        }
        self.steered = Steered(
            pools=self.pools,
            seconds=lambda: self.now,
            wall=SetTime(lambda: self.now),
            started=900.0,
            listeners=lambda: [(config.listeners[0], 4)],
            max_connections=50,
            names=lambda: [NameSnapshot("x.example", (("web", "a"),), ("10.0.0.3",), 40.0, "timeout", 3, 1)],
            acme=lambda: [
                AcmeSnapshot(
                    "le", "www", "/c/www.pem", ("www.example",), 5000.0, 3000.0, 2, 7, 3, "nobody is there"
                ),
                AcmeSnapshot("le", "api", "/c/api.pem", ("api.example",), 0.0, 900.0, 0, 0, 0, ""),
            ],
        )

    def do(self, name: str, **given: Any) -> dict[str, Any]:
        command = COMMANDS[name]
        return command.run(self.steered, command.given(given), ROOT)

    def declines(self, name: str, **given: Any) -> str:
        """The code and the text of what it says to a request that it does not do."""
        declined = self.assertRaises(Declined, self.do, name, **given)
        return f"{declined.code}: {declined}"


class Seeing(CommandCase):
    """What is shown."""

    def test_servers(self) -> None:
        """Each server as its pool sees it."""
        rows = self.do("show servers")["servers"]
        self.assertEqual(
            [(row["pool"], row["name"]) for row in rows], [("db", "a"), ("db", "b"), ("web", "a")]
        )
        self.pools["web"].servers[0].open = 3
        self.assertEqual(
            self.do("show servers", pool="web")["servers"],
            [
                {
                    "pool": "web",
                    "name": "a",
                    "address": "10.0.0.3:80",
                    "origin": None,
                    "state": "up",
                    "for_seconds": 100.0,
                    "returns_in_seconds": None,
                    "why": "",
                    "health": None,
                    "weight": 1,
                    "effective_weight": 1.0,
                    "configured_weight": 1,
                    "open": 3,
                    "max_connections": 7,
                    "tls_failures": None,
                    "failures": 0,
                    "trial": False,
                    "adaptive": None,
                    "backup": False,
                    "priority": 0,
                }
            ],
        )

    def test_tls(self) -> None:
        """Of a server with TLS, how often that did not come about."""
        server = self.pools["web"].servers[0]
        server.tls = ServerTlsSpec()
        server.tls_failures = 3
        [row] = self.do("show servers", pool="web")["servers"]
        self.assertEqual(row["tls_failures"], 3)

    def test_adaptive(self) -> None:
        """Of a server whose limit adapts, between what, and how long its responses take."""
        server = self.pools["web"].servers[0]
        adaptive = server.adaptive = Adaptive(AdaptiveSpec(5, 200))
        [row] = self.do("show servers", pool="web")["servers"]
        nothing = {"least": 5, "most": 200, "usual_seconds": None, "lately_seconds": None}
        self.assertEqual(row["adaptive"], nothing)
        adaptive.usual, adaptive.lately = 0.0123456, 0.5
        [row] = self.do("show servers", pool="web")["servers"]
        self.assertEqual(row["adaptive"], {**nothing, "usual_seconds": 0.012346, "lately_seconds": 0.5})

    def test_names(self) -> None:
        """Each name, with what it stands for and how long yet."""
        self.assertEqual(
            self.do("show names")["names"],
            [
                {
                    "name": "x.example",
                    "addresses": ["10.0.0.3"],
                    "servers": ["web/a"],
                    "again_in_seconds": 40.0,
                    "lookups": 3,
                    "failures": 1,
                    "trouble": "timeout",
                }
            ],
        )

    def test_acme(self) -> None:
        """Each certificate from an authority; without one there is nothing to expire."""
        www, api = self.do("show acme")["acme"]
        self.assertEqual(
            www,
            {
                "authority": "le",
                "certificate": "www",
                "names": ["www.example"],
                "expires_in_seconds": 4000.0,
                "next_in_seconds": 2000.0,
                "renewed": 2,
                "failed": 7,
                "failures": 3,
                "trouble": "nobody is there",
            },
        )
        self.assertEqual((api["expires_in_seconds"], api["next_in_seconds"]), (None, 0.0))

    def test_pools(self) -> None:
        """Each pool, and how many of its servers are in which state."""
        self.pools["db"].servers[0].open = 3
        self.assertEqual(
            self.do("show pools")["pools"],
            [
                {
                    "name": "db",
                    "balance": "roundrobin",
                    "check": "tcp",
                    "servers": 2,
                    "states": {"checking": 2},
                    "panic": False,
                    "open": 3,
                    "waiting": 0,
                    "queue_length": 0,
                    "maintenance": None,
                },
                {
                    "name": "web",
                    "balance": "static-rr",
                    "check": None,
                    "servers": 1,
                    "states": {"up": 1},
                    "panic": False,
                    "open": 0,
                    "waiting": 0,
                    "queue_length": 28,
                    "maintenance": None,
                },
            ],
        )

    def test_listeners(self) -> None:
        """Each listener, and how many connections it has."""
        self.assertEqual(
            self.do("show listeners")["listeners"],
            [
                {
                    "name": "front",
                    "protocol": "tcp",
                    "open": 4,
                    "binds": ["tcp:5432", "unix:/run/db.sock"],
                    "pools": ["db"],
                }
            ],
        )

    def test_info(self) -> None:
        """The daemon itself."""
        self.assertEqual(
            self.do("show info"),
            {"version": version(), "pid": os.getpid(), "up_seconds": 100.0, "open": 4, "max_connections": 50},
        )

    def test_help(self) -> None:
        """Every command is told, with its parameters."""
        told = self.do("help")["commands"]
        self.assertEqual([one["command"] for one in told], list(COMMANDS))
        weight = next(one for one in told if one["command"] == "weight")
        self.assertEqual(
            [(one["name"], one["required"]) for one in weight["parameters"]],
            [("server", True), ("weight", True), ("reason", False)],
        )

    def test_unknown(self) -> None:
        """A pool that is not there is answered with the nearest that is."""
        self.assertEqual(
            self.declines("show servers", pool="wbe"),
            'unknown_pool: pool: "wbe" is not known; did you mean "web"?',
        )


class Steering(CommandCase):
    """What is changed."""

    def test_weight(self) -> None:
        """A server has another weight, and no other server has."""
        row = self.do("weight", server="db/a", weight=50)["server"]
        self.assertEqual((row["pool"], row["name"], row["weight"]), ("db", "a", 50))
        self.assertEqual([server.weight for server in self.pools["db"].servers], [50, 1])
        self.assertEqual(self.pools["web"].servers[0].weight, 1)

    def test_who_and_why_are_logged(self) -> None:
        """The log says what was changed, by which user and process, and why."""
        for given, said in [
            ({}, "admin: uid 0 (pid 99) has asked for weight 5 of db/a"),
            ({"reason": "a\nb\x1b"}, "admin: uid 0 (pid 99) has asked for weight 5 of db/a: a\\nb\\x1b"),
            ({"reason": "{braces}"}, "admin: uid 0 (pid 99) has asked for weight 5 of db/a: {braces}"),
        ]:
            with capturedLogs() as events:
                self.do("weight", server="db/a", weight=5, **given)
            self.assertEqual([formatEvent(event) for event in events], [said])

    def test_states(self) -> None:
        """A server is drained, disabled and enabled; since when is told, and by whom."""
        server = self.pools["web"].servers[0]
        for command, state, why in [
            ("drain", "draining", "by uid 0: a reason"),
            ("disable", "maintenance", "by uid 0: a reason"),
            ("enable", "up", "by uid 0: a reason"),
        ]:
            self.now += 10
            row = self.do(command, server="web/a", reason="a reason")["server"]
            self.assertEqual((row["state"], row["why"], row["for_seconds"]), (state, why, 0))
            self.assertEqual(server.state.value, state)
        self.now += 5
        self.do("enable", server="web/a", reason="another")
        (row,) = self.do("show servers", pool="web")["servers"]
        self.assertEqual((row["why"], row["for_seconds"]), ("by uid 0: a reason", 5))

    def test_pools_as_a_whole(self) -> None:
        """A pool is taken into maintenance and out of it, and its servers stay as they are."""
        pool = self.pools["web"]
        answer = self.do("disable", server="web", reason="a reason")
        self.assertEqual(answer["pool"]["maintenance"], "by uid 0: a reason")
        self.assertEqual(answer["pool"]["states"], {"up": 1})
        self.assertEqual(
            answer["notes"], ["clients are turned away, all of them: there is no maintenance_allow"]
        )
        self.assertEqual((pool.maintenance.on, pool.maintenance.since), (True, self.now))
        with capturedLogs() as events:
            answer = self.do("enable", server="web")
        self.assertEqual((answer["pool"]["maintenance"], answer["notes"]), (None, []))
        said = [formatEvent(event) for event in events]
        self.assertEqual(said, ["admin: uid 0 (pid 99) has asked for enable of pool web"])
        self.assertIn("unknown_pool: pool: ", self.declines("disable", server="wbe"))
        self.assertIn("bad_parameter: server: ", self.declines("drain", server="web"))

    def test_checks_go_on(self) -> None:
        """What the checks say of a server that is draining is told beside its state."""
        pool = self.pools["db"]
        self.do("drain", server="db/a")
        pool.turned(pool.servers[0], State.DOWN, "refused", self.now)
        (row, _) = self.do("show servers", pool="db")["servers"]
        self.assertEqual((row["state"], row["health"]), ("draining", "down"))
        self.assertEqual(self.do("enable", server="db/a")["server"]["state"], "down")

    def test_ejected(self) -> None:
        """When an ejected server returns is told, and it can be brought back before that."""
        pool = self.pools["web"]
        pool.eject(pool.servers[0], self.now + 30, "5 errors", self.now)
        self.now += 10
        (row,) = self.do("show servers", pool="web")["servers"]
        self.assertEqual((row["state"], row["for_seconds"], row["returns_in_seconds"]), ("ejected", 10, 20))
        self.assertEqual(self.do("enable", server="web/a")["server"]["state"], "up")

    def test_notes(self) -> None:
        """It is said when nobody is left, and when a weight keeps an enabled server from serving."""
        refused = "no server of pool web gets connections now; clients are refused"
        idle = "web/a gets no connections, because its weight is 0"
        steps: list[tuple[str, dict[str, int], list[str]]] = [
            ("drain", {}, [refused]),
            ("weight", {"weight": 0}, [refused]),
            ("enable", {}, [refused, idle]),
            ("weight", {"weight": 1}, []),
        ]
        for command, given, notes in steps:
            self.assertEqual(self.do(command, server="web/a", **given)["notes"], notes)
        self.assertEqual(self.do("drain", server="db/a")["notes"], [])

    def test_nobody_known(self) -> None:
        """On a host whose kernel does not tell who has connected, that is said."""
        with capturedLogs() as events:
            answer = COMMANDS["drain"].run(self.steered, {"server": "web/a"}, None)
        self.assertEqual(answer["server"]["why"], "by somebody")
        self.assertEqual(
            [formatEvent(event) for event in events], ["admin: somebody has asked for drain of web/a"]
        )

    def test_declined(self) -> None:
        """What cannot be done is declined with what could be, and nothing is changed."""
        wrong: list[tuple[dict[str, Any], str]] = [
            ({}, "missing_parameter: weight: server is missing: POOL/SERVER, such as db/a"),
            ({"server": "db/a"}, "missing_parameter: weight: weight is missing: 0 to 256"),
            (
                {"server": "a", "weight": 1},
                'bad_parameter: server: "a" is not POOL/SERVER; write db/a, for example',
            ),
            (
                {"server": "wbe/a", "weight": 1},
                'unknown_pool: pool: "wbe" is not known; did you mean "web"?',
            ),
            (
                {"server": "db/c", "weight": 1},
                'unknown_server: server of pool db: "c" is not known; known here: a, b',
            ),
            (
                {"server": "db/", "weight": 1},
                'unknown_server: server of pool db: "" is not known; known here: a, b',
            ),
            (
                {"server": ["db/a"], "weight": 1},
                "bad_parameter: weight: server is a text: POOL/SERVER, such as db/a",
            ),
            ({"server": "db/a", "weight": True}, "bad_parameter: weight: weight is a whole number: 0 to 256"),
            ({"server": "db/a", "weight": 1.5}, "bad_parameter: weight: weight is a whole number: 0 to 256"),
            ({"server": "db/a", "weight": 257}, "refused: db/a: 257 is no weight; weights are 0 to 256"),
            (
                {"server": "web/a", "weight": 2},
                "refused: web/a: with balance static-rr the weight can be 0 or 1, not 2",
            ),
            (
                {"server": "db/a", "weight": 1, "reason": "x" * (LONGEST_REASON + 1)},
                "bad_parameter: reason: has 201 letters; at most 200 are kept",
            ),
            (
                {"server": "db/a", "wait": 1},
                'unknown_parameter: weight: "wait" is not known; did you mean "weight"?',
            ),
        ]
        for given, said in wrong:
            with capturedLogs() as events:
                self.assertEqual(self.declines("weight", **given), said)
            self.assertEqual(events, [])
        self.assertEqual([server.weight for server in self.pools["db"].servers], [2, 1])
