"""Can every way of balancing be asked for?"""

from __future__ import annotations

from proxyd.config.balance import BALANCES
from tests.config.ini import MINIMAL, IniCase


class BalanceTests(IniCase):
    def test_names(self) -> None:
        """Each name that is known can be given, and means itself."""
        for name in BALANCES:
            self.assertEqual(self.load(f"{MINIMAL}balance = {name}\n").pools[0].balance, name)

    def test_nearest_name(self) -> None:
        """A name that is not known is answered with the nearest that is."""
        self.assertEqual(
            self.problems(f"{MINIMAL}balance = roundrobbin\n"),
            ['proxy.ini:6: [pool p] balance: "roundrobbin" is not known; did you mean "roundrobin"?'],
        )
