"""Who may be chosen, and who stands in?  What leads servers into their states is in test_pool_states.py."""

from __future__ import annotations

from proxyd.config.address import TcpAddress
from proxyd.policy.server import Server
from proxyd.policy.state import State
from proxyd.policy.tiers import tiers
from tests.support.case import Case

STATES = {state.value[0]: state for state in State}

# Servers, each by its state (its first letter, d for down), with a
# number for its priority and b for a backup; the panic threshold; how many are too few; and the tiers.
TABLE = [
    ("u u", 0, 1, (False, ["01"])),
    ("u d e c m", 0, 1, (False, ["0"])),
    ("d e c", 0, 1, (False, ["2"])),
    ("d e m", 0, 1, (False, ["1"])),
    ("d m", 0, 1, (False, [])),
    ("u1 ub u u1b", 0, 1, (False, ["2", "0", "1", "3"])),
    ("u ub u1", 0, 2, (False, ["02", "1"])),
    ("ub u", 0, 2, (False, ["01"])),
    ("u d d m", 50, 1, (True, ["012"])),
    ("u d", 50, 1, (False, ["0"])),
    ("d d ub", 50, 1, (False, ["2"])),
    ("u d d ub", 50, 1, (True, ["012", "3"])),
]


def server(name: str, word: str) -> Server:
    priority = int("0" + word[1:].rstrip("b"))
    found = Server(name, TcpAddress("10.0.0.1", 1), backup=word.endswith("b"), priority=priority)
    found.state = STATES[word[0]] if word[0] != "d" else State.DOWN
    return found


class TiersTests(Case):
    def test_table(self) -> None:
        """Those that are up come first, backups and higher priorities after them; a panic takes all."""
        for words, threshold, below, (panic, expected) in TABLE:
            servers = [server(str(number), word) for number, word in enumerate(words.split())]
            found = tiers(servers, threshold, below)
            names = ["".join(one.name for one in tier) for tier in found[1]]
            self.assertEqual((found[0], names), (panic, expected), words)

    def test_no_share(self) -> None:
        """One without weight is in no tier, and does not count."""
        servers = [server("0", "u"), server("1", "u")]
        servers[0].share = 0
        self.assertEqual(tiers(servers, 100, 1), (False, [[servers[1]]]))
