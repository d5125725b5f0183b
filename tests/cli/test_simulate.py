"""Does ``proxyctl simulate`` replay what was asked, and say what it found?"""

from __future__ import annotations

import gc
import json
import os
from typing import Any

from proxyd.config.balance import BALANCES
from proxyd.ops.accesslog import text_line
from tests.cli.shell import ShellCase
from tests.config.ini import LISTENER
from tests.ops.records import record

POOL = """
[pool p]
balance = roundrobin
check = tcp
server a = 10.0.0.1:80 weight=2
server b = 10.0.0.2:80
"""
OTHER = "[pool q]\nserver z = 10.0.0.9:80\n"


class SimulateTests(ShellCase):
    def log(self, count: int = 30, **values: Any) -> str:
        """A log of connections to pool p, a second apart."""
        started = record().started
        values = {"pool": "p", "total_seconds": 1.5, **values}
        return self.write(
            "".join(text_line(record(started=started + number, **values)) for number in range(count)), "log"
        )

    def of(self, *arguments: str, text: str = LISTENER + POOL) -> dict[str, Any]:
        """What a simulation says to programs."""
        status, out, err = self.run_it("simulate", self.write(text), *arguments, "--json")
        self.assertEqual((status, err), (0, ""))
        found: dict[str, Any] = json.loads(out)
        return found

    def connections(self, *arguments: str) -> list[dict[str, int]]:
        """The connections of each server, of each simulation."""
        return [
            {server["server"]: server["connections"] for server in simulation["servers"]}
            for simulation in self.of(*arguments)["simulations"]
        ]

    def test_text(self) -> None:
        """The load of each server, and how even it is."""
        status, out, err = self.run_it("simulate", self.write(LISTENER + POOL), "--log", self.log())
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(
            out,
            "30 clients in 29.0 s, to pool p\n"
            "\n"
            "balance roundrobin\n"
            "SERVER  WEIGHT  CONNECTIONS  SHARE  PEAK OPEN  MEAN OPEN       IN       OUT\n"
            "a            2           20  66.7%          2        1.0  10.3 kB  409.6 kB\n"
            "b            1           10  33.3%          1        0.5   5.2 kB  204.8 kB\n"
            "\n"
            "the highest for its weight, as a multiple of the mean: connections 1.000 (deviation 0.0%), "
            "open 1.009 (deviation 0.9%), bytes 1.000 (deviation 0.0%)\n",
        )

    def test_compared(self) -> None:
        """Several ways to balance stand in one table, in the order in which they were asked for."""
        arguments = ("--log", self.log(), "--balance", "first", "--balance", "roundrobin")
        status, out, _ = self.run_it("simulate", self.write(LISTENER + POOL), *arguments)
        self.assertEqual(status, 0)
        lines = out.splitlines()
        self.assertEqual(
            [line.split()[:2] for line in lines[4:6]], [["first", "2.000"], ["roundrobin", "1.000"]]
        )
        self.assertEqual(lines[-2].split(), ["first", "100.0%", "0.0%"])
        self.assertEqual(lines[-1].split(), ["roundrobin", "66.7%", "33.3%"])

    def test_all_ways(self) -> None:
        """All ways to balance can be asked for at once, and one with its parameters."""
        found = self.of(
            "--log", self.log(), "--balance", "all", "--balance", "hash key=source+port prefix6=56"
        )
        names = [simulation["balance"] for simulation in found["simulations"]]
        self.assertEqual(names, [*BALANCES, "hash key=source+port prefix6=56"])

    def test_not_in_the_log(self) -> None:
        """What a way goes by and no log has is told, with what stands for it."""
        for measure, note in (
            ("connect", ""),
            (
                "rtt",
                "note: leasttime measure=rtt goes by what no log has; the time to connect stands for it\n",
            ),
        ):
            asked = ("--log", self.log(), "--balance", f"leasttime measure={measure}")
            status, out, err = self.run_it("simulate", self.write(LISTENER + POOL), *asked)
            self.assertEqual((status, err), (0, note))
            self.assertIn("30 clients", out)

    def test_weight(self) -> None:
        """Another weight."""
        self.assertEqual(self.connections("--log", self.log(), "--weight", "b=4"), [{"a": 10, "b": 20}])
        self.assertEqual(self.connections("--log", self.log(), "--weight", "b=0"), [{"a": 30, "b": 0}])

    def test_servers(self) -> None:
        """Other servers, all alike."""
        found = self.connections("--log", self.log(), "--servers", "3")
        self.assertEqual(found, [{"s1": 10, "s2": 10, "s3": 10}])

    def test_lose(self) -> None:
        """A server that is lost, for good or for a while."""
        [gone] = self.of("--log", self.log(), "--lose", "b@9500ms")["simulations"]
        self.assertEqual(gone["servers"][1]["connections"], 3)
        self.assertGreater(gone["servers"][1]["failed"], 0)
        self.assertEqual(gone["retries"], gone["servers"][1]["failed"])
        [back] = self.of("--log", self.log(), "--lose", "b@9500ms-10s")["simulations"]
        self.assertGreater(back["servers"][1]["connections"], 8)
        path = self.write(LISTENER + POOL)
        self.assertIn("retries", self.run_it("simulate", path, "--log", self.log(), "--lose", "b@0s")[1])

    def test_made_up(self) -> None:
        """Clients are made up as they are asked for, the same of the same seed."""
        asked = ("--arrivals", "2000", "--rate", "50", "--lasts", "fixed:2s", "--clients", "9", "--skew", "1")
        one, again, other = (self.of(*asked, "--seed", seed)["simulations"][0] for seed in "112")
        self.assertEqual(one, again)
        self.assertNotEqual(one["seconds"], other["seconds"])
        self.assertEqual(one["clients"], 2000)
        self.assertAlmostEqual(one["seconds"] / 40, 1, places=0)
        self.assertTrue(60 < one["servers"][0]["mean_open"] < 73, one)

    def test_each_pool(self) -> None:
        """Of several pools the one that is meant is named, and lines of others are left out."""
        path = self.write(LISTENER + POOL + OTHER)
        status, out, err = self.run_it("simulate", path, "--pool", "q", "--log", self.log(pool="q"))
        self.assertEqual((status, err), (0, ""))
        self.assertIn("z ", out)
        status, out, err = self.run_it("simulate", path, "--pool", "q", "--log", self.log())
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(
            self.local(err),
            "note: left out 30 of other pools or of none (p)\nno line of log is of pool q\n",
        )

    def test_wrong_arguments(self) -> None:
        """Each wrong argument is named, with what is nearest to it, and exits with 2."""
        log = ("--log", "x")
        two = LISTENER + POOL + OTHER
        for text, arguments, expected in (
            (two, log, "there are several pools; add --pool and one of p, q"),
            (two, (*log, "--pool", "pp"), '--pool: "pp" is not known; did you mean "p"?'),
            (
                None,
                (*log, "--balance", "leastcon"),
                '--balance: "leastcon" is not known; did you mean "leastconn"?',
            ),
            (None, (*log, "--balance", ""), "--balance: has no value"),
            (
                None,
                (*log, "--balance", "hash key=path"),
                "hash key=path goes by what is in requests, and clients make none here; "
                "write --balance and another way",
            ),
            (None, (*log, "--balance", "'x"), "--balance: has a quote (') that is not closed on its line"),
            (
                None,
                (*log, "--weight", "a"),
                '--weight: "a" is not a server and a weight; write a=3, for example',
            ),
            (None, (*log, "--weight", "a=x"), '--weight: "x" is not a whole number, 0 to 256'),
            (None, (*log, "--weight", "aa=1"), '--weight: "aa" is not known; did you mean "a"?'),
            (None, (*log, "--lose", "a"), '--lose: "a" does not say when; write a@10m or a@10m-20m'),
            (None, (*log, "--lose", "c@1s"), '--lose: "c" is not known; known here: a, b'),
            (None, (*log, "--lose", "a@1"), '--lose: "1" has no unit; for seconds write "1s"'),
            (None, (*log, "--lose", "a@2s-1s"), '--lose: "a@2s-1s" comes back before it goes'),
            (None, (*log, "--rate", "5"), "--rate is of made up clients (--arrivals); a log has its own"),
        ):
            status, out, err = self.run_it("simulate", self.write(text or LISTENER + POOL), *arguments)
            self.assertEqual((status, out, err), (2, "", f"proxyctl simulate: error: {expected}\n"))
        made = ("--arrivals", "5")
        wrong: tuple[tuple[tuple[str, ...], str], ...] = (
            ((), "one of the arguments --log --arrivals is required"),
            ((*log, *made), "not allowed with argument"),
            (("--arrivals", "0"), '"0" is not a whole number, 1 to 1e+09'),
            ((*made, "--rate", "x"), '"x" is not a number, 0.001 to 1e+06'),
            ((*made, "--lasts", "normal:1s"), '"normal" is not known; did you mean "lognormal"?'),
            ((*made, "--lasts", "fixed"), '"" is not a duration'),
            ((*made, "--lasts", "fixed:1s:2"), "fixed has no shape; write fixed:1s"),
            ((*made, "--lasts", "pareto:1s:1"), '"1" is not a number, 1.01 to 10'),
        )
        for misused, expected in wrong:
            status, out, err = self.run_it("simulate", self.write(LISTENER + POOL), *misused)
            self.assertEqual((status, out), (2, ""))
            self.assertIn(expected, err)

    def test_what_cannot_be_read(self) -> None:
        """A configuration or a log that cannot be used exits with 1 and says why."""
        status, out, err = self.run_it("simulate", self.write("[pool p]\n"), "--arrivals", "1")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("server: is missing", err)
        path = os.path.join(self.folder, "no.log")
        status, out, err = self.run_it("simulate", self.write(LISTENER + POOL), "--log", path)
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(err, f"{path}: cannot be read: No such file or directory\n")

    def test_leaves_things_as_they_were(self) -> None:
        """Who calls it goes on as before."""
        self.of("--arrivals", "1")
        self.assertTrue(gc.isenabled())
