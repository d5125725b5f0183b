"""Does a test that could not fail get noticed?"""

from __future__ import annotations

from unittest import TestResult

from twisted.internet.defer import Deferred

from tests.support.case import AsyncCase, Case


class AsyncTestsOutOfPlace(Case):
    """`Case` refuses what trial would drop unrun."""

    def test_async_test(self) -> None:
        """A class with an ``async def test_...`` cannot be defined, and the message says what to do."""
        with self.assertRaises(TypeError) as caught:

            class Wrong(Case):
                async def test_nothing(self) -> None:
                    self.fail("never run")

        self.assertIn("Wrong.test_nothing", str(caught.exception))
        self.assertIn("AsyncCase", str(caught.exception))

    def test_async_fixture(self) -> None:
        """The same for ``setUp`` and ``tearDown``, which would not run either."""
        for name in ("setUp", "tearDown"):

            async def fixture(self: object) -> None:
                raise AssertionError("never run")

            with self.assertRaises(TypeError):
                type("Wrong", (Case,), {name: fixture})

    def test_inherited(self) -> None:
        """An async test that comes from a mixin is found too."""

        class Mixin:
            async def test_nothing(self) -> None:
                raise AssertionError("never run")

        with self.assertRaises(TypeError):
            type("Wrong", (Mixin, Case), {})

    def test_other_methods_may_be_async(self) -> None:
        """A method that is no test may be async: the test itself awaits it."""

        class Right(Case):
            async def answer(self) -> int:
                return 42

            def test_answer(self) -> None:
                self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.answer())), 42)

        result = TestResult()
        Right("test_answer").run(result)
        self.assertEqual(result.testsRun, 1)
        self.assertTrue(result.wasSuccessful())


class AsyncTestsInPlace(Case):
    """`AsyncCase` runs what it is given, and not for ever."""

    def test_an_async_test_runs(self) -> None:
        """An ``async def`` that fails is a failed test."""

        class Failing(AsyncCase):
            async def test_fails(self) -> None:
                self.fail("as it should")

        result = TestResult()
        Failing("test_fails").run(result)
        self.assertEqual(len(result.failures), 1)

    def test_timeout_is_finite(self) -> None:
        """A test that waits for nothing ends by itself."""
        self.assertTrue(0 < AsyncCase.timeout <= 120)
