"""Is what a probe waits for told to whoever waits, and to nobody else?"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError

from proxyd.upkeep.probes.wait import Wait
from tests.support.case import Case
from tests.support.driven import driven


class WaitTests(Case):
    def setUp(self) -> None:
        self.wait = Wait()
        self.seen: list[Any] = []

    async def look(self, times: int) -> str:
        for number in range(times):
            await self.wait
            self.seen.append(number)
        return "fine"

    def test_again_and_again(self) -> None:
        """One wait after the other is over, and nobody is told who does not wait any more."""
        outcome = driven(self.look(2))
        self.wait.over()
        self.assertEqual(self.seen, [0])
        self.assertNoResult(outcome)
        self.wait.over()
        self.assertEqual(self.successResultOf(outcome), "fine")
        self.wait.over()
        self.assertEqual(self.seen, [0, 1])

    def test_before_somebody_waits(self) -> None:
        """What has come before is not kept: who waits looks first."""
        self.wait.over()
        self.assertNoResult(driven(self.look(1)))

    def test_cancelled(self) -> None:
        """Who waits no more is told so by an exception."""
        outcome = driven(self.look(1))
        outcome.cancel()
        self.failureResultOf(outcome, CancelledError)
        self.assertEqual(self.seen, [])
