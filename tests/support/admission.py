"""How does a test have listeners that let everybody in, or that have lists and bans?"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Optional

from proxyd.config.lists import Clients, Rule
from proxyd.policy.admission import Admission
from proxyd.policy.bans import Bans
from proxyd.policy.lists import Lists


def rule(line: str) -> Rule:
    """A line of ``allow`` or ``deny`` as it is written, with networks and the words `unix` and `all`."""
    option, *words = line.split()
    networks = tuple(ip_network(word) for word in words if word not in ("unix", "all"))
    return Rule(option == "allow", Clients(networks, unix="unix" in words, everybody="all" in words))


def admission(*lines: str, bans: Optional[Bans] = None, lists: Optional[Lists] = None) -> Admission:
    """Who may come in by these lines; everybody, if there is none."""
    return Admission([rule(line) for line in lines], lists or Lists(()), Bans(10) if bans is None else bans)
