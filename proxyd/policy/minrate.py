"""
Is a client or a server too slow?

Each look at a connection brings plain counters: bytes received from both sides, and what each has not taken
yet.  A side that has not even taken what was waiting for it at the look before has been taking slowly ever
since, whatever came meanwhile.  A client that sends a little now and then, and is not answered, sends
slowly from the first such bytes on; what it has sent at once and is waiting for an answer to does not count
against it, since nothing follows.  Where requests are understood it is known what a client owes: the rest of
a body.  Then silence is slow, too, as with Apache httpd's ``RequestReadTimeout MinRate``.
"""

from __future__ import annotations

from typing import Optional

from proxyd.config.minrate import MinRateSpec
from proxyd.errors import Reason

LOOKS = 4  # in the time after which one is judged


class Taking:
    """How fast one side takes what it is sent."""

    __slots__ = ("_began", "_left", "_sent", "_taken")

    def __init__(self) -> None:
        self._sent = 0  # written to it, at the last look
        self._left = 0  # what it had not taken of that
        self._began = 0.0  # since when there was always something left
        self._taken = 0  # what it had taken when that began

    def look(self, spec: MinRateSpec, now: float, sent: int, left: int) -> Optional[float]:
        """Its bytes a second, if they are too few: ``sent`` were written to it, of which ``left`` wait."""
        taken, before = sent - left, self._sent - self._left
        behind = 0 < self._left and taken - before < self._left
        if not behind:
            self._began, self._taken = now, taken
        self._sent, self._left = sent, left
        seconds = now - self._began
        if not behind or seconds < spec.seconds:
            return None
        rate = (taken - self._taken) / seconds
        self._began, self._taken = now, taken
        return rate if rate < spec.rate else None


class Sending:
    """How fast a client sends that is not answered meanwhile."""

    __slots__ = ("_answered", "_before", "_began", "_received")

    def __init__(self) -> None:
        self._received = 0  # from the client, at the last look
        self._answered = 0  # from the server
        self._began = -1.0  # when it began to send what was not answered yet; less than 0: it has not
        self._before = 0  # what it had sent before that

    def look(self, spec: MinRateSpec, now: float, received: int, answered: int) -> Optional[float]:
        """Its bytes a second, if they are too few."""
        if answered != self._answered:
            self._received, self._answered, self._began = received, answered, -1.0
            return None
        if received == self._received:
            return None
        if self._began < 0:
            self._began, self._before = now, self._received
        self._received = received
        seconds = now - self._began
        if seconds < spec.seconds:
            return None
        rate = (received - self._before) / seconds
        self._began = -1.0
        return rate if rate < spec.rate else None

    def excuse(self, received: int) -> None:
        """It was held back, so nothing is known."""
        self._received, self._began = received, -1.0


class Owing:
    """How fast a client sends the rest of a body."""

    __slots__ = ("_before", "_began")

    def __init__(self) -> None:
        self._began = -1.0  # since when it owes something; less than 0: it does not
        self._before = 0  # what it had sent before that

    def look(self, spec: MinRateSpec, now: float, received: int) -> Optional[float]:
        """Its bytes a second, if they are too few."""
        if self._began < 0:
            self._began, self._before = now, received
            return None
        seconds = now - self._began
        if seconds < spec.seconds:
            return None
        rate = (received - self._before) / seconds
        self._began, self._before = now, received
        return rate if rate < spec.rate else None

    def excuse(self) -> None:
        """It owes nothing, or was held back."""
        self._began = -1.0


class MinRate:
    """One connection, judged at each look: by `look_at_request` where requests are understood."""

    __slots__ = ("_client", "_owing", "_request", "_sending", "_server", "spec")

    def __init__(self, spec: MinRateSpec) -> None:
        self.spec = spec
        self._client = Taking()
        self._server = Taking()
        self._sending = Sending()
        self._owing = Owing()
        self._request: Optional[tuple[int, int]] = None  # which one was under way at the last look

    @property
    def every(self) -> float:
        """In how many seconds to look again, at the latest."""
        return self.spec.seconds / LOOKS

    def look(
        self, now: float, received: tuple[int, int], unsent: tuple[int, int], held_back: bool
    ) -> Optional[tuple[Reason, float]]:
        """
        Who is too slow, and how many bytes a second it were; None if nobody is.

        ``received`` from the client and from the server, ``unsent`` to them.  ``held_back`` is whether the
        client could not send for as long as we did not read.
        """
        spec = self.spec
        rate = self._client.look(spec, now, received[1], unsent[0])
        if rate is not None:
            return Reason.CLIENT_TOO_SLOW, rate
        rate = self._server.look(spec, now, received[0], unsent[1])
        if rate is not None:
            return Reason.SERVER_TOO_SLOW, rate
        if held_back:
            self._sending.excuse(received[0])
            return None
        rate = self._sending.look(spec, now, *received)
        return None if rate is None else (Reason.CLIENT_TOO_SLOW, rate)

    def look_at_request(
        self,
        now: float,
        request: tuple[int, int],
        client: Optional[tuple[int, int]],
        server: Optional[tuple[int, int]],
        owed: Optional[int],
    ) -> Optional[tuple[Reason, float]]:
        """
        The same while this request is under way, named by its number and how often it was tried again.

        Of ``client`` and ``server`` each is what it has taken and what it has not taken yet, None if that is
        not known or nothing goes there.  ``owed`` is what the client has sent so far if it owes more of a
        body and may send that; else None.
        """
        spec = self.spec
        if request != self._request:  # it is another server, and another body
            self._request = request
            self._server = Taking()
            self._owing.excuse()
        if client is not None:
            rate = self._client.look(spec, now, sum(client), client[1])
            if rate is not None:
                return Reason.CLIENT_TOO_SLOW, rate
        if server is not None:
            rate = self._server.look(spec, now, sum(server), server[1])
            if rate is not None:
                return Reason.SERVER_TOO_SLOW, rate
        if owed is None:
            self._owing.excuse()
            return None
        rate = self._owing.look(spec, now, owed)
        return None if rate is None else (Reason.CLIENT_TOO_SLOW, rate)
