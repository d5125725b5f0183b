"""
Is a server fit for connections, going by its checks?

One failed check is no proof and neither is one that passes, so a server changes its state only after
several in a row that say otherwise: HAProxy's ``rise`` and ``fall``.  The first check decides alone, as
in HAProxy and Envoy, so that a pool is ready as soon as its servers have been looked at once.
"""

from __future__ import annotations

from typing import Optional

from proxyd.config.health import CheckSpec
from proxyd.policy.state import State


class RiseFall:
    """Turns the results of one server's checks into up and down, with patience in both directions."""

    def __init__(self, spec: CheckSpec) -> None:
        self.state = State.CHECKING
        self._needed = {State.CHECKING: 1, State.DOWN: spec.rise, State.UP: spec.fall}
        self._against = 0

    @property
    def changing(self) -> bool:
        """Whether the last result was another than the state says, but not yet the last that is needed."""
        return self._against > 0

    def forget(self) -> None:
        """Begin anew: the next check decides alone."""
        self.state = State.CHECKING
        self._against = 0

    def note(self, passed: bool) -> Optional[State]:
        """Record one result; the new state is returned only when it changes."""
        says = State.UP if passed else State.DOWN
        if says is self.state:
            self._against = 0
            return None
        self._against += 1
        if self._against < self._needed[self.state]:
            return None
        self.state = says
        self._against = 0
        return says
