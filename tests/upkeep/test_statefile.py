"""Does what should outlive the process get to the disk whole, and back?"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, Callable

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from proxyd.errors import StartError
from proxyd.upkeep.statefile import GATHER_SECONDS, REFRESH_SECONDS, StateFolder, replace
from tests.support.case import Case
from tests.support.walltime import SetTime


class FolderCase(Case):
    """A folder, a clock that the test moves, and a thread that works at once or when the test says so."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wall = SetTime(self.clock.seconds)
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.content: Any = {"a": 1}
        self.dumps = 0
        self.slow = False
        self.waiting: list[Callable[[], None]] = []

    def folder(self) -> StateFolder:
        folder = StateFolder(str(self.path), self.clock, self.in_thread, self.wall)
        folder.keep("things", self.dump)
        return folder

    def dump(self) -> Any:
        self.dumps += 1
        return self.content

    def in_thread(self, work: Callable[[], None]) -> Deferred[None]:
        if not self.slow:
            return maybeDeferred(work)
        done: Deferred[None] = Deferred()

        def run() -> None:
            work()
            done.callback(None)

        self.waiting.append(run)
        return done

    def there(self) -> Any:
        found = self.folder().read("things")
        return found and found[0]

    def lines(self, events: Any) -> list[str]:
        return [formatEvent(event).replace(str(self.path), "FOLDER") for event in events]


class Writing(FolderCase):
    """From a change to the disk."""

    def test_gathered(self) -> None:
        """Many changes are written together, soon."""
        folder = self.folder()
        folder.start()
        self.clock.advance(GATHER_SECONDS)
        self.assertEqual((self.dumps, self.there()), (1, {"a": 1}))
        for number in range(100):
            self.content = {"a": number}
            folder.changed("things")
        self.assertEqual(self.there(), {"a": 1})
        self.clock.advance(GATHER_SECONDS)
        self.assertEqual((self.dumps, self.there()), (2, {"a": 99}))
        self.successResultOf(folder.stop())

    def test_refreshed(self) -> None:
        """What stays the same is written now and then, so that the time in it tells when we were there."""
        folder = self.folder()
        folder.start()
        self.clock.advance(GATHER_SECONDS)
        self.clock.advance(REFRESH_SECONDS)
        self.assertEqual(self.folder().read("things"), ({"a": 1}, GATHER_SECONDS + REFRESH_SECONDS))
        self.successResultOf(folder.stop())

    def test_wall_time(self) -> None:
        """The time in it is that of the clock on the wall, also when that was set."""
        folder = self.folder()
        folder.start()
        self.wall.set(-3600.0)
        self.clock.advance(GATHER_SECONDS)
        self.assertEqual(self.folder().read("things"), ({"a": 1}, GATHER_SECONDS - 3600.0))
        self.successResultOf(folder.stop())

    def test_at_the_stop(self) -> None:
        """The stop writes what is new, and leaves nothing to be done."""
        folder = self.folder()
        folder.start()
        self.clock.advance(GATHER_SECONDS)
        self.content = ["last"]
        folder.changed("things")
        self.successResultOf(folder.stop())
        self.assertEqual((self.there(), self.clock.getDelayedCalls()), (["last"], []))
        folder.changed("things")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_only_at_the_stop(self) -> None:
        """What takes time is made once, at the stop."""
        folder = StateFolder(str(self.path), self.clock, self.in_thread, self.wall)
        folder.keep("things", self.dump, at_stop=True)
        folder.start()
        folder.changed("things")
        self.clock.pump([REFRESH_SECONDS] * 3)
        self.assertEqual((self.dumps, self.clock.getDelayedCalls()), (0, []))
        self.successResultOf(folder.stop())
        self.assertEqual((self.dumps, self.there()), (1, {"a": 1}))

    def test_a_slow_disk(self) -> None:
        """One write at a time; what changes meanwhile is written after it, and a stop waits for both."""
        folder = self.folder()
        self.slow = True
        folder.start()
        self.clock.advance(GATHER_SECONDS)
        self.content = ["later"]
        folder.changed("things")
        folder.changed("things")
        self.clock.advance(10.0)
        self.assertEqual(len(self.waiting), 1)
        self.waiting.pop()()
        self.assertEqual(self.there(), {"a": 1})
        self.clock.advance(GATHER_SECONDS)
        self.content = ["last"]
        stopped = folder.stop()
        self.assertNoResult(stopped)
        self.waiting.pop()()
        self.waiting.pop()()
        self.successResultOf(stopped)
        self.assertEqual((self.there(), self.clock.getDelayedCalls()), (["last"], []))

    def test_no_folder(self) -> None:
        """Without a folder nothing is kept."""
        folder = StateFolder("", self.clock, self.in_thread, self.wall)
        folder.check()
        self.assertIsNone(folder.read("things"))
        folder.keep("things", self.dump)
        folder.start()
        folder.changed("things")
        self.successResultOf(folder.stop())
        self.assertEqual((self.clock.getDelayedCalls(), self.dumps), ([], 0))

    def test_trouble(self) -> None:
        """What cannot be written is told once, and tried again."""
        folder = self.folder()
        folder.start()
        moved = self.path.with_name("moved")
        self.path.rename(moved)
        with capturedLogs() as events:
            self.clock.advance(GATHER_SECONDS)
            self.clock.advance(REFRESH_SECONDS)
        self.assertEqual(len(events), 1)
        self.assertIn("FOLDER/things.json cannot be written, and is tried again: ", self.lines(events)[0])
        moved.rename(self.path)
        self.clock.advance(REFRESH_SECONDS)
        self.assertEqual(self.there(), {"a": 1})
        self.successResultOf(folder.stop())

    def test_what_has_no_json(self) -> None:
        """A fault in what is to be kept is told, and takes nothing along."""
        folder = self.folder()
        self.content = {"a": float("nan")}
        folder.start()
        with capturedLogs() as events:
            self.clock.advance(GATHER_SECONDS)
        self.assertIn("ValueError", self.lines(events)[0])
        self.successResultOf(folder.stop())


