"""Are rows compared as an operator writes them?"""

from __future__ import annotations

from proxyd.upkeep.probes.conversation import Failed
from proxyd.upkeep.probes.rows import judge, text
from tests.support.case import Case


class RowsTests(Case):
    def test_text(self) -> None:
        """A row is its values with a blank between two; none is told from an empty one."""
        self.assertEqual(text((b"wsrep_ready", b"ON")), "wsrep_ready ON")
        self.assertEqual(text((None, b"", b"\xff")), "NULL  \\xff")
        self.assertEqual(text(()), "")
        self.assertEqual(text(None), "no row")

    def test_judge(self) -> None:
        """Only the row that is expected passes, and any if nothing is expected."""
        judge("", None)
        judge("1", (b"1",))
        failed = self.assertRaises(Failed, judge, "1", (b"1\n",), "SELECT 1")
        self.assertEqual(str(failed), "answered 1\\n to SELECT 1")
