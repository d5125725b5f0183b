"""Can an operator write whom a pool turns away, and is it said what cannot be?"""

from __future__ import annotations

from ipaddress import ip_network

from proxyd.config.errorpage import ErrorPageSpec
from proxyd.config.lists import Clients
from proxyd.config.template import Template
from tests.config.ini import MINIMAL, IniCase


class MaintenanceTests(IniCase):
    """``maintenance`` and what is beside it."""

    def found(self, text: str) -> tuple[object, ...]:
        pool = self.load(text).pools[0]
        return (
            pool.maintenance,
            pool.maintenance_allow,
            pool.maintenance_retry_after,
            pool.maintenance_page,
        )

    def test_written(self) -> None:
        """It is off; all of it can be said ahead."""
        self.assertEqual(self.found(MINIMAL), (False, Clients(), 300.0, ()))
        lines = (
            "maintenance = yes\nmaintenance_allow = 10.0.0.0/8 @office\nmaintenance_retry_after = 1h\n"
            "maintenance_page = 'Back soon'\n[list office]\nnetworks = 192.0.2.0/24\n"
        )
        allowed = Clients((ip_network("10.0.0.0/8"),), ("office",))
        page = ErrorPageSpec(Template((("Back soon", ""),)))
        self.assertEqual(self.found(MINIMAL + lines), (True, allowed, 3600.0, (page,)))

    def test_refused(self) -> None:
        """What is wrong is named."""
        known = "known here: status, reason, message, id, listener, client"
        for line, why in (
            ("maintenance = maybe", 'maintenance: "maybe" is neither yes nor no'),
            ("maintenance_allow = @office", 'maintenance_allow: "office" is not known; there is none'),
            ("maintenance_allow = 10.0.0.0/33", 'maintenance_allow: "10.0.0.0/33" is '),
            (
                "maintenance_retry_after = 10ms",
                "maintenance_retry_after: is told in whole seconds; the least",
            ),
            ("maintenance_page = {x}", f'maintenance_page: {{x}}: "x" is not known; {known}'),
        ):
            (found,) = self.problems(f"{MINIMAL}{line}\n")
            self.assertIn(f"proxy.ini:6: [pool p] {why}", found)
