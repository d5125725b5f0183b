"""Which clients does ``proxyctl simulate`` send: those of access logs, or made up ones?"""

from __future__ import annotations

import gzip
import sys
from contextlib import contextmanager, nullcontext
from functools import partial
from io import BufferedReader, TextIOWrapper
from typing import IO, Iterator, Sequence, cast

from attrs import Factory, define

from proxyd.cli.inorder import InOrder
from proxyd.cli.progress import Progress
from proxyd.policy.accesslog import LONGEST_LINE, read_line

_GZIP = b"\x1f\x8b"  # RFC 1952 2.3.1

_MOST_NAMES = 100  # of other pools that are kept to be told


@define
class Replay:
    """What was found in logs: the connections of a pool, and how many lines were others'."""

    connections: InOrder
    unreadable: int = 0
    of_others: int = 0
    other_pools: dict[str, None] = Factory(dict)


def read_logs(paths: Sequence[str], pool: str) -> Replay:
    """
    The connections of a pool in these logs, which may be packed by gzip; ``-`` is the standard input.

    Raises OSError or EOFError for one that cannot be read.
    """
    replay = Replay(InOrder())
    progress = Progress(sys.stderr, "lines read")
    lines = 0
    for path in paths:
        with _opened(path) as file:
            # Not by iterating: a line without end would be read into memory.
            for line in iter(partial(file.readline, LONGEST_LINE + 1), ""):
                lines += 1
                progress.at(lines)
                logged = read_line(line)
                if logged is None:
                    replay.unreadable += 1
                elif logged.pool == pool:
                    replay.connections.add(logged)
                else:
                    replay.of_others += 1
                    if logged.pool and len(replay.other_pools) < _MOST_NAMES:
                        replay.other_pools[logged.pool] = None
    progress.over()
    return replay


@contextmanager
def _opened(path: str) -> Iterator[TextIOWrapper]:
    with nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as raw:
        packed = cast(BufferedReader, raw).peek(2)[:2] == _GZIP
        file = gzip.GzipFile(fileobj=raw) if packed else raw
        yield TextIOWrapper(cast(IO[bytes], file), encoding="utf-8", errors="replace")
