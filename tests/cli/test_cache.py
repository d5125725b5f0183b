"""Is the daemon asked for what its caches store, and to throw away what the operator means?"""

from __future__ import annotations

from tests.cli.daemon import AskingCase

ASKED = {"hit": 6, "stale": 1, "miss": 2, "revalidated": 0, "coalesced": 0, "bypass": 1}
ROW = {"name": "pages", "entries": 3, "used": 50, "size": 100, "evicted": 1, "purged": 2, "saved": 7}


class CacheTests(AskingCase):
    def test_list(self) -> None:
        """How full each is, and which share of requests needed no answer of their own."""
        new = {**ROW, "name": "new", "requests": dict.fromkeys(ASKED, 0), "disk": None}
        disk = {"entries": 12, "used": 30, "size": 120}
        self.answering({"caches": [{**ROW, "requests": ASKED, "disk": disk}, new]})
        status, out, err = self.run_it("cache", "list")
        self.assertEqual((status, err), (0, ""))
        lines = [line.split() for line in out.splitlines()]
        self.assertEqual(
            lines[0], ["CACHE", "ENTRIES", "USED", "ON-DISK", "DISK-USED", "HITS", "EVICTED", "PURGED"]
        )
        self.assertEqual(lines[1], ["pages", "3", "50%", "12", "25%", "70%", "1", "2"])
        self.assertEqual(lines[2], ["new", "3", "50%", "-", "-", "-", "1", "2"])
        self.assertEqual(self.asked, [{"command": "cache list"}])

    def test_purge(self) -> None:
        """One URL, all that begin so, or all with a tag; and how many there were is said."""
        for way, text in (("url", "http://a/b"), ("prefix", "http://a/"), ("tag", "t")):
            self.answering({"cache": "pages", "purged": 4, "going_on": way == "tag"})
            status, out, _ = self.run_it("cache", "purge", "pages", f"--{way}", text)
            rest = "; what is left is given no more, and is being removed" if way == "tag" else ""
            self.assertEqual((status, out), (0, f"answers purged: 4{rest}\n"))
            self.assertEqual(self.asked[-1], {"command": "cache purge", "cache": "pages", way: text})
