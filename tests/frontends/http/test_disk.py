"""How does what is stored survive a restart?"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from random import Random
from typing import Any, Optional
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from proxyd.config.cache import CacheSpec
from proxyd.frontends.http import disk as disks
from proxyd.frontends.http import diskfiles
from proxyd.frontends.http.cache import Cache
from proxyd.frontends.http.disk import MOST_CHANGES, MOST_WAITING, DiskStore
from proxyd.frontends.http.diskfiles import BLOCK, NEW, size_of
from proxyd.policy.cachestore import Stored
from proxyd.policy.freshness import Terms
from proxyd.wire.httpfields import parse_field
from tests.frontends.http.caches import FRESH, DiskCase, Threads, answer, get
from tests.support.case import Case
from tests.support.walltime import SetTime


def made(url: bytes = b"http://a/", body: bytes = b"hello", *lines: bytes) -> Stored:
    fields = [parse_field(line) for line in lines]
    return Stored(url, b"w", (b"x",), (b"-",), 200, b"OK", fields, body, Terms(60.0, 1.0, if_error=5.0))


class Disk(Case):
    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.now = 100.0
        self.wall = SetTime(lambda: self.now, 1e9)
        self.threads = Threads()
        self.tags: dict[bytes, bytes] = {}
        self.disk: Any = None
        self.disk = self.begin()

    def begin(self, budget: int = 1 << 20) -> DiskStore:
        """The store after a restart."""
        if self.disk is not None:
            self.disk.close()
        disk = self.disk = DiskStore(self.folder, budget, 1 << 20, self.threads, lambda: self.now, self.wall)
        self.assertEqual(disk.fault(), "")
        Deferred.fromCoroutine(disk.begin())
        self.threads.run()
        return disk

    def files(self) -> list[str]:
        return [os.path.join(at, name) for at, _, names in os.walk(self.folder) for name in names]

    def read(self, disk: DiskStore, url: bytes = b"http://a/") -> Any:
        known = disk.find(url, b"w", [])
        if known is None:
            return None
        got: list[Any] = []
        disk.read(known).addCallback(got.append)
        self.threads.run()
        return got[0]

    def write(self, *stored: Stored) -> None:
        for each in stored:
            self.disk.write(each)
        self.threads.run()

    def test_restart(self) -> None:
        """What was written is there again, with all that is known of it."""
        one = made(b"http://a/", b"hello", b"X: \xff", b"Cache-Tag: t")
        self.write(one)
        for disk in (self.disk, self.begin()):
            found = self.read(disk)
            for name in ("url", "way", "names", "chosen", "status", "reason", "body", "terms", "tags"):
                self.assertEqual(getattr(found, name), getattr(one, name), name)
            self.assertEqual([field[2] for field in found.fields], [field[2] for field in one.fields])
            self.assertEqual((len(disk), disk.index.used), (1, size_of(os.path.getsize(self.files()[0]))))

    def test_another_clock(self) -> None:
        """What another process reads is as old as it would be in this one, however that counts seconds."""
        self.write(made())  # which is 99 seconds old
        for now, ahead, age in (
            (40.0, 1e9 + 90.0, 129.0),
            (40.0, 1e9 - 3600.0, 0.0),  # nobody can know more of a clock that was set back meanwhile
        ):
            self.now, self.wall = now, SetTime(lambda: self.now, ahead)
            self.assertEqual(self.read(self.begin()).terms.age(now), age)

    def test_replaced(self) -> None:
        """Of two answers to the same the later is kept, also if a kill has left both."""
        self.write(made(body=b"old"))
        (path,) = self.files()
        with open(path, "rb") as file:
            old = file.read()
        self.now += 1
        self.write(made(body=b"new"))
        self.assertEqual(len(self.files()), 1)
        with open(path, "wb") as file:
            file.write(old)
        disk = self.begin()
        self.assertEqual((self.read(disk).body, len(self.files())), (b"new", 1))

    def test_torn(self) -> None:
        """What is cut, or is none of ours, is thrown away, and never given."""
        for number in range(4):
            self.write(made(b"http://a/%d" % number, b"hello" * 3000))
        one, two, three, four = sorted(self.files())
        for path, length in ((one, 5000), (two, 10), (three, 0)):
            os.truncate(path, length)
        with open(four, "r+b") as file:
            file.seek(5000)
            file.write(b"?")
        with open(os.path.join(self.folder, NEW, "remainder"), "wb"):
            pass
        disk = self.begin()
        self.assertEqual(sorted(self.files()), [one, four])
        self.assertEqual([self.read(disk, b"http://a/%d" % number) for number in range(4)], [None] * 4)
        self.threads.run()
        self.assertEqual((self.files(), disk.index.used, len(disk)), ([], 0, 0))

    def test_budget(self) -> None:
        """No more is kept than there is room for, and less after a restart with less."""
        self.disk = self.begin(20 * BLOCK)
        for number in range(40):
            self.write(made(b"http://a/%d" % number, bytes(1000)))
        self.threads.run()
        self.assertEqual((len(self.disk), len(self.files())), (10, 10))
        self.assertLessEqual(self.disk.index.used, 20 * BLOCK)
        disk = self.begin(6 * BLOCK)
        self.assertEqual((len(disk), len(self.files())), (3, 3))

    def test_thrown_away(self) -> None:
        """What is purged is gone from the disk, also if it was just being written."""
        self.write(made())
        self.assertEqual(self.disk.purge_url(b"http://a/"), 1)
        self.disk.write(made(b"http://b/"))
        self.assertIsNone(self.disk.find(b"http://b/", b"w", []))
        self.assertEqual(self.disk.purge_url(b"http://b/"), 1)
        self.threads.run()
        self.assertEqual((self.files(), len(self.disk)), ([], 0))

    def test_too_much_at_once(self) -> None:
        """What would wait too long to be written is kept in memory alone."""
        for number in range(MOST_WAITING + 5):
            self.disk.write(made(b"http://a/%d" % number))
        self.assertEqual(self.disk.skipped, 5)
        self.threads.run()
        self.assertEqual(len(self.disk), MOST_WAITING)
        self.assertEqual((self.disk._writing, self.disk._waiting_bytes), ({}, 0))

    def test_one_that_is_long(self) -> None:
        """One alone may be longer than what may wait, and is written; the next is not meanwhile."""
        self.patch(disks, "MOST_WAITING_BYTES", 1000)
        self.disk.write(made(b"http://a/1", bytes(5000)))
        self.disk.write(made(b"http://a/2", bytes(5000)))
        self.assertEqual(self.disk.skipped, 1)
        self.threads.run()
        self.assertEqual(self.read(self.disk, b"http://a/1").body, bytes(5000))

    def test_too_soon(self) -> None:
        """Before it is known what is there nothing is written, or there would be too much."""
        disk = DiskStore(self.folder, 1 << 20, 1 << 20, self.threads, lambda: self.now, self.wall)
        disk.write(made())
        self.assertEqual((disk.skipped, len(disk)), (1, 0))

    def test_purged_too_soon(self) -> None:
        """What is purged or replaced before it is known to be there is not used when it is found."""
        for change in (
            lambda disk: disk.purge_url(b"http://a/"),
            lambda disk: disk.purge(tag=b"t"),
            lambda disk: disk.purge(b"http://a"),
            lambda disk: disk.outdate(made()),
            lambda disk: disk.write(made(body=b"new")),
            lambda disk: [disk.purge_url(b"http://c/%d" % number) for number in range(MOST_CHANGES + 1)],
        ):
            self.disk = self.begin()
            self.write(made(b"http://a/", b"hello", b"Cache-Tag: t"))
            disk = DiskStore(self.folder, 1 << 20, 1 << 20, self.threads, lambda: self.now, self.wall)
            Deferred.fromCoroutine(disk.begin())
            change(disk)
            self.threads.run()
            self.assertEqual((self.read(disk), self.files()), (None, []))
            disk.write(made())
            self.threads.run()
            self.assertEqual(self.read(disk).body, b"hello")

    def test_purged_by_what_files_tell(self) -> None:
        """By a prefix or a tag: none is given from then on, and the sweep leaves others alone."""
        for number in range(6):
            self.write(
                made(b"http://a/%d/x" % (number % 2), b"%d" % number, b"Cache-Tag: t%d" % (number % 3))
            )
            self.write(made(b"http://b/%d" % number, b"b", b"Cache-Tag: t%d" % (number % 3)))
        self.assertEqual(len(self.files()), 8)
        for how, left in (({"prefix": b"http://a/1/"}, 7), ({"tag": b"t2"}, 5), ({"prefix": b"htt"}, 0)):
            self.disk.purge(**how)
            self.assertTrue(self.disk.purging)
            self.assertEqual(len(self.files()), len(self.disk))
            self.threads.run()
            self.assertEqual((len(self.files()), len(self.disk), self.disk.purging), (left, left, False))
        self.assertEqual(self.disk.swept, 8)

    def test_never_given_when_purged(self) -> None:
        """Whatever is written, read and purged, in any order: what is given was not purged, nor replaced."""
        self.patch(disks, "SWEPT", 2)
        self.patch(disks, "SLICE", 2)
        random = Random(9)
        for _ in range(40):
            self.disk = self.begin()
            good: dict[bytes, Optional[bytes]] = {}
            reads: list[tuple[bytes, list[Any]]] = []

            def came(stored: Any, url: bytes, of: list[Any]) -> None:
                of.append(stored)
                if stored is not None:
                    self.assertEqual(stored.body, good[url])  # noqa: B023

            for number in range(150):
                what = random.random()
                url = b"http://a/%d/%d" % (random.randrange(3), random.randrange(3))
                if what < 0.3:
                    body, tag = b"%d" % number, b"Cache-Tag: t%d" % random.randrange(2)
                    self.disk.write(made(url, body, tag))
                    good[url] = body
                    self.tags[url] = tag
                elif what < 0.4:
                    prefix = b"http://a/%d/" % random.randrange(3)
                    self.disk.purge(prefix)
                    good.update((each, None) for each in good if each.startswith(prefix))
                elif what < 0.45:
                    tag = b"t%d" % random.randrange(2)
                    self.disk.purge(tag=tag)
                    good.update((each, None) for each in good if self.tags[each] == b"Cache-Tag: " + tag)
                elif what < 0.7:
                    known = self.disk.find(url, b"w", [])
                    if known is not None:
                        found: list[Any] = []
                        reads.append((url, found))
                        self.disk.read(known).addCallback(came, url, found)
                else:
                    self.threads.run_one(random)
            self.threads.run()
            self.assertTrue(all(found for _, found in reads))
            left = {url: body for url, body in good.items() if body is not None}
            self.assertEqual({url: self.read(self.disk, url).body for url in left}, left)
            self.assertEqual((len(self.disk), len(self.files())), (len(left), len(left)))
            self.assertFalse(self.disk.purging)
            self.disk.purge()
            self.threads.run()
            self.disk.close()

    def test_purged_and_not_readable(self) -> None:
        """Where the sweep cannot see whether an answer was meant, that is not given either."""

        def no_descriptors(*_: Any) -> Any:
            raise OSError(errno.EMFILE, "Too many open files")

        self.write(made(b"http://a/", b"hello", b"Cache-Tag: t"))
        self.disk.purge(tag=b"t")
        with patch.object(diskfiles, "open", no_descriptors, create=True):
            self.threads.run()
        self.assertEqual((self.disk.purging, self.read(self.disk)), (False, None))

    def test_another(self) -> None:
        """A file of another answer, of which the numbers are the same, is none."""
        self.write(made())
        known = self.disk.find(b"http://a/", b"w", [])
        assert known is not None
        got: list[Any] = []
        wrong = disks.OnDisk(known.place, known.number, (b"http://b/", *known.key[1:]))
        self.disk.read(wrong).addCallback(got.append)
        self.threads.run()
        self.assertEqual((got, self.files()), ([None], []))

    def test_names_that_are_not_ours(self) -> None:
        """A file that says it is ours, and is not called so, is thrown away; others are left alone."""
        self.write(made())
        (path,) = self.files()
        os.rename(path, path + "0")
        os.mkdir(os.path.join(self.folder, "lost+found"))
        with open(os.path.join(self.folder, "lost+found", "x"), "wb"):
            pass
        disk = self.begin()
        self.assertEqual((len(disk), [os.path.basename(each) for each in self.files()]), (0, ["x"]))

    def test_what_is_not_written(self) -> None:
        """Where the new answer has no time to be written, the old one is not used either."""
        self.write(made(body=b"old"))
        for number in range(MOST_WAITING):
            self.disk.write(made(b"http://b/%d" % number))
        self.disk.write(made(body=b"new"))
        self.threads.run()
        self.assertIsNone(self.read(self.disk))

    def test_no_disk(self) -> None:
        """Where nothing can be written nothing is stored, and that is said once."""
        path = os.path.join(self.folder, NEW)
        os.rmdir(path)
        with open(path, "wb"):
            pass
        self.write(made(), made(b"http://b/"))
        self.assertEqual((len(self.disk), self.disk._writing), (0, {}))

    def test_emptied(self) -> None:
        """A folder that somebody has emptied is filled again."""
        shutil.rmtree(os.path.join(self.folder, NEW))
        self.write(made())
        self.assertEqual(self.read(self.disk).body, made().body)

    def test_for_us_alone(self) -> None:
        """What is stored may be read by nobody else, whatever the umask."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.write(made())
        (path,) = self.files()
        modes = [stat.S_IMODE(os.stat(each).st_mode) for each in (path, os.path.dirname(path))]
        self.assertEqual(modes, [0o600, 0o700])

    def test_two_processes(self) -> None:
        """A folder that another daemon uses fails the start; it is free when that ends."""
        other = DiskStore(self.folder, 1 << 20, 1 << 20, self.threads, lambda: self.now, self.wall)
        self.assertIn("is used by another process", other.fault())
        self.disk.close()
        self.assertEqual(other.fault(), "")
        other.close()

    def test_read_only(self) -> None:
        """So does one that cannot be written to."""
        self.disk.close()
        with patch("os.access", lambda path, mode: mode == os.R_OK):
            self.assertEqual(self.disk.fault(), f"{self.folder} must not be written to")
        self.disk.close()

    def test_no_folder(self) -> None:
        """A folder that is not there fails the start."""
        spec = CacheSpec("pages", path=os.path.join(self.folder, "none"))
        faults = Cache(spec, Clock(), SetTime(Clock().seconds), self.threads).faults()
        self.assertEqual(faults, [f"[cache pages] path: {self.folder}/none is no folder"])


