"""Does a simulation of an access log find what the real daemon has done?"""

from __future__ import annotations

import json
from collections import Counter
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from proxyd.config.balance import BALANCES
from tests.cli.shell import proxyctl
from tests.support.daemon import Daemon, DaemonCase
from tests.support.load import clients, visit
from tests.support.services import redis

EACH = 500  # clients of each way to balance
RATE = 500.0  # a second, of all together
STAYS = 0.3  # seconds, on average

WEIGHTS = {"a": 3, "b": 2, "c": 1}
ROOM = {"a": 6, "b": 5, "c": 100}  # connections, for `first`

# What each is called, and how it is written.  What `leasttime` may measure beside the time to connect is not
# in the log, so of that a simulation cannot know.
WAYS = {**{name: name for name in BALANCES}, "bounded": "hash hash_balance_factor=125"}

BY_THE_CLIENT = ("source", "hash", "maglev")
IN_TURN = ("roundrobin", "static-rr")

SEEDS = 10
DEVIATIONS = 5.0  # by which a share is off by chance once in a million; some thirty are compared


class Replayed(DaemonCase):
    async def test_as_it_was(self) -> None:
        """Of each way to balance, the shares of the servers are those of a simulation of its log."""
        servers = {name: (await redis(self.stage)).place for name in WEIGHTS}
        places = {way: self.stage.tcp() for way in WAYS}
        sections = []
        for way, place in places.items():
            lines = [
                f"server {name} = {servers[name]} weight={weight}"
                + (f" max_connections={ROOM[name]}" if way == "first" else "")
                for name, weight in WEIGHTS.items()
            ]
            sections += [f"[listener {way}]", f"bind = {place.bind}", f"pool = {way}"]
            sections += [f"[pool {way}]", f"balance = {WAYS[way]}", *lines]
        daemon = await self.start("\n".join(sections), places["p2c"])
        await visit(self.stage, clients(list(places.values()), EACH, RATE, STAYS, seed=1))
        records = await daemon.records(EACH * len(WAYS))
        for way in WAYS:
            own = [record for record in records if record["pool"] == way]
            self.assertEqual(len(own), EACH, way)
            log = daemon.folder / f"{way}.log"  # all of them would have to be read for each simulation
            log.write_text("".join(f"{json.dumps(record)}\n" for record in own))
            seeds = range(1 if way in BY_THE_CLIENT + IN_TURN else SEEDS)
            simulated = [self.simulated(daemon, log, way, seed) for seed in seeds]
            self.compare(way, Counter(record["server"] for record in own), simulated)

    async def test_queue(self) -> None:
        """Where clients wait for room, as many wait as long in a simulation."""
        servers = {name: (await redis(self.stage)).place for name in WEIGHTS}
        lines = [f"server {name} = {place} max_connections=9" for name, place in servers.items()]
        front = self.stage.tcp()
        text = "\n".join([f"[listener p2c]\nbind = {front.bind}\npool = p2c\n[pool p2c]", *lines])
        daemon = await self.start(text, front)
        await visit(self.stage, clients([front], EACH, 27 / STAYS, STAYS, seed=1))
        waits = [record["queue_seconds"] for record in await daemon.records(EACH)]
        waited = [wait for wait in waits if wait is not None]
        found = [self.simulation(daemon, daemon.access_log, "p2c", seed)["queue"] for seed in range(3)]
        told = f"{len(waited)} waited {sum(waited):.1f} s, simulated {found}"
        self.assertGreater(len(waited), EACH / 10)
        self.assertLess(abs(fmean(one["clients"] for one in found) / len(waited) - 1), 0.1, told)
        self.assertLess(abs(fmean(one["seconds"] for one in found) / sum(waited) - 1), 0.2, told)

    def compare(self, way: str, real: Counter[str], simulated: list[dict[str, int]]) -> None:
        """Assert that each server's share is as it is expected to be."""
        for name in WEIGHTS:
            counts = [found[name] for found in simulated]
            told = f"{way}: server {name} has {real[name]} connections, simulated {counts}"
            if way in BY_THE_CLIENT:
                self.assertEqual(set(counts), {real[name]}, told)
            elif way in IN_TURN:
                self.assertLessEqual(max(abs(count - real[name]) for count in counts), 1, told)
            else:
                share = fmean(counts) / EACH
                by_chance = sqrt(EACH * share * (1 - share))  # if each client went anywhere by itself
                off = abs(real[name] - fmean(counts))
                self.assertLess(off, DEVIATIONS * max(by_chance, stdev(counts)), told)

    def simulated(self, daemon: Daemon, log: Path, way: str, seed: int) -> dict[str, int]:
        """How many connections each server has in a simulation."""
        found = self.simulation(daemon, log, way, seed)
        return {server["server"]: server["connections"] for server in found["servers"]}

    def simulation(self, daemon: Daemon, log: Path, way: str, seed: int) -> dict[str, Any]:
        """What a simulation of a pool finds."""
        path = str(daemon.folder / "proxy.ini")
        asked = ("--pool", way, "--log", str(log), "--seed", str(seed), "--json")
        status, out, err = proxyctl("simulate", path, *asked)
        self.assertEqual(status, 0, err)
        found: list[dict[str, Any]] = json.loads(out)["simulations"]
        return found[0]
