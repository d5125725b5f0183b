"""Is it said what has become of a server, and why?"""

from __future__ import annotations

from twisted.logger import capturedLogs, formatEvent

from proxyd.config.address import TcpAddress
from proxyd.config.health import CheckSpec
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.ops.state import StateLog
from proxyd.policy.lots import Random
from proxyd.policy.pool import Pool
from proxyd.policy.state import State
from tests.support.case import Case


class Lines(Case):
    """The lines of the log."""

    def test_lines(self) -> None:
        """A line for each change; what takes a server out by itself is a warning, and so is panic."""
        servers = tuple(ServerSpec(name, TcpAddress("10.0.0.1", 80)) for name in "abc")
        spec = PoolSpec("web", servers, checks=(CheckSpec(),), panic_threshold=50)
        pool = Pool(spec, Random(lambda: 0.0))
        a, b, c = pool.servers
        pool.watch(StateLog().changed)
        with capturedLogs() as events:
            pool.turned(a, State.UP, "check passed", 1.0)
            pool.drain(a, "upgrade", 2.0)
            pool.turned(a, State.DOWN, "refused", 3.0)
            pool.disable(a, "upgrade", 4.0)
            pool.weigh(a, 5, "larger", 5.0)
            pool.enable(a, "done", 6.0)
            pool.turned(b, State.DOWN, "refused", 7.0)
            pool.eject(c, 90.0, "5 in a row", 8.0)
            pool.turned(b, State.UP, "check passed", 9.0)
            pool.revise([(b, ServerSpec("b", TcpAddress("10.0.0.9", 80)))], "the name leads there", 9.5)
            pool.revise([(a, ServerSpec("a", a.address, 3, priority=1))], "the name leads there", 9.7)
            pool.remove([c], "no address any more", 10.0)
        self.assertEqual(
            [f"{event['log_level'].name}: {formatEvent(event)}" for event in events],
            [
                "info: [pool web] server a (10.0.0.1:80) is up: check passed",
                "info: [pool web] server a (10.0.0.1:80) is draining: upgrade",
                "info: [pool web] server a (10.0.0.1:80) is draining, and down to its checks: refused",
                "info: [pool web] server a (10.0.0.1:80) is in maintenance: upgrade",
                "info: [pool web] server a (10.0.0.1:80) has weight 5: larger",
                "info: [pool web] server a (10.0.0.1:80) is checking: done",
                "warn: [pool web] server b (10.0.0.1:80) is down: refused",
                "warn: [pool web] server c (10.0.0.1:80) is ejected: 5 in a row",
                "warn: [pool web] fewer servers are up than its panic_threshold: all get connections",
                "info: [pool web] server b (10.0.0.1:80) is up: check passed",
                "info: [pool web] enough servers are up again: only these get connections",
                "info: [pool web] server b (10.0.0.9:80) is checking: the name leads there",
                "info: [pool web] server a (10.0.0.1:80) is checking with weight 5 and priority 1: "
                "the name leads there",
                "info: [pool web] server c (10.0.0.1:80) is no more: no address any more",
            ],
        )