class OfSessions(DiskCase):
    """What clients get of the disk."""

    def test_after_a_restart(self) -> None:
        """Who asks gets what was stored before, together with others; and no server hears of it."""
        self.store()
        self.fill()
        self.settle()
        self.over()
        self.store()
        clients = [self.ask() for _ in range(3)]
        self.assertEqual(self.heard(clients[0]), b"")
        self.settle()
        self.assertEqual({self.told(client)[2] for client in clients}, {b"hello"})
        self.assertEqual(self.words()[1:], ["hit"] * 3)
        self.assertEqual(len(self.datapath.peers), 1)
        self.over()

    def test_no_room_in_memory(self) -> None:
        """What memory has no room for is got from the disk, again and again."""
        self.store(size=6000)
        for number in range(4):
            self.fill(request=get(target=b"/%d" % number), body=b"%d" % number * 1000)
            self.settle()
        for number in range(4):
            client = self.ask(get(target=b"/%d" % number))
            self.settle()
            self.assertEqual(self.told(client)[2], b"%d" % number * 1000)
        self.assertEqual(self.words()[4:], ["hit"] * 4)
        self.over()

    def test_torn(self) -> None:
        """A file that is torn is as if it were not there."""
        self.store()
        self.fill()
        self.settle()
        self.over()
        (path,) = [os.path.join(at, name) for at, _, names in os.walk(self.folder) for name in names]
        self.store()
        os.truncate(path, os.path.getsize(path) - 1)
        client = self.ask()
        self.settle()
        self.say(self.server, answer(b"again", FRESH))
        self.assertEqual(self.told(client)[2], b"again")
        self.settle()
        self.over()

    def test_a_disk_that_hangs(self) -> None:
        """It is waited for no longer than ``lock_timeout``."""
        self.store()
        self.fill()
        self.settle()
        self.over()
        self.store(lock_timeout=2.0)
        client = self.ask()
        self.pass_time(4)
        self.say(self.server, answer(b"own", FRESH))
        self.assertEqual(self.told(client)[2], b"own")
        self.threads.run()
        self.over()

    def test_purged(self) -> None:
        """What is purged does not come back with a restart."""
        self.store()
        self.fill()
        self.settle()
        self.assertEqual(self.cache.purge_url(b"http://example.com/x"), 1)
        self.settle()
        self.over()
        self.store()
        self.ask()
        self.settle()
        self.assertEqual(len(self.datapath.peers), 2)
        self.over()

    def test_purged_and_asked_for(self) -> None:
        """What was purged by a tag is looked at once by who asks for it, however long the sweep takes."""
        self.store()
        self.fill(FRESH, b"Cache-Tag: t\r\n")
        self.settle()
        self.over()
        self.store()
        self.cache.purge_tag(b"t")
        held, self.threads.work = self.threads.work, []
        client = self.ask()
        for _ in range(3):
            self.settle()
        self.say(self.server, answer(b"again", FRESH))
        self.assertEqual(self.told(client)[2], b"again")
        self.threads.work += held
        self.settle()
        self.assertFalse(self.cache.purging)
        self.over()
