"""What is seen of caches, and is what the operator means thrown away?"""

from __future__ import annotations

from typing import Any

from twisted.logger import capturedLogs, formatEvent

from proxyd.errors import Malformed
from proxyd.ops.cache import families
from proxyd.ops.command import Caller, Declined, Steered
from proxyd.ops.commands import COMMANDS
from proxyd.snapshots import CacheSnapshot, DiskSnapshot, Snapshot
from tests.support.case import Case
from tests.support.walltime import SetTime

DISK = DiskSnapshot(6, 70, 80, 20, 90, 1, 3, 8)
SEEN = CacheSnapshot("pages", (("hit", 3), ("miss", 1)), 5, 700, 1000, 2, 4, 9000, True, DISK)


class Pages:
    """A cache that notes what is asked of it."""

    def __init__(self) -> None:
        self.purged: list[object] = []

    def snapshot(self) -> CacheSnapshot:
        return SEEN

    def purge_named(self, url: str) -> int:
        if "://" not in url:
            raise Malformed("no URL")
        self.purged.append(url)
        return 1

    def purge_tag(self, tag: bytes) -> int:
        self.purged.append(tag)
        return 2

    def purge_prefix(self, prefix: bytes) -> int:
        self.purged.append(prefix)
        return 3


class CacheCommands(Case):
    def setUp(self) -> None:
        self.pages = Pages()
        self.steered = Steered({}, lambda: 0.0, SetTime(lambda: 0.0), caches={"pages": self.pages})

    def do(self, name: str, **given: Any) -> dict[str, Any]:
        command = COMMANDS[name]
        return command.run(self.steered, command.given(given), Caller(0, 99))

    def test_list(self) -> None:
        """All that is known of each."""
        self.assertEqual(
            self.do("cache list")["caches"],
            [
                {
                    "name": "pages", "entries": 5, "used": 700, "size": 1000, "evicted": 2, "purged": 4,
                    "saved": 9000, "requests": {"hit": 3, "miss": 1},
                    "purging": True,
                    "disk": {
                        "entries": 6, "used": 70, "size": 80, "index": 20, "index_size": 90,
                        "evicted": 1, "purged": 3, "skipped": 8,
                    },
                }
            ],
        )  # fmt: skip

    def test_purge(self) -> None:
        """By URL, tag and beginning; who did it is in the log."""
        with capturedLogs() as events:
            for given, count in (({"url": "http://a/"}, 1), ({"tag": "t"}, 2), ({"prefix": "http://a/"}, 3)):
                told = self.do("cache purge", cache="pages", **given)
                self.assertEqual(told, {"cache": "pages", "purged": count, "going_on": count > 1})
        self.assertEqual(self.pages.purged, ["http://a/", b"t", b"http://a/"])
        self.assertEqual(
            formatEvent(events[1]), "admin: uid 0 (pid 99) has purged 2 answers of [cache pages], tag 't'"
        )

    def test_declined(self) -> None:
        """A cache that there is not, nothing to go by, two things, and what is no URL."""
        for given in (
            {"cache": "page", "url": "http://a/"},
            {"cache": "pages"},
            {"cache": "pages", "url": "http://a/", "tag": "t"},
            {"cache": "pages", "url": "a"},
        ):
            self.assertRaises(Declined, self.do, "cache purge", **given)
        self.assertEqual(self.pages.purged, [])


class Families(Case):
    def test_values(self) -> None:
        """Each number is under its name, with the cache's."""
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for family in families(Snapshot((), (), caches=(SEEN,)))
            for sample in family.samples
        }
        self.assertEqual(
            found,
            {
                ("proxyd_cache_requests_total", "pages", "hit"): 3,
                ("proxyd_cache_requests_total", "pages", "miss"): 1,
                ("proxyd_cache_saved_bytes_total", "pages"): 9000,
                ("proxyd_cache_evicted_total", "pages"): 2,
                ("proxyd_cache_purged_total", "pages"): 4,
                ("proxyd_cache_entries", "pages"): 5,
                ("proxyd_cache_used_bytes", "pages"): 700,
                ("proxyd_cache_size_bytes", "pages"): 1000,
                ("proxyd_cache_disk_entries", "pages"): 6,
                ("proxyd_cache_disk_used_bytes", "pages"): 70,
                ("proxyd_cache_disk_size_bytes", "pages"): 80,
                ("proxyd_cache_disk_index_used_bytes", "pages"): 20,
                ("proxyd_cache_disk_index_size_bytes", "pages"): 90,
                ("proxyd_cache_disk_evicted_total", "pages"): 1,
                ("proxyd_cache_disk_purged_total", "pages"): 3,
                ("proxyd_cache_disk_skipped_total", "pages"): 8,
            },
        )

    def test_none(self) -> None:
        """Without a cache nothing is told."""
        self.assertEqual(list(families(Snapshot((), ()))), [])
