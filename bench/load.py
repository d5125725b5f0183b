"""How is the load made?  By `load.c`, which this compiles, starts, and talks to."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Mapping, Sequence

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "load.c"
BUILD = HERE / "build"

Result = Mapping[str, Any]


def cores() -> tuple[int, int]:
    """The core for the proxies, and the one for the load and everything else."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise SystemExit("bench: two cores are needed, one for the proxy and one for the load")
    return allowed[0], allowed[1]


def keep_to(core: int) -> None:
    """Stay on a core, with all that is started from here and is not told otherwise."""
    os.sched_setaffinity(0, {core})


def built() -> Path:
    """The compiled load generator."""
    program = BUILD / "load"
    if not program.exists() or program.stat().st_mtime < SOURCE.stat().st_mtime:
        BUILD.mkdir(exist_ok=True)
        compiler = os.environ.get("CC", "cc")
        command = [
            compiler,
            "-O2",
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-o",
            str(program),
            str(SOURCE),
            "-lssl",
            "-lcrypto",
        ]
        try:
            subprocess.run(command, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"bench: load.c was not compiled: {error}") from None
    return program


class Load:
    """The running load generator, with the servers that it has behind the proxies."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [str(built())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.servers: Sequence[str] = self._answer()["servers"]

    def measure(self, **options: object) -> Result:
        """Run a load; `load.c` has the options and what is answered."""
        return self._ask("measure", options)

    def hold(self, **options: object) -> Result:
        """Open connections and keep them."""
        return self._ask("hold", options)

    def release(self) -> Result:
        """Close what is held."""
        return self._ask("release", {})

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, command: str, options: Mapping[str, object]) -> Result:
        assert self._process.stdin is not None
        words = [command, *(f"{name}={value}" for name, value in options.items())]
        self._process.stdin.write(" ".join(words) + "\n")
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"bench: the load generator ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer
