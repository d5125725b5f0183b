"""A full process stops accepting, says so once, and goes on by itself."""

from __future__ import annotations

import os
import resource
from contextlib import contextmanager
from typing import Any, Iterator, cast

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, globalLogPublisher

from proxyd.relay.capacity import (
    QUIET_SECONDS,
    RETRY_SECONDS,
    UNLIMITED,
    Capacity,
    connections_for,
    raise_limit,
)
from tests.support.case import Case
from tests.support.descriptors import open_files, open_files_before


class Door:
    """A listener that notes whether it accepts."""

    accepting = True

    def pause(self) -> None:
        self.accepting = False

    def resume(self) -> None:
        self.accepting = True


def free_descriptors() -> int:
    """How many descriptors this process could still open."""
    taken = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return len(taken)
    finally:
        for fd in taken:
            os.close(fd)


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Let this process open so many more descriptors."""
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(count + 1)]
    for fd in taken:
        os.close(fd)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[count], hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class CapacityTests(Case):
    """Two listeners that share room for three connections."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.capacity = Capacity(self.clock, 3)
        self.addCleanup(self.capacity.stop)
        self.doors = Door(), Door()
        for door in self.doors:
            self.capacity.add(door)
        self.said: list[str] = []
        observer = cast(ILogObserver, self._note)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace", "").startswith("proxyd"):
            self.said.append(event.get("why", ""))

    def accepting(self) -> list[bool]:
        return [door.accepting for door in self.doors]

    def test_all_listeners_pause_when_the_last_place_is_taken(self) -> None:
        """The boundary: with all but one taken they accept, with all taken none does."""
        self.capacity.enter()
        self.capacity.enter()
        self.assertEqual(self.accepting(), [True, True])
        self.capacity.enter()
        self.assertEqual(self.accepting(), [False, False])
        self.capacity.leave()
        self.assertEqual(self.accepting(), [True, True])

    def test_it_is_said_once_a_minute(self) -> None:
        """At the limit every client that leaves lets one in; the log is not told of each."""
        for _ in range(3):
            self.capacity.enter()
        for _ in range(50):
            self.capacity.leave()
            self.capacity.enter()
        self.assertEqual(len(self.said), 1)
        self.assertIn("max_connections", self.said[0])
        self.clock.advance(QUIET_SECONDS)
        self.capacity.leave()
        self.capacity.enter()
        self.assertEqual(len(self.said), 2)

    def test_no_descriptor_left(self) -> None:
        """The head of the line is turned away by the reserve; the others wait until it is tried again."""
        shed: list[int] = []

        def turn_away() -> None:
            shed.append(free_descriptors())

        self.capacity.enter()
        with descriptors_left(0):
            self.capacity.exhausted(turn_away)
            self.assertEqual(shed, [1])
            self.assertEqual(free_descriptors(), 0)  # the reserve is there again
            self.assertEqual(self.accepting(), [False, False])
            self.assertIn("no file descriptor left (connections open: 1)", self.said[0])
            for _ in range(5):
                self.clock.advance(RETRY_SECONDS)
                self.capacity.exhausted(turn_away)
            self.assertEqual(self.accepting(), [False, False])
            self.assertEqual(len(shed), 1)
        self.clock.advance(RETRY_SECONDS)
        self.assertEqual(self.accepting(), [True, True])
        self.assertEqual(len(self.said), 1)

    def test_the_doors_open_when_a_whole_connection_fits(self) -> None:
        """One descriptor is not enough: who was let in would be cut off as soon as a server is dialed."""
        self.capacity.enter()
        self.capacity.exhausted()
        for left, expected in (0, False), (1, False), (2, True):
            with descriptors_left(left):
                self.clock.advance(RETRY_SECONDS)
                self.assertEqual(self.accepting(), [expected] * 2, left)

    def test_a_client_whose_dial_had_no_descriptor_lets_nobody_in(self) -> None:
        """What such a session leaves behind is one descriptor, and the next client needs two."""
        self.capacity.enter()
        with descriptors_left(0):
            self.capacity.exhausted()
        with descriptors_left(1):
            self.capacity.leave()
            self.clock.advance(0)
            self.assertEqual(self.accepting(), [False, False])

    def test_a_connection_that_ends_frees_its_descriptors(self) -> None:
        """Nobody waits for the timer when it is known that there is room."""
        self.capacity.enter()
        with descriptors_left(0):
            self.capacity.exhausted()
            self.capacity.leave()  # and the datapath is about to close the sockets
        with descriptors_left(2):
            self.clock.advance(0)
            self.assertEqual(self.accepting(), [True, True])

    def test_in_a_shortage_nobody_is_let_in_who_could_not_be_served(self) -> None:
        """The doors close before the last descriptors are gone, so no further client pays for it."""
        self.capacity.most = 100
        self.capacity.exhausted()
        self.clock.advance(RETRY_SECONDS)
        for left, expected in (3, True), (2, False), (3, False):
            with descriptors_left(left):
                self.capacity.enter()  # who has one descriptor, and needs one of these
                self.assertEqual(self.accepting(), [expected] * 2, left)
        self.clock.advance(RETRY_SECONDS)
        self.clock.advance(QUIET_SECONDS)
        with descriptors_left(0):
            self.capacity.enter()  # a minute has passed: the shortage is history
        self.assertEqual(self.accepting(), [True, True])
        shed: list[None] = []
        self.capacity.exhausted(lambda: shed.append(None))
        self.assertEqual((shed, len(self.said)), ([None], 2))

    def test_a_shortage_when_max_connections_are_in_use(self) -> None:
        """Both limits at once: the doors open when neither holds any more."""
        for _ in range(3):
            self.capacity.enter()
        self.capacity.exhausted()
        with descriptors_left(1):
            self.capacity.leave()
            self.clock.advance(RETRY_SECONDS)
            self.assertEqual(self.accepting(), [False, False])
        self.capacity.enter()
        self.clock.advance(RETRY_SECONDS)
        self.assertEqual(self.accepting(), [False, False])
        self.capacity.leave()
        self.clock.advance(0)
        self.assertEqual(self.accepting(), [True, True])

    def test_who_waits_for_the_end_is_told(self) -> None:
        """A drain waits until the last connection is gone; who no longer waits is not told."""
        self.successResultOf(self.capacity.when_empty())
        self.capacity.enter()
        self.capacity.enter()
        given_up = self.capacity.when_empty()
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        empty = self.capacity.when_empty()
        self.capacity.leave()
        self.assertNoResult(empty)
        self.capacity.leave()
        self.successResultOf(empty)

    def test_stopping_leaves_nothing(self) -> None:
        """Neither a timer nor the reserved descriptor outlives a stop."""
        before = open_files_before()
        capacity = Capacity(self.clock, 1)
        capacity.exhausted(lambda: None)
        capacity.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(open_files(), before)


