"""How does a test have a probe's coroutine run, outside of the check that it is a part of?"""

from __future__ import annotations

from typing import Any, Coroutine, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class _Driven(Deferred[T]):
    """Is cancelled as `proxyd.upkeep.probes.asking.Asking` is: by what the coroutine waits for."""

    def __init__(self, question: Coroutine[Any, Any, T]) -> None:
        super().__init__()
        self._question = question
        self._go_on(None)

    def cancel(self) -> None:
        if not self.called:
            self._wait.cancel()

    def _go_on(self, come: Any) -> None:
        question = self._question
        try:
            if isinstance(come, Failure):
                assert come.value is not None
                wait = question.throw(come.value)
            else:
                wait = question.send(come)
        except StopIteration as end:
            self.callback(end.value)
        except Exception:  # noqa: BLE001
            self.errback(Failure())
        else:
            self._wait = wait
            wait.addBoth(self._go_on)


def driven(question: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Fires as the coroutine ends, which may wait for Deferreds and for `proxyd.upkeep.probes.wait.Wait`."""
    return _Driven(question)
