"""Who is served while a pool is in maintenance?"""

from __future__ import annotations

from ipaddress import ip_network

from proxyd.config.lists import Clients
from proxyd.policy.lists import Lists
from proxyd.policy.maintenance import CONFIGURED, Maintenance
from tests.support.case import Case


class Turns(Case):
    """Maintenance that begins and ends."""

    def setUp(self) -> None:
        super().setUp()
        self.told: list[tuple[bool, str]] = []
        self.maintenance = Maintenance("web", False)
        self.maintenance.watch(lambda now: self.told.append((now.on, now.why)))

    def test_configured(self) -> None:
        """It may be on from the start."""
        self.assertEqual((Maintenance("web", True).on, Maintenance("web", True).why), (True, CONFIGURED))
        self.assertEqual((self.maintenance.on, self.maintenance.why), (False, ""))

    def test_turned(self) -> None:
        """Each change is told once, with who wanted it and why; of two who begin it the second is told."""
        for on, why, now in [
            (False, "nothing", 1.0),
            (True, "disk", 2.0),
            (True, "disk", 3.0),
            (True, "cable", 4.0),
            (False, "done", 5.0),
            (False, "again", 6.0),
        ]:
            self.maintenance.turn(on, why, now)
            self.assertEqual(self.maintenance.since, {1.0: 0.0, 3.0: 2.0, 4.0: 2.0, 6.0: 5.0}.get(now, now))
        self.assertEqual(self.told, [(True, "disk"), (True, "cable"), (False, "done")])

    def test_who_is_let_in(self) -> None:
        """While it is on, only those who are named; the others are counted."""
        networks = Clients((ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")), unix=True)
        self.maintenance.allowed = Lists(()).members(networks, "allowed")
        inside = [b"\x0a\x01\x02\x03", bytes.fromhex("20010db8") + bytes(12), b""]
        outside = [b"\xc0\x00\x02\x01", bytes.fromhex("20010db9") + bytes(12)]
        self.assertTrue(all(map(self.maintenance.lets_in, inside + outside)))
        self.maintenance.turn(True, "disk", 1.0)
        self.assertEqual([self.maintenance.lets_in(one) for one in inside], [True] * 3)
        self.assertEqual([self.maintenance.lets_in(one) for one in outside], [False] * 2)
        self.assertEqual(self.maintenance.turned_away, 2)
        self.assertEqual(str(self.maintenance), "[pool web] maintenance: disk")
        self.maintenance.allowed = ()
        self.assertFalse(any(map(self.maintenance.lets_in, inside)))
