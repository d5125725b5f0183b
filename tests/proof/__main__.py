"""
Do the long proofs hold?

``python -m tests.proof [name ...]`` runs the modules of this folder, each in a process of its own and
in the order of their names, prints what they print and then a table.  A proof is a module that exits
with 0 if it holds, and says on its last line what it found.  trial does not collect proofs: they take
minutes and measure the machine as well.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple, Sequence

HERE = Path(__file__).resolve().parent

# A proof that hangs has failed.
TIMEOUT = 1800  # seconds


class Outcome(NamedTuple):
    """What came of one proof."""

    name: str
    holds: bool
    seconds: float
    found: str


def names(folder: Path) -> list[str]:
    """List the proofs in this folder."""
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def prove(name: str, command: Sequence[str], timeout: float = TIMEOUT) -> Outcome:
    """Run one proof, passing on what it prints; past the timeout (seconds) it is killed, and has failed."""
    print(f"== {name}", flush=True)
    began = time.monotonic()
    last = ""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        # The whole group, or a daemon that the proof started would hold the pipe open.
        limit = threading.Timer(timeout, os.killpg, (process.pid, signal.SIGKILL))
        limit.start()
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
        process.wait()
        limit.cancel()
    seconds = time.monotonic() - began
    if seconds >= timeout:
        return Outcome(name, False, seconds, f"killed after {timeout:g} s")
    return Outcome(name, process.returncode == 0, seconds, last)


def table(outcomes: Sequence[Outcome]) -> str:
    """Put the outcomes in columns."""
    width = max(len(outcome.name) for outcome in outcomes)
    return "\n".join(
        f"{'pass' if one.holds else 'FAIL'}  {one.name:{width}}  {one.seconds:6.1f} s  {one.found}"
        for one in outcomes
    )


def main(chosen: Sequence[str]) -> int:
    """Run the chosen proofs, or all; return the exit status, which is 1 as well if there was none to run."""
    known = names(HERE)
    unknown = sorted(set(chosen) - set(known))
    if unknown or not known:
        print(f"no such proof: {', '.join(unknown) or 'none'}; there are: {', '.join(known) or 'none'}")
        return 1
    outcomes = [
        prove(name, [sys.executable, "-u", "-m", f"tests.proof.{name}"])
        for name in known
        if name in (chosen or known)
    ]
    print(table(outcomes))
    return 0 if all(outcome.holds for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
