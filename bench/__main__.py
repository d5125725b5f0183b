"""
Measure proxyd beside HAProxy and nginx.

``python -m bench [--seconds S] [--rounds N] [--proxies NAME,...] [row ...]``: rows are those of
`bench.rows`, all if none is named.  The table goes to the terminal; a run of all rows and all proxies is
recorded in RESULTS.md.  Exit status: 0, or 1 if something did not run; the numbers are never a failure.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from importlib.metadata import version as installed
from pathlib import Path
from typing import Optional, Sequence

from bench.load import BUILD, HERE, Load, Result, cores, keep_to
from bench.proxies import CACHES, CHECKED, PROXIES, ROOT, NotRunning, Proxy, version
from bench.report import Line, lines, number, page, terminal
from bench.rows import GROUPS, ROWS, Row

SECONDS = 3.0
ROUNDS = 5
CHECKS_SECONDS = 12.0  # then every check has been made once, and they are spread over their interval
WARMUP = 0.1  # of the seconds that count, at least 0.3 s

DISTURBED = 0.03  # of the time, that proxy or load waited for a core that another process had


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure proxyd beside HAProxy and nginx.")
    parser.add_argument("rows", nargs="*", help=f"{', '.join((*ROWS, *GROUPS))}; all if none is given")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of all proxies in turn")
    parser.add_argument("--proxies", default=",".join(PROXIES), help="which, with commas between them")
    asked = parser.parse_args(words)
    asked.proxies = asked.proxies.split(",")
    asked.rows = [row for name in asked.rows or ROWS for row in GROUPS.get(name, (name,))]
    for name, known in (*((row, ROWS) for row in asked.rows), *((one, PROXIES) for one in asked.proxies)):
        if name not in known:
            parser.error(f"{name} is not known; there are {', '.join(known)}")
    return asked


class Bench:
    """One run: the load, the proxies that run, and what did not."""

    def __init__(self, names: Sequence[str], seconds: float) -> None:
        self._seconds = seconds
        self._core, other = cores()
        keep_to(other)
        self._load = Load()
        self._folder = BUILD / f"run-{os.getpid()}"  # another run may be going on
        self._proxies: dict[str, Proxy] = {}
        self._wanted = list(names)
        self.wrong: list[str] = []
        self._measured = 0
        self._disturbed: list[float] = []

    def __enter__(self) -> Bench:
        for name in self._wanted:
            try:
                self._proxies[name] = self._start(name)
            except NotRunning as error:
                self._note(str(error))
        return self

    def __exit__(self, *_: object) -> None:
        for proxy in self._proxies.values():
            proxy.stop()
        self._load.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def names(self) -> list[str]:
        """The proxies that run."""
        return list(self._proxies)

    def run(self, row: Row, rounds: int) -> list[Line]:
        """Measure a row on all proxies in turn."""
        names = [name for name in self._proxies if row.bulk or name != "haproxy-splice"]
        names = [name for name in names if name not in row.lacking]
        if row.name not in GROUPS["cache"]:
            names = [name for name in names if name not in CACHES]
        if row.checked:
            names = [name for name in names if name in CHECKED]
        results: dict[str, list[Result]] = {name: [] for name in names}
        for turn in range(rounds):
            for name in names if turn % 2 == 0 else reversed(names):
                self._say(f"{row.name}, round {turn + 1} of {rounds}, {name}: ", end="")
                try:
                    result = self._measure(row, name)
                except NotRunning as error:
                    self._note(str(error))
                    continue
                figures = [f"{number(one.read(result))} {one.unit} {one.name}" for one in row.figures]
                self._say("; ".join([*figures, *self._disturbance(result)]))
                self._note_what_failed(row, name, result)
                results[name].append(result)
        return lines(row, results)

    def _note_what_failed(self, row: Row, name: str, result: Result) -> None:
        if result["errors"]:
            self._note(f"{row.name} on {name}: {result['errors']} connections failed")
        if result.get("left") and not (row.checked or row.load.get("http")):  # checks are connections, too
            self._note(f"{row.name} on {name}: {result['left']} connections did not end")
        if any(one.compared and one.read(result) <= 0 for one in row.figures):
            self._note(f"{row.name} on {name}: nothing was measured")

    def quiet(self) -> str:
        """Whether other processes had a share in the numbers."""
        if not self._disturbed:
            return "no measurement was disturbed by other processes"
        return (
            f"{len(self._disturbed)} of {self._measured} measurements were disturbed by other processes, "
            f"for up to {100 * max(self._disturbed):.0f} % of the time"
        )

    def _disturbance(self, result: Result) -> list[str]:
        self._measured += 1
        lost = max(result.get("waited", 0), result.get("load_waited", 0)) / result.get("seconds", 1)
        if lost < DISTURBED:
            return []
        self._disturbed.append(lost)
        return [f"DISTURBED for {100 * lost:.0f} %"]

    def _measure(self, row: Row, name: str) -> Result:
        warmup = max(0.3, WARMUP * self._seconds)
        if row.checked:
            return self._measure_checked(row, name, warmup)
        if not row.fresh:
            return row.measure(self._load, self._proxies[name], self._seconds, warmup)
        proxy = self._start(name, fresh=True)
        try:
            return row.measure(self._load, proxy, self._seconds, 0)
        finally:
            proxy.stop()

    def _measure_checked(self, row: Row, name: str, warmup: float) -> Result:
        """The load beside servers that are checked, and the same without them."""
        proxy = self._start(name, fresh=True, checked=row.checked)
        try:
            time.sleep(CHECKS_SECONDS)
            result = row.measure(self._load, proxy, self._seconds, warmup)
        finally:
            proxy.stop()
        beside = row.measure(self._load, self._proxies[name], self._seconds, warmup)
        return {**result, "beside": beside}

    def _start(self, name: str, fresh: bool = False, checked: int = 0) -> Proxy:
        folder = self._folder / ("fresh" if fresh else "running")
        return Proxy(name, folder, self._load.servers, self._core, checked)

    def _note(self, what: str) -> None:
        self.wrong.append(what)
        self._say(f"bench: {what}")

    @staticmethod
    def _say(what: str, end: str = "\n") -> None:
        print(what, end=end, file=sys.stderr, flush=True)


def facts(words: Sequence[str], asked: argparse.Namespace, began: float, quiet: str) -> dict[str, str]:
    """Where, when and with what it was measured."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(began)),
        "commit": commit() or "unknown",
        "command": shlex.join(["python", "-m", "bench", *words]),
        "measurement": f"{asked.rounds} rounds of {asked.seconds:g} s; {quiet}",
        "machine": f"{processor()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "proxyd": f"Python {platform.python_version()} ({interpreter()}), Twisted {installed('twisted')}; "
        "access log, metrics and TCP checks",
        "HAProxy": f"{version('haproxy') or '-'}; nbthread 1, splice-auto, tcplog to a file, and TCP checks; "
        "haproxy-splice always splices, through pipes of 1 MiB, as proxyd has them",
        "nginx": f"{version('nginx') or '-'}; one worker, and an access log",
        "Varnish": f"{version('varnishd') or '-'}; in memory, without a line for each request",
    }


def interpreter() -> str:
    """Who has built Python: distributions optimize by a profile and at link time, others rarely do."""
    return "the distribution's" if sys.base_prefix == "/usr" else "built by somebody else"


def commit() -> Optional[str]:
    """The commit that is measured, and whether the files differ from it."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()


def processor() -> str:
    """The name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main(words: Sequence[str]) -> int:
    """Measure; return the exit status."""
    asked = arguments(words)
    began = time.time()
    everything: list[Line] = []
    with Bench(asked.proxies, asked.seconds) as bench:
        for name in asked.rows:
            everything += bench.run(ROWS[name], asked.rounds)
        names = bench.names
    print(terminal(everything, names))
    print(bench.quiet())
    if set(asked.rows) == set(ROWS) and set(names) == set(PROXIES):
        results = HERE / "RESULTS.md"
        results.write_text(
            page(everything, names, facts(words, asked, began, bench.quiet())), encoding="utf-8"
        )
        print(f"recorded in {results.relative_to(ROOT)}")
    for what in bench.wrong:
        print(f"bench: {what}")
    return 1 if bench.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
