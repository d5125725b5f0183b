"""
What has come of a question to a server: an answer, a failure of the server, or nothing at all?

Nothing is learnt about a server when the fault is ours (no descriptor left, no local port) or the name
service's.
"""

from __future__ import annotations

import errno
import os
from typing import Any, Callable, Coroutine, Generic, Optional, TypeVar, Union

from twisted.internet import error
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from proxyd.errors import DialFailed, Malformed, Reason
from proxyd.upkeep.probes.conversation import Call, Failed, Unable
from proxyd.upkeep.spaced import Spaced

T = TypeVar("T")

_OURS = frozenset(
    {
        errno.EMFILE,  # no descriptor left, in the process or the system
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EADDRNOTAVAIL,  # no local port left
        errno.EADDRINUSE,
        errno.EACCES,  # not allowed by our own host
        errno.EPERM,
        errno.EAFNOSUPPORT,  # a host without IPv6
    }
)


class Asking(Generic[T]):
    """
    A question that is to be answered within so many seconds.

    ``answered`` is called with the answer, or with the `Failed` or `Unable` whose text says why there is
    none.  Those are values like any other here: checks that fail do so again and again, and an error that is
    raised through Deferreds takes longer than all else that they do, of which every connection is kept
    waiting.  For the same reason the coroutine is driven by hand, and this is no Deferred; but who must know
    when it is over is told as by one.  What is not foreseen is a failure, and so is what ``answered`` raises.
    """

    __slots__ = (
        "_answered",
        "_call",
        "_given_up",
        "_question",
        "_result",
        "_told",
        "_timeout",
        "_timer",
        "_waiting",
    )

    def __init__(
        self,
        clock: Spaced,
        call: Call,
        question: Coroutine[Any, Any, T],
        timeout: float,
        answered: Callable[[Union[T, Failed, Unable]], None],
    ) -> None:
        self._call = call
        self._question: Optional[Coroutine[Any, Any, T]] = question
        self._timeout = timeout
        self._answered = answered
        self._given_up = False
        self._waiting: Any = None
        self._told: Any = None
        self._result: Optional[Failure] = None
        self._timer = clock.callLater(timeout, self._give_up)
        self._go_on(None)

    def addCallbacks(self, succeeded: Callable[[None], object], failed: Callable[[Failure], object]) -> None:
        """Call one of these when it is over."""
        self._told = succeeded, failed
        if self._question is None:
            self._tell()

    def cancel(self) -> None:
        """End it, by what it waits for; it is over when it has taken its leave."""
        if self._question is not None:
            self._waiting.cancel()

    def _give_up(self) -> None:
        self._given_up = True
        self._waiting.cancel()

    def _go_on(self, come: Any) -> None:
        """Ask up to the next wait; called with what was waited for."""
        question = self._question
        assert question is not None
        raised: Any = come.value if isinstance(come, Failure) else None
        try:
            waiting = question.send(come) if raised is None else question.throw(raised)
        except StopIteration as end:
            self._end(end.value)
        except Exception as failed:  # noqa: BLE001
            self._end(self._why(failed))
        else:
            self._waiting = waiting
            waiting.addBoth(self._go_on)
        finally:
            if raised is not None:
                raised.__traceback__ = None  # which has this frame, and so makes a cycle

    def _end(self, result: Any) -> None:
        if not self._given_up:
            self._timer.cancel()
        self._question = self._waiting = None
        if isinstance(result, Failure):
            self._result = result
        else:
            try:
                self._answered(result)
            except Exception:  # noqa: BLE001
                self._result = Failure()
        if self._told is not None:
            self._tell()

    def _tell(self) -> None:
        (succeeded, failed), self._told = self._told, None
        if self._result is None:
            succeeded(None)
        else:
            failed(self._result)

    def _why(self, failed: Exception) -> Any:
        """Why there is no answer; what is not foreseen is a failure."""
        if isinstance(failed, (Failed, Unable)):
            return failed
        if isinstance(failed, (CancelledError, error.ConnectingCancelledError)):
            if self._given_up:
                return Failed(f"no {self._call.awaited} within {self._timeout:g}s")
            return Unable("the check was cancelled")
        if isinstance(failed, error.DNSLookupError):  # and one that was given up may say this, too
            return Unable(f"its name did not resolve ({failed})")
        if isinstance(failed, Malformed):
            return Failed(f"sent {failed}")
        if isinstance(failed, DialFailed):
            ours = failed.errno in _OURS or failed.reason is Reason.SOURCE_FAILED
            return (Unable if ours else Failed)(_lowered(failed.detail))
        if isinstance(failed, (error.ConnectError, error.ConnectionClosed, OSError)):
            ours = _errno(failed) in _OURS or isinstance(failed, error.ConnectBindError)
            return (Unable if ours else Failed)(_say(failed))
        return Failure(failed)


def _errno(failed: Exception) -> Optional[int]:
    code = failed.osError if isinstance(failed, error.ConnectError) else getattr(failed, "errno", None)
    return code if isinstance(code, int) else None


def _say(failed: Exception) -> str:
    """The system's own word for it, as ``connection refused``."""
    code = _errno(failed)
    return _lowered(str(failed) if code is None else os.strerror(code))


def _lowered(text: str) -> str:
    text = text.rstrip(".")
    return text[:1].lower() + text[1:]
