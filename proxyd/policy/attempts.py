"""
How long is an authority left alone that something could not be had from?

A minute after the first failure, and twice as long after each further one, up to six hours; or as long as the
authority wants.  A quarter more or less is chance, so that many daemons do not come at once.
"""

from __future__ import annotations

from attrs import evolve, frozen

FIRST_SECONDS = 60.0  # five tries in half an hour; Let's Encrypt lets a name fail five times an hour
LONGEST_SECONDS = 6 * 3600.0
LONGEST_ASKED = 7 * 86400.0  # that an authority may ask us to wait: Let's Encrypt's longest limit is a week
SPREAD = 0.25


@frozen
class Attempts:
    """
    What has come of the last tries: ``failures`` in a row, ``why``, and ``not_before`` to try again.

    Until ``asked`` the authority wants to be left alone.  Both are by the clock of deadlines, and 0 if
    there is no such moment.
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

    def moved(self, offset: float) -> Attempts:
        """The same by a clock that is so far ahead."""
        return evolve(
            self,
            not_before=self.not_before + offset if self.not_before else 0.0,
            asked=self.asked + offset if self.asked else 0.0,
        )

    def taken_over(self, now: float) -> Attempts:
        """
        The same in the next process.

        That may have been started because somebody has mended something, so only the authority is made to
        wait for, but that for no longer than it could have asked.
        """
        soon = min(self.not_before, now + FIRST_SECONDS)
        return evolve(self, not_before=max(soon, min(self.asked, now + LONGEST_ASKED)))
