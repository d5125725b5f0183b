"""
May this client come in, and if not, with which reason?

Whatever has a say in that is asked here, and nowhere else: first the bans, then ``allow`` and ``deny`` of the
listener.  A client is the bytes of its address (`proxyd.policy.lists.client_bytes`); bans go by wall time.
"""

from __future__ import annotations

from typing import Optional, Sequence

from attrs import frozen

from proxyd.config.lists import Rule, rest_allowed
from proxyd.errors import Reason
from proxyd.policy.bans import Bans
from proxyd.policy.lists import Listed, Lists


@frozen
class Refusal:
    """Why a client may not come in, and what of the configuration or the bans says so."""

    reason: Reason
    detail: str


@frozen
class _Line:
    """One line of ``allow`` or ``deny``, with the sets that it names."""

    allow: bool
    everybody: bool
    sets: tuple[Listed, ...]


class Admission:
    """Who may come in at one listener."""

    def __init__(self, rules: Sequence[Rule], lists: Lists, bans: Bans) -> None:
        """``bans`` are those of all listeners."""
        self._bans = bans
        self._lines = [
            _Line(rule.allow, rule.clients.everybody, lists.members(rule.clients, "its networks"))
            for rule in rules
        ]
        self._rest_allowed = rest_allowed(rules)

    @property
    def open(self) -> bool:
        """Whether nobody could be refused at this moment, so that nobody need be looked at."""
        return not (self._lines or self._bans.by_network)  # asked at each accept, and this is no call

    def refusal(self, client: bytes, wall: float) -> Optional[Refusal]:
        """Why the client may not come in; None if it may."""
        return self.banned(client, wall) or self._denied(client)

    def banned(self, client: bytes, wall: float) -> Optional[Refusal]:
        """Whether it is banned, whatever else may be said of it."""
        if not self._bans:
            return None
        ban = self._bans.find(client, wall)
        return Refusal(Reason.BANNED, str(ban)) if ban is not None else None

    def _denied(self, client: bytes) -> Optional[Refusal]:
        for line in self._lines:
            if line.everybody:
                return None if line.allow else Refusal(Reason.DENIED, "deny all")
            for listed in line.sets:
                if listed.networks.covers(client):
                    return None if line.allow else Refusal(Reason.DENIED, f"deny: {listed.name}")
        return None if self._rest_allowed else Refusal(Reason.DENIED, "no allow names it")