class Files(FolderCase):
    """What is in the folder."""

    def test_private(self) -> None:
        """Only we may read it, and nothing is left beside it."""
        path = self.path / "things.json"
        (self.path / "things.json.new").write_text("left over")
        replace(str(path), b"{}")
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertEqual([found.name for found in self.path.iterdir()], ["things.json"])

    def test_the_old_one_stays(self) -> None:
        """When the new one cannot be written the old one is still whole."""
        path = self.path / "things.json"
        replace(str(path), b"old")
        self.patch(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with self.assertRaises(OSError):
            replace(str(path), b"new")
        self.assertEqual([found.name for found in self.path.iterdir()], ["things.json"])
        self.assertEqual(path.read_bytes(), b"old")

    def test_refused(self) -> None:
        """What is torn, foreign or no file at all is told, and left out."""
        folder = self.folder()
        folder.start()
        self.successResultOf(folder.stop())
        path = self.path / "things.json"
        good = path.read_bytes()
        other = json.loads(good)
        for text in (
            b"",
            good[:-1],
            b"[" * 100_000,
            b"\xff\xfe",
            b"[]",
            b'{"format": "proxyd state 2"}',
            json.dumps({**other, "section": "others"}).encode(),
            json.dumps({**other, "written": "now"}).encode(),
            json.dumps({key: other[key] for key in other if key != "content"}).encode(),
        ):
            path.write_bytes(text)
            with capturedLogs() as events:
                self.assertIsNone(self.there(), text[:50])
            self.assertEqual(len(events), 1)
            self.assertTrue(self.lines(events)[0].startswith("FOLDER/things.json is left out: it "))
        path.unlink()
        os.mkfifo(path)
        self.assertIsNone(self.there())
        path.unlink()
        self.assertIsNone(self.there())

    def test_check(self) -> None:
        """A folder that is not there fails the start."""
        for path in (self.path / "nobody", self.path / "file"):
            (self.path / "file").write_text("")
            with self.assertRaises(StartError):
                StateFolder(str(path), self.clock, self.in_thread, self.wall).check()
        self.folder().check()
