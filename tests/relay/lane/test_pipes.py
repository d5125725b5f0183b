"""Pipes are pooled when empty, capped in number, and missed by nobody where there are none."""

from __future__ import annotations

import os
import resource
from typing import cast

from twisted.logger import ILogObserver, LogEvent, Logger

from proxyd.relay.lane import pipes
from proxyd.relay.lane.pipes import Pipe, Pipes
from tests.support.case import Case
from tests.support.lane import is_open, no_descriptor_left

# More than the kernel gives anybody: root may exceed fs.pipe-max-size, but not kmalloc.
TOO_LARGE = 2**31 - 1


class PipesTests(Case):
    """The pool; where Python has no splice it is tested all the same, for pipes there are."""

    def setUp(self) -> None:
        self.patch(pipes, "CAN_SPLICE", True)
        self.said: list[LogEvent] = []
        self.patch(pipes, "log", Logger(observer=cast(ILogObserver, self.said.append)))

    def pool(self, *arguments: int) -> Pipes:
        """A pool, whose pipes are closed with the test."""
        pool = Pipes(*arguments)
        self.addCleanup(pool.close)
        return pool

    def take(self, pool: Pipes) -> Pipe:
        """A pipe that is there to be had."""
        pipe = pool.take()
        assert pipe is not None
        self.addCleanup(self.give_up, pipe)
        return pipe

    def give_up(self, pipe: Pipe) -> None:
        """Close what the test has left open."""
        for fd in (pipe.into, pipe.out):
            if is_open(fd):
                os.close(fd)

    def test_a_pipe(self) -> None:
        """It is empty, never blocks, is not inherited, and says how much it holds."""
        pipe = self.take(self.pool(1, 65536))
        self.assertEqual((pipe.filled, pipe.size), (0, 65536))
        self.assertRaises(BlockingIOError, os.read, pipe.out, 1)
        self.assertEqual(os.write(pipe.into, bytes(65536)), 65536)
        self.assertRaises(BlockingIOError, os.write, pipe.into, b"x")
        self.assertFalse(os.get_inheritable(pipe.into) or os.get_inheritable(pipe.out))
        self.assertEqual(self.said, [])

    def test_what_comes_back_is_used_again(self) -> None:
        """Making a pipe costs more than a small transfer, so an empty one is kept."""
        pool = self.pool(2, 4096)
        pipe = self.take(pool)
        self.assertEqual(repr(pool), "<Pipes 1 in use, 0 free, at most 2>")
        pool.give_back(pipe)
        self.assertEqual(repr(pool), "<Pipes 0 in use, 1 free, at most 2>")
        self.assertIs(pool.take(), pipe)
        self.assertEqual(pool.in_use, 1)

    def test_a_pipe_with_bytes_in_it_is_never_pooled(self) -> None:
        """What is left in it belonged to one connection, and must not reach another."""
        pool = self.pool(2, 4096)
        pipe = self.take(pool)
        pipe.filled = os.write(pipe.into, b"secret")
        pool.give_back(pipe)
        self.assertEqual((is_open(pipe.into), is_open(pipe.out)), (False, False))
        self.assertEqual(repr(pool), "<Pipes 0 in use, 0 free, at most 2>")
        self.assertRaises(BlockingIOError, os.read, self.take(pool).out, 1)

    def test_pipes_are_capped(self) -> None:
        """Beyond the cap there is none to be had until one comes back, and that is no news."""
        pool = self.pool(3, 4096)
        taken = [self.take(pool) for _ in range(3)]
        self.assertIsNone(pool.take())
        self.assertEqual(pool.in_use, 3)
        taken[0].filled = os.write(taken[0].into, b"x")
        pool.give_back(taken[0])
        pool.give_back(taken[1])
        self.assertIsNotNone(self.take(pool))
        self.assertIsNotNone(self.take(pool))
        self.assertIsNone(pool.take())
        self.assertEqual(self.said, [])

    def test_pooled_and_used_count_together(self) -> None:
        """However they come and go, there are never more descriptors than the cap allows."""
        pool = self.pool(4, 4096)
        made: set[tuple[int, int]] = set()
        for step in range(100):
            taken = [pipe for pipe in (pool.take() for _ in range(1 + step % 6)) if pipe is not None]
            self.assertLessEqual(len(taken), 4)
            made.update((pipe.into, pipe.out) for pipe in taken)
            for pipe in taken:
                pool.give_back(pipe)
        self.assertEqual(len(made), 4)
        self.assertEqual(pool.in_use, 0)

    def test_a_pipe_that_stays_small(self) -> None:
        """Where the host refuses a large pipe, a small one serves, and the operator is told once why."""
        pool = self.pool(3, TOO_LARGE)
        for _ in range(3):
            pipe = self.take(pool)
            self.assertLess(pipe.size, TOO_LARGE)
            self.assertEqual(os.write(pipe.into, bytes(pipe.size)), pipe.size)
            self.assertRaises(BlockingIOError, os.write, pipe.into, b"x")
        (event,) = self.said
        self.assertIn("fs.pipe-max-size", event["log_format"])
        self.assertNotEqual(event["why"], "")

    def test_no_descriptor_left(self) -> None:
        """Out of descriptors bytes are copied, which is said once; later there are pipes again."""
        pool = self.pool(3, 4096)
        with no_descriptor_left():
            self.assertIsNone(pool.take())
            self.assertIsNone(pool.take())
        self.assertEqual(pool.in_use, 0)
        (event,) = self.said
        self.assertEqual(event["why"], "Too many open files")
        self.assertIsNotNone(self.take(pool))

    def test_one_descriptor_left(self) -> None:
        """A pipe needs two; the one that was there is not lost."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        pool = self.pool(1, 4096)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))
        try:
            self.assertIsNone(pool.take())
            self.assertEqual(os.dup(0), free)
            os.close(free)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def test_without_splice(self) -> None:
        """Python 3.9 cannot splice: no pipe is ever made, and nobody need be told."""
        self.patch(pipes, "CAN_SPLICE", False)
        pool = self.pool(3, 4096)
        self.assertIsNone(pool.take())
        self.assertEqual((pool.in_use, repr(pool), self.said), (0, "<Pipes 0 in use, 0 free, at most 0>", []))

    def test_closing(self) -> None:
        """The pooled pipes are given up; what is in use belongs to its user."""
        pool = self.pool(2, 4096)
        used, pooled = self.take(pool), self.take(pool)
        pool.give_back(pooled)
        pool.close()
        self.assertEqual([is_open(pipe.into) for pipe in (used, pooled)], [True, False])
        self.assertEqual([is_open(pipe.out) for pipe in (used, pooled)], [True, False])
        pool.close()


class SpliceTests(Case):
    """Whether there is a splice is Python's affair."""

    def test_where_there_is_splice_it_is_used(self) -> None:
        """From Python 3.10 on there are pipes to be had, before that there are none."""
        pool = Pipes(1, 4096)
        pipe = pool.take()
        self.assertEqual(pipe is not None, hasattr(os, "splice"))
        if pipe is not None:
            pool.give_back(pipe)
        pool.close()
