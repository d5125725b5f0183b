"""Is the daemon asked to forget what the operator means?"""

from __future__ import annotations

from tests.cli.daemon import AskingCase


class ClearTests(AskingCase):
    def test_table(self) -> None:
        """The entry goes, and that is said; no key speaks to the terminal."""
        self.answering({"table": "counters/clients", "key": "192.0.2.7\x1b"})
        status, out, err = self.run_it("clear", "table", "counters/clients", "192.0.2.7")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(out, "counters/clients has forgotten 192.0.2.7\\x1b\n")
        self.assertEqual(
            self.asked, [{"command": "clear table", "table": "counters/clients", "key": "192.0.2.7"}]
        )
