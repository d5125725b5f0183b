"""What do all proofs begin and end with: a stage, and a daemon that is as large afterwards as before?"""

from __future__ import annotations

import sys
import traceback
from typing import Any, Awaitable, Callable

from attrs import frozen
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import react

from tests.support.daemon import Daemon
from tests.support.stage import Stage

MIB = 1024 * 1024

# What a daemon may grow by beyond its first use, bytes: the allocator keeps some pages for another time.
GROWTH = 2 * MIB


@frozen
class Footprint:
    """What a daemon has of memory (resident, bytes) and of sockets."""

    resident: int
    sockets: int

    def __str__(self) -> str:
        return f"{self.resident / MIB:.1f} MiB resident, {self.sockets} sockets"


async def footprint(daemon: Daemon) -> Footprint:
    """What the daemon has when nobody is connected."""
    await daemon.leaves_nothing()
    return Footprint(daemon.resident(), daemon.sockets())


async def unchanged(daemon: Daemon, before: Footprint, growth: int = GROWTH) -> str:
    """Print what the daemon has after the work; fail if that is more than before, and say it in short."""
    after = await footprint(daemon)
    print(f"before: {before}")
    print(f"after:  {after}; {growth / MIB:g} MiB more would be allowed")
    assert after.sockets <= before.sockets, "sockets were left behind"
    assert after.resident - before.resident <= growth, "memory has grown"
    await daemon.stop()
    return f"{(after.resident - before.resident) / MIB:+.1f} MiB, {after.sockets - before.sockets:+d} sockets"


def prove(proof: Callable[[Stage], Awaitable[str]]) -> None:
    """Run a proof; its last line is what it returns, and the exit status is 1 if it raises."""

    async def run(reactor: Any) -> None:
        cleanups: list[tuple[Callable[..., Any], Any, Any]] = []
        stage = Stage(reactor, lambda function, *args, **kwargs: cleanups.append((function, args, kwargs)))
        try:
            print(await proof(stage))
        except BaseException as error:
            traceback.print_exc(file=sys.stdout)
            print(f"{type(error).__name__}: {error}")
            raise SystemExit(1) from error
        finally:
            while cleanups:
                function, args, kwargs = cleanups.pop()
                await maybeDeferred(function, *args, **kwargs)

    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))
