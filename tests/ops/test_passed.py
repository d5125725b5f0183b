"""Are connections that have ended counted as what they were?"""

from __future__ import annotations

import math

from zope.interface.verify import verifyObject

from proxyd.errors import Reason
from proxyd.interfaces import IObserver
from proxyd.ops.passed import CONNECT_BOUNDS, CONNECTION_BOUNDS, QUEUE_BOUNDS, Durations, Passed
from tests.ops.records import record, refused, request
from tests.support.case import Case


class DurationTests(Case):
    def test_bounds(self) -> None:
        """A duration on a bound is within it."""
        durations = Durations((1.0, 2.0))
        for seconds in 0.0, 1.0, 1.5, 2.0, 2.5, math.inf:
            durations.note(seconds)
        self.assertEqual(durations.counts, [2, 2, 2])

    def test_order(self) -> None:
        """The bounds rise."""
        for bounds in CONNECT_BOUNDS, CONNECTION_BOUNDS, QUEUE_BOUNDS:
            self.assertEqual(list(bounds), sorted(set(bounds)))


class PassedTests(Case):
    def test_observer(self) -> None:
        """It is told of every record."""
        self.assertTrue(verifyObject(IObserver, Passed()))

    def test_ways(self) -> None:
        """What went to a server is counted with the listener that it came from."""
        passed = Passed()
        for number in range(3):
            passed.closed(record(bytes_in=number, bytes_out=10, queue_seconds=0.2 if number else None))
        passed.closed(refused(retries=2))
        way = passed.ways["web", "web", "a"]
        self.assertEqual((way.ended, way.bytes_in, way.bytes_out), ({"client_finished": 3}, 3, 30))
        self.assertEqual(sum(passed.connect_of("web", "a").counts), 3)
        self.assertEqual(sum(passed.connection_of("web").counts), 4)
        self.assertEqual(sum(passed.queue_of("web").counts), 2)
        self.assertEqual((passed.refused, passed.retries), ({("web", "no_server"): 1}, {"web": 2}))

    def test_requests(self) -> None:
        """Requests are counted by what came of them; their connections bring no bytes and no server."""
        passed = Passed()
        passed.answered(request(queue_seconds=0.2))
        passed.answered(request(connect_seconds=0.0, retries=1))
        passed.answered(request(status=502, reason=Reason.NO_ANSWER, first_byte_seconds=None))
        passed.closed(record(requests=3, server=""))
        served = passed.requests["web", "web", "a"]
        self.assertEqual(served.ended, {(200, "answered"): 2, (502, "no_answer"): 1})
        self.assertEqual((sum(served.total.counts), sum(served.first_byte.counts)), (3, 2))
        self.assertEqual((served.way.bytes_in, served.way.ended), (3 * 517, {}))
        self.assertEqual(passed.ways["web", "web", ""].ended, {"client_finished": 1})
        self.assertEqual((sum(passed.connect_of("web", "a").counts), passed.retries), (2, {"web": 1}))
        self.assertEqual((sum(passed.queue_of("web").counts), passed.refused), (1, {}))
        passed.forget_all_but(set())
        self.assertEqual(passed.requests, {})

    def test_forgotten(self) -> None:
        """A server that is no more is forgotten, and what reached none is not."""
        passed = Passed()
        passed.closed(record())
        passed.closed(record(server="b"))
        passed.closed(refused())
        passed.forget_all_but({("web", "a")})
        self.assertEqual(set(passed.ways), {("web", "web", "a"), ("web", "web", "")})
        self.assertEqual(set(passed.connect), {("web", "a"), ("web", "")})
