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

    def test_all(self) -> None:
        """All entries go only if that is said."""
        self.answering({"table": "affinity/db", "entries": 3})
        status, out, err = self.run_it("clear", "table", "affinity/db", "--all")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(out, "affinity/db has forgotten all of its entries, 3\n")
        self.assertEqual(self.asked, [{"command": "clear table", "table": "affinity/db", "all": True}])
        for words in ((), ("192.0.2.7", "--all")):
            status, out, err = self.run_it("clear", "table", "affinity/db", *words)
            self.assertEqual((status, out), (2, ""))
