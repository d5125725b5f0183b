"""
What has come of a question to a server: an answer, a failure of the server, or nothing at all?

Nothing is learnt about a server when the fault is ours (no descriptor left, no local port) or the name
service's.
"""

from __future__ import annotations

import errno
import os
from typing import Any, Coroutine, Generator, Generic, Optional, TypeVar

from twisted.internet import error
from twisted.internet.defer import CancelledError

from proxyd.errors import DialFailed, Malformed, Reason
from proxyd.upkeep.probes.conversation import Call, Failed, Unable

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


async def ask(call: Call, question: Coroutine[Any, Any, T], timeout: float) -> T:
    """The answer, within so many seconds.  Raises `Failed` or `Unable`, whose text says why there is none."""
    asked = _Asked(question)
    timer = call.reactor.callLater(timeout, asked.give_up)
    try:
        return await asked
    except (CancelledError, error.ConnectingCancelledError):
        if asked.given_up:
            raise Failed(f"no {call.awaited} within {timeout:g}s") from None
        raise Unable("the check was cancelled") from None
    except error.DNSLookupError as failed:  # and one that was given up may say this, too
        raise Unable(f"its name did not resolve ({failed})") from None
    except Malformed as failed:
        raise Failed(f"sent {failed}") from None
    except DialFailed as failed:
        ours = failed.errno in _OURS or failed.reason is Reason.SOURCE_FAILED
        raise (Unable if ours else Failed)(_lowered(failed.detail)) from None
    except (error.ConnectError, error.ConnectionClosed, OSError) as failed:
        ours = _errno(failed) in _OURS or isinstance(failed, error.ConnectBindError)
        raise (Unable if ours else Failed)(_say(failed)) from None
    finally:
        if timer.active():
            timer.cancel()


class _Asked(Generic[T]):
    """
    A question that can be given up, whatever it is waiting for.

    As a Deferred with a timeout it would take twice as long, of which every connection is kept waiting.
    """

    def __init__(self, question: Coroutine[Any, Any, T]) -> None:
        self.given_up = False
        self._question = question
        self._waiting: Any = None

    def give_up(self) -> None:
        """End it: what it waits for is cancelled."""
        self.given_up = True
        self._waiting.cancel()

    def __await__(self) -> Generator[Any, Any, T]:
        question = self._question
        try:
            self._waiting = question.send(None)
            while True:
                try:
                    come = yield self._waiting
                except BaseException as failed:  # noqa: BLE001
                    self._waiting = question.throw(failed)
                else:
                    self._waiting = question.send(come)
        except StopIteration as end:
            answer: T = end.value
            return answer


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
