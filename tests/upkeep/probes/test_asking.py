"""Is it told apart whose fault it is that there is no answer?"""

from __future__ import annotations

import errno
from typing import Any, Coroutine

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from proxyd.config.address import TcpAddress
from proxyd.errors import Malformed
from proxyd.relay.stock import Stock
from proxyd.upkeep.probes.asking import Asking
from proxyd.upkeep.probes.conversation import Call, Failed, Unable
from proxyd.upkeep.spaced import Spaced
from tests.support.case import Case
from tests.support.walltime import SetTime

OURS = [
    (CancelledError(), "the check was cancelled"),
    (error.DNSLookupError("no such name"), "its name did not resolve (DNS lookup failed: no such name.)"),
    (error.ConnectError(errno.EMFILE, ""), "too many open files"),
    (error.ConnectBindError(errno.EADDRINUSE, ""), "address already in use"),
    (OSError(errno.EACCES, ""), "permission denied"),
    (Unable("no class"), "no class"),
]

THEIRS = [
    (error.ConnectionRefusedError(errno.ECONNREFUSED, ""), "connection refused"),
    (error.ConnectionLost("gone."), "connection to the other side was lost in a non-clean fashion: gone"),
    (Malformed("b'x', which is no reply"), "sent b'x', which is no reply"),
    (Failed("is replica, not master"), "is replica, not master"),
]


class AskingTests(Case):
    def setUp(self) -> None:
        self.clock = Clock()
        self.answer: Deferred[str] = Deferred()

    def asked(self) -> Deferred[Any]:
        async def question() -> str:
            return await self.answer

        return self.put(question())[1]

    def put(self, question: Coroutine[Any, Any, str]) -> tuple[Asking[str], Deferred[Any]]:
        """Put it, and have a Deferred fire with the answer when it is over."""
        answers: list[Any] = []
        over: Deferred[Any] = Deferred()
        call = Call(self.clock, SetTime(self.clock.seconds), Stock(self.clock), TcpAddress("10.0.0.1", 80))
        asking = Asking(Spaced(self.clock), call, question, 2.0, answers.append)
        asking.addCallbacks(over.callback, over.errback)
        return asking, over.addCallback(lambda _: answers.pop())

    def test_answer(self) -> None:
        """An answer is passed on, and no timer is left."""
        asked = self.asked()
        self.answer.callback("fine")
        self.assertEqual(self.successResultOf(asked), "fine")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_answer(self) -> None:
        """What is the server's fault is told apart from what is ours or the name service's, in words."""
        for faults, kind in ((OURS, Unable), (THEIRS, Failed)):
            for fault, why in faults:
                self.setUp()
                asked = self.asked()
                self.answer.errback(fault)
                trouble = self.successResultOf(asked)
                self.assertIsInstance(trouble, kind)
                self.assertEqual(str(trouble), why)

    def test_too_late(self) -> None:
        """When the time is over the server has failed, and it is named what it owed us."""
        asked = self.asked()
        self.clock.advance(2.0)
        trouble = self.successResultOf(asked)
        self.assertIsInstance(trouble, Failed)
        self.assertEqual(str(trouble), "no answer within 2s")

    def test_something_else(self) -> None:
        """What nobody has foreseen is an error of ours, told with its traceback, and leaves no timer."""
        asked = self.asked()
        self.answer.errback(ZeroDivisionError())
        self.failureResultOf(asked, ZeroDivisionError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """Who is cancelled fires when it has taken its leave, and cancelling it again changes nothing."""
        leave: Deferred[None] = Deferred()

        async def question() -> str:
            try:
                return await self.answer
            finally:
                await leave

        asking, asked = self.put(question())
        asking.cancel()
        self.assertNoResult(asked)
        leave.callback(None)
        self.assertIsInstance(self.successResultOf(asked), Unable)
        asking.cancel()

    def test_at_once(self) -> None:
        """A question that needs no wait is over when it has been put."""

        async def question() -> str:
            return "fine"

        self.assertEqual(self.successResultOf(self.put(question())[1]), "fine")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_answer_that_nobody_can_take(self) -> None:
        """What is raised by who is told the answer is an error of ours."""

        async def question() -> str:
            return "fine"

        def refuse(answer: object) -> None:
            raise ZeroDivisionError

        failures: list[Failure] = []
        call = Call(self.clock, SetTime(self.clock.seconds), Stock(self.clock), TcpAddress("10.0.0.1", 80))
        asking = Asking(Spaced(self.clock), call, question(), 2.0, refuse)
        asking.addCallbacks(failures.append, failures.append)  # type: ignore[arg-type]
        self.assertIsNotNone(failures[0].check(ZeroDivisionError))
