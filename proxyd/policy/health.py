"""
Is a server fit for connections, going by its checks?

One failed check is no proof and neither is one that passes, so a server changes its standing only after
several in a row that say otherwise: HAProxy's ``rise`` and ``fall``.  The first check decides alone, as
in HAProxy and Envoy, so that a pool is ready as soon as its servers have been looked at once.
"""

from __future__ import annotations

import enum
from typing import Optional

from proxyd.config.health import CheckSpec


class Standing(enum.Enum):
    """What is known of a server: fit, unfit, or not checked yet."""

    UP = "up"
    DOWN = "down"
    CHECKING = "checking"


class RiseFall:
    """Turns the results of one server's checks into up and down, with patience in both directions."""

    def __init__(self, spec: CheckSpec) -> None:
        self.standing = Standing.CHECKING
        self._needed = {Standing.CHECKING: 1, Standing.DOWN: spec.rise, Standing.UP: spec.fall}
        self._against = 0

    @property
    def changing(self) -> bool:
        """Whether the last result was another than the standing says, but not yet the last that is needed."""
        return self._against > 0

    def note(self, passed: bool) -> Optional[Standing]:
        """Record one result; the new standing is returned only when it changes."""
        says = Standing.UP if passed else Standing.DOWN
        if says is self.standing:
            self._against = 0
            return None
        self._against += 1
        if self._against < self._needed[self.standing]:
            return None
        self.standing = says
        self._against = 0
        return says
