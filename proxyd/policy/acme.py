"""
When is a certificate to be renewed, and what is answered while an authority looks whether a name is ours?

A certificate is renewed after two thirds of its life, as Certbot and Let's Encrypt have it: of 90 days the
last 30, of six days the last two.  If the authority says when (RFC 9773), then at a moment of chance within
its window.  After a failure that is tried again, first in a minute and then in twice as long each time, up to
six hours; an authority that says how long to wait is heeded.  A quarter more or less is chance, so that many
daemons do not come at once.
"""

from __future__ import annotations

from typing import Mapping, Optional, Sized

from attrs import evolve, field, frozen

LIFE = 2 / 3  # of a certificate, after which it is renewed

FIRST_SECONDS = 60.0  # five tries in half an hour; Let's Encrypt lets a name fail five times an hour
LONGEST_SECONDS = 6 * 3600.0
LONGEST_ASKED = 7 * 86400.0  # that an authority may ask us to wait: Let's Encrypt's longest limit is a week
SPREAD = 0.25

MOST_ANSWERS = 200  # at a time; each is for one name of one certificate

LATE = 1 / 9  # of a certificate's life left, and it still was not renewed: two thirds of the time for that


@frozen
class Attempts:
    """
    What has come of the last tries: ``failures`` in a row, ``why``, and ``not_before`` to try again.

    Until ``asked`` the authority wants to be left alone.
    """

    failures: int = 0
    why: str = ""
    not_before: float = 0.0
    asked: float = 0.0

    def failed(self, now: float, why: str, wait: float, chance: float) -> Attempts:
        """
        After one more failure.

        ``wait`` is how many seconds the authority wants us to wait, ``chance`` a number from 0 up to 1.
        """
        pause = FIRST_SECONDS * 2.0 ** min(self.failures, 20)
        pause = min(pause, LONGEST_SECONDS) * (1 - SPREAD + 2 * SPREAD * chance)
        asked = now + min(wait, LONGEST_ASKED) if wait else 0.0
        return Attempts(self.failures + 1, why, max(now + pause, asked), asked)

    def taken_over(self, now: float) -> Attempts:
        """
        The same in the next process.

        That may have been started because somebody has mended something, so only the authority is made to
        wait for, but that for no longer than it could have asked.
        """
        soon = min(self.not_before, now + FIRST_SECONDS)
        return evolve(self, not_before=max(soon, min(self.asked, now + LONGEST_ASKED)))


def renew_at(
    not_before: float, not_after: float, window: Optional[tuple[float, float]] = None, chance: float = 0.0
) -> float:
    """When a certificate that is good from and until then is to be renewed; ``window`` is the authority's."""
    if window is not None:
        start, end = window
        return min(start + chance * (end - start), not_after)
    return not_before + LIFE * (not_after - not_before)


def late(now: float, not_before: float, not_after: float) -> bool:
    """Whether so little of a certificate's life is left that somebody should look why it is not renewed."""
    return now > not_after - LATE * (not_after - not_before)


@frozen
class Answers:
    """
    What is answered to an authority that looks whether names are ours, for as long as it does.

    Those of http-01 are by token, those of tls-alpn-01 by name: a certificate and its key, in PEM.
    """

    _http: dict[bytes, bytes] = field(factory=dict)
    _tls: dict[str, bytes] = field(factory=dict)

    @property
    def certificates(self) -> Mapping[str, bytes]:
        """Those of tls-alpn-01."""
        return self._tls

    def http(self, token: bytes) -> Optional[bytes]:
        """The answer to a request for this token."""
        return self._http.get(token)

    def give_http(self, token: str, answer: str) -> None:
        """Answer requests for the token."""
        _bound(self._http)
        self._http[token.encode("ascii")] = answer.encode("ascii")

    def give_tls(self, name: str, pem: bytes) -> None:
        """Answer handshakes for the name."""
        _bound(self._tls)
        self._tls[name.lower()] = pem

    def take_back(self, token: str, name: str) -> None:
        """Answer neither any more."""
        self._http.pop(token.encode("ascii"), None)
        self._tls.pop(name.lower(), None)


def _bound(answers: Sized) -> None:
    if len(answers) >= MOST_ANSWERS:
        raise ValueError(f"more than {MOST_ANSWERS} names are being looked at")
