"""
How is a proxy loaded with streams of HTTP/2, or with requests for what it stores or compresses?

By h2load of nghttp2 (Debian's nghttp2-client), on the core of the load; `load.c` is the server behind the
proxy, as for the other rows.
"""

from __future__ import annotations

import contextlib
import re
import resource
import subprocess
from pathlib import Path
from typing import Sequence

from bench.load import Result
from bench.proxies import CACHE_HOST, GZIP_HOST, H2_HOST, NotRunning, Proxy, executable

_COUNTS = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout").search


def measure(
    proxy: Proxy,
    seconds: float,
    warmup: float,
    clients: int,
    streams: int,
    size: int,
    cached: int = 0,
    gzip: int = 0,
) -> Result:
    """
    GET so many bytes on so many connections, so many times at once.

    What is ``cached``, and JSON that is compressed by ``gzip``, by HTTP/1.1.
    """
    host = CACHE_HOST if cached else GZIP_HOST if gzip else H2_HOST
    command = [executable("h2load"), f"-c{clients}", f"-m{streams}", *(["--h1"] if cached or gzip else [])]
    if gzip:
        command.append("--header=Accept-Encoding: gzip")
    command.append(f"http://{host}:{proxy.port}/{'json/' * gzip}{size}")
    _run([*command, f"--duration={max(1.0, warmup):g}"])
    before, own = _processor(proxy.pid), resource.getrusage(resource.RUSAGE_CHILDREN)
    said = _run([*command, f"--duration={seconds:g}"])
    after, busy = _processor(proxy.pid), resource.getrusage(resource.RUSAGE_CHILDREN)
    succeeded, failed, errored, timeout = map(int, said)
    return {
        "seconds": seconds,
        "exchanges": succeeded,
        "errors": failed + errored + timeout,
        "cpu": after[0] - before[0],
        "waited": after[1] - before[1],
        "load_busy": busy.ru_utime + busy.ru_stime - own.ru_utime - own.ru_stime,
    }


def _run(command: Sequence[str]) -> Sequence[str]:
    """How many requests succeeded, failed, erred and timed out."""
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    found = _COUNTS(said.stdout)
    if found is None or said.returncode:
        raise NotRunning(f"h2load: {said.stdout.strip()[-300:]}")
    return found.groups()


def _processor(pid: int) -> tuple[float, float]:
    """
    For how long all threads of a process have run, and its first one has waited for a core, in seconds.

    Threads wait for each other, too, which is no disturbance (/proc/PID/schedstat is of the first alone).
    """
    ran = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            ran += int((task / "schedstat").read_text().split()[0])
    return ran / 1e9, int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