class LimitTests(Case):
    """The descriptors that the host grants."""

    def test_the_soft_limit_is_raised_to_the_hard_one(self) -> None:
        """What the host grants is used in full."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
        self.assertEqual(raise_limit(), hard)
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE), (hard, hard))

    def test_an_infinite_limit(self) -> None:
        """It is -1 to getrlimit(2), and is taken for what Linux grants at most."""
        infinite = resource.RLIM_INFINITY
        asked: list[tuple[int, int]] = []

        def granted(_: int, limits: tuple[int, int]) -> None:
            asked.append(limits)

        def refused(_: int, limits: tuple[int, int]) -> None:
            raise ValueError("not allowed to raise maximum limit")

        for soft, hard, answer, expected in (
            (1024, infinite, granted, UNLIMITED),
            (1024, infinite, refused, 1024),
            (2 * UNLIMITED, infinite, refused, 2 * UNLIMITED),
            (infinite, infinite, refused, UNLIMITED),
        ):
            self.patch(resource, "getrlimit", lambda _, limits=(soft, hard): limits)
            self.patch(resource, "setrlimit", answer)
            self.assertEqual(raise_limit(), expected, (soft, hard))
        self.assertEqual(asked, [(UNLIMITED, infinite)])

    def test_two_descriptors_a_connection(self) -> None:
        """A fifth of the descriptors is kept for everything else."""
        self.assertEqual([connections_for(n) for n in (20_000, 1024, 2, 0)], [8000, 409, 1, 1])
