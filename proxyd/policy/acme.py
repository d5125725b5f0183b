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

from attrs import field, frozen

LIFE = 2 / 3  # of a certificate, after which it is renewed

MOST_ANSWERS = 200  # at a time; each is for one name of one certificate

LATE = 1 / 9  # of a certificate's life left, and it still was not renewed: two thirds of the time for that


def renew_at(
    not_before: float, not_after: float, window: Optional[tuple[float, float]] = None, chance: float = 0.0
) -> float:
    """When a certificate that is good from and until then is to be renewed; ``window`` is the authority's."""
    if window is not None:
        start, end = window
        return min(start + chance * (end - start), not_after)
    return not_before + LIFE * (not_after - not_before)


def late(wall: float, not_before: float, not_after: float) -> bool:
    """Whether so little of a certificate's life is left that somebody should look why it is not renewed."""
    return wall > not_after - LATE * (not_after - not_before)


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
