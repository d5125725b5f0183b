"""
Which test case does a test derive from?

`Case` for whatever needs no reactor, which is nearly everything; `AsyncCase` for what runs on real
sockets and may be an ``async def``.
"""

from __future__ import annotations

import inspect
from typing import Any

from twisted.trial.unittest import SynchronousTestCase, TestCase

_FIXTURES = ("setUp", "tearDown")


class Case(SynchronousTestCase):
    """
    A test that is over when its method returns.

    trial calls an ``async def`` here and drops the coroutine unrun, so the test passes whatever it says.
    Such a class is therefore refused where it is defined.
    """

    maxDiff = None  # show all of what differs

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        for name in dir(cls):
            if name.startswith("test") or name in _FIXTURES:
                found = inspect.getattr_static(cls, name)
                if inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found):
                    raise TypeError(
                        f"{cls.__qualname__}.{name} is async and would pass without running: use AsyncCase"
                    )


class AsyncCase(TestCase):
    """A test on the real reactor; it may be ``async def``, and fails after ``timeout`` seconds."""

    timeout = 120.0  # on a busy machine, whatever takes a few seconds otherwise
