"""
Where does the daemon spend its time?

``python -m bench.profile [--tool py-spy|perf] [--seconds S] [--proxy NAME] row`` runs one row of `bench.rows`
against the daemon alone and prints which functions had its processor: Python's with py-spy, or with perf
those of the kernel and of the interpreter, for a peer as well.  py-spy's stacks stay in ``bench/build``, for
any tool that draws flame graphs.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Callable, Iterable, Mapping, Sequence

from bench.load import BUILD, Load, cores, keep_to
from bench.proxies import PROXIES, Proxy
from bench.report import number
from bench.rows import ROWS

SECONDS = 5.0

WARMUP = 0.5

PER_SECOND = 500  # samples; py-spy does not stop the daemon for them

SHOWN = 30  # functions


def py_spy(pid: int, seconds: float, kept: Path) -> Sequence[str]:
    """Sample Python's stacks."""
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if program is None:
        raise SystemExit("profile: py-spy is not installed: pip install 'proxyd[bench]'")
    return [
        *(program, "record", "--nonblocking", "--format", "raw", "--rate", str(PER_SECOND)),
        *("--duration", f"{max(1, seconds):.0f}", "--pid", str(pid), "--output", str(kept)),
    ]


def perf(pid: int, seconds: float, kept: Path) -> Sequence[str]:
    """Sample the kernel and the interpreter."""
    program = shutil.which("perf")
    if program is None:
        raise SystemExit("profile: perf is not installed (linux-perf)")
    return [
        *(program, "record", "--quiet", "--freq", "2000", "--pid", str(pid), "--output", str(kept)),
        *("--", "sleep", f"{seconds:g}"),
    ]


def shares(stacks: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """
    How often each function was running, and how often it was anywhere on the stack.

    A stack is a line as py-spy's raw format has it, ``outer;inner;innermost COUNT``.
    """
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for stack in stacks:
        frames, _, count = stack.rpartition(" ")
        if not frames:
            continue
        functions = [frame.rpartition(":")[0] + ")" if ":" in frame else frame for frame in frames.split(";")]
        own[functions[-1]] += int(count)
        for function in set(functions):
            total[function] += int(count)
    return own, total


def print_stacks(kept: Path) -> None:
    """Print what py-spy has found."""
    own, total = shares(kept.read_text().splitlines())
    samples = sum(own.values()) or 1
    print("  own  total  function")
    for function, count in own.most_common(SHOWN):
        print(f"{100 * count / samples:4.1f}%  {100 * total[function] / samples:4.1f}%  {function}")
    print(f"{samples} samples; the stacks are in {kept}")


def print_report(kept: Path) -> None:
    """Print what perf has found."""
    for sort, most in (("dso", 6), ("dso,symbol", SHOWN)):
        command = ["perf", "report", "--stdio", "--quiet", "--sort", sort, "--input", str(kept)]
        said = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
        )
        rows = [line.rstrip(" -") for line in said.stdout.splitlines() if line.strip()]
        print("\n".join(rows[:most]), end="\n\n")


Tool = tuple[Callable[[int, float, Path], Sequence[str]], Callable[[Path], None]]

TOOLS: Mapping[str, Tool] = {"py-spy": (py_spy, print_stacks), "perf": (perf, print_report)}


def main(words: Sequence[str]) -> int:
    """Profile one row."""
    parser = argparse.ArgumentParser(prog="profile", description="Show where the daemon spends its time.")
    parser.add_argument("row", choices=[name for name, row in ROWS.items() if row.load or row.streams])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--proxy", choices=list(PROXIES), default="proxyd")
    parser.add_argument("--tool", choices=list(TOOLS), default="py-spy")
    asked = parser.parse_args(words)
    record, show = TOOLS[asked.tool]
    row = ROWS[asked.row]
    core, other = cores()
    keep_to(other)
    load = Load()
    proxy = Proxy(asked.proxy, BUILD / "profiled", load.servers, core)
    kept = BUILD / f"profile-{row.name}.{asked.tool}"
    try:
        command = record(proxy.pid, asked.seconds, kept)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as tool:
            result = row.measure(load, proxy, asked.seconds, WARMUP)
            said = tool.communicate()[1]
        if tool.returncode:
            print(f"profile: {asked.tool} ended with status {tool.returncode} (it wants root):\n{said}")
            return 1
        show(kept)
    finally:
        proxy.stop()
        load.stop()
    print("; ".join(f"{number(one.read(result))} {one.unit} {one.name}" for one in row.figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
