"""
When does live traffic take a server out, and for how long?

A check asks now and then, and clients all the time.  So connections that come to nothing, so many in a row,
take a server out for a while: Envoy's outlier detection, HAProxy's ``observe layer4``, nginx's ``max_fails``.
They are those that the server refused or did not answer, and those that it ended without having said a byte.
A row ends with a byte that the server says in a connection that began after it: when that ends, or has lasted
for a while.  Of HTTP it is each request that counts, and some statuses may be failures, too.

That is what others call a circuit breaker: it is open while the server is out; with ``trial`` it is half-open
when the server comes back, until the first request has shown how it is.

What is here is arithmetic; `proxyd.policy.pool.Pool` keeps the counts.
"""

from __future__ import annotations

from math import ceil

from proxyd.config.ejection import EjectSpec
from proxyd.errors import Reason

# How a connection may fail to come about by the server's fault.  No descriptor, local port or source is our
# own: a client whose address cannot be a source must not eject a server.  A name that does not resolve is the
# name service's.
UNREACHED = frozenset(
    {
        Reason.CONNECT_REFUSED,
        Reason.CONNECT_TIMEOUT,
        Reason.CONNECT_FAILED,
        Reason.CONNECT_TLS,
        Reason.STARTTLS_REFUSED,
    }
)

# How one may end by its fault without a byte from the server; if it is by silence, a client must have asked.
ENDED = frozenset({Reason.SERVER_FINISHED, Reason.SERVER_RESET})
SILENT = frozenset({Reason.SERVER_STALLED, Reason.SERVER_UNFINISHED, Reason.IDLE_TIMEOUT})


def came_to_nothing(reason: Reason, asked: bool) -> bool:
    """Whether a connection without a byte from the server counts against it, ended so, and asked or not."""
    return reason in ENDED or (asked and reason in SILENT)


class Window:
    """What a server had lately, and how much of that came to nothing; one window follows another."""

    __slots__ = ("_ends", "_failed", "_had", "_spec")

    def __init__(self, spec: EjectSpec) -> None:
        self._spec = spec
        self._ends = 0.0
        self._had = self._failed = 0

    def note(self, now: float, failed: bool) -> bool:
        """Count one; whether it is too much that failed."""
        spec = self._spec
        if now >= self._ends:
            self._ends = now + spec.window
            self._had = self._failed = 0
        self._had += 1
        self._failed += failed
        return self._had >= spec.least and self._failed * 100 >= spec.share * self._had

    def forget(self) -> None:
        """Begin anew."""
        self._ends = 0.0


def may_go(spec: EjectSpec, servers: int, ejected: int, others_up: int) -> bool:
    """Whether one more of so many servers may be ejected; so many are already, and so many others are up."""
    return others_up > 0 and (ejected + 1) * 100 <= spec.most * servers


def times(spec: EjectSpec, before: int, good_seconds: float) -> int:
    """Which ejection in a row it is, so many having been before and so much good behaviour since."""
    forgiven = int(max(0.0, good_seconds) / spec.time)
    return min(max(0, before - forgiven) + 1, ceil(spec.max_time / spec.time))


def seconds(spec: EjectSpec, number: int) -> float:
    """For how long it is, by its number."""
    return min(spec.time * number, spec.max_time)
