"""
What has come of a question to a server: an answer, a failure of the server, or nothing at all?

Nothing is learnt about a server when the fault is ours (no descriptor left, no local port) or the name
service's.
"""

from __future__ import annotations

import errno
import os
from typing import Any, Coroutine, Optional, TypeVar

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.python.failure import Failure

from proxyd.errors import Malformed
from proxyd.upkeep.probes.conversation import Call, Failed, Unable

T = TypeVar("T")

_OURS = frozenset(
    {
        errno.EMFILE,  # no descriptor left, in the process or the system
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EADDRNOTAVAIL,  # no local port left
        errno.EACCES,  # not allowed by our own host
        errno.EPERM,
        errno.EAFNOSUPPORT,  # a host without IPv6
    }
)


async def ask(call: Call, question: Coroutine[Any, Any, T], timeout: float) -> T:
    """The answer, within so many seconds.  Raises `Failed` or `Unable`, whose text says why there is none."""
    try:
        asked: Deferred[T] = Deferred.fromCoroutine(question)
        return await asked.addTimeout(timeout, call.reactor, _timed_out)
    except (CancelledError, error.ConnectingCancelledError):
        raise Unable("the check was cancelled") from None
    except error.DNSLookupError as failed:
        raise Unable(f"its name did not resolve ({failed})") from None
    except TimeoutError:
        raise Failed(f"no {call.awaited} within {timeout:g}s") from None
    except Malformed as failed:
        raise Failed(f"sent {failed}") from None
    except (error.ConnectError, error.ConnectionClosed, OSError) as failed:
        ours = _errno(failed) in _OURS or isinstance(failed, error.ConnectBindError)
        raise (Unable if ours else Failed)(_say(failed)) from None


def _timed_out(result: Any, timeout: float) -> Any:
    """
    What a probe says that was cancelled because its time was over.

    Endpoints have an error of their own for that.  One that was still looking up a name reports that the
    name was not found, and is left to say so.
    """
    if isinstance(result, Failure) and result.check(CancelledError, error.ConnectingCancelledError):
        return Failure(TimeoutError(timeout, "Deferred"))
    return result


def _errno(failed: Exception) -> Optional[int]:
    code = failed.osError if isinstance(failed, error.ConnectError) else getattr(failed, "errno", None)
    return code if isinstance(code, int) else None


def _say(failed: Exception) -> str:
    """The system's own word for it, as ``connection refused``."""
    code = _errno(failed)
    text = str(failed).rstrip(".") if code is None else os.strerror(code)
    return text[:1].lower() + text[1:]
