"""Is a list's file read again when it has changed, and only if it can be used?"""

from __future__ import annotations

import os
import shutil
import tempfile

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from proxyd.config.lists import Clients
from proxyd.policy.lists import Lists
from proxyd.upkeep.lists import LOOK_SECONDS, ListFiles
from tests.support.case import Case


class ListFilesTests(Case):
    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="p-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "bad.txt")
        self.clock = Clock()
        self.lists = Lists(())
        [self.listed] = self.lists.members(Clients(paths=(self.path,)), "own")
        self.files = ListFiles(self.clock, lambda: 0.0, self.lists.files)

    def write(self, text: str) -> None:
        """Put another file in the place of the list."""
        with open(self.path + ".new", "w", encoding="ascii") as file:
            file.write(text)
        os.replace(self.path + ".new", self.path)

    def start(self, text: str = "10.0.0.0/8\n") -> None:
        """Have the file read, and looked after."""
        self.write(text)
        self.assertEqual(self.files.load(), [])
        self.files.start()
        self.addCleanup(self.files.stop)

    def looks(self, count: int = 2) -> list[str]:
        """What is logged while the file is looked at so often, with time for reading."""
        with capturedLogs() as events:
            self.clock.pump([LOOK_SECONDS / 100] * 100 * count)
        return [(formatEvent(event) or "").replace(self.folder + os.sep, "") for event in events]

    def covers(self, *octets: int) -> bool:
        return self.listed.networks.covers(bytes(octets))

    def test_at_start(self) -> None:
        """All of it is there before the daemon serves; what is wrong is told, each line of each file."""
        self.write("10.0.0.0/8\n")
        self.assertEqual(self.files.load(), [])
        self.assertTrue(self.covers(10, 0, 0, 1))
        self.write("10.0.0.0/8\nten\n\n11\n")
        wrong = [line.replace(self.folder + os.sep, "") for line in self.files.load()]
        neither = "is neither a network nor an address; write 10.0.0.0/8, for example"
        self.assertEqual(wrong, [f'bad.txt:2: "ten" {neither}', f'bad.txt:4: "11" {neither}'])
        os.unlink(self.path)
        self.assertEqual(self.files.load(), [f"{self.path}: cannot be read: No such file or directory"])

    def test_changed(self) -> None:
        """A file that has changed, and then looks the same twice, is in force."""
        self.start()
        self.assertEqual(self.looks(5), [])
        self.write("11.0.0.0/8\n2001:db8::/32\n")
        self.assertEqual(self.looks(1), [])
        self.assertEqual(self.looks(), ["bad.txt: was read again (networks: 2)"])
        self.assertEqual((self.covers(10, 0, 0, 1), self.covers(11, 0, 0, 1)), (False, True))
        self.assertEqual(self.looks(5), [])

    def test_being_written(self) -> None:
        """A file that looks other at each look is not read before that has an end."""
        self.start()
        self.looks(1)
        for length in range(1, 6):
            self.write("11.0.0.0/8\n" * length)
            self.assertEqual(self.looks(1), [])
        self.assertEqual(self.looks(), ["bad.txt: was read again (networks: 5)"])

    def test_wrong(self) -> None:
        """What cannot be used is told once, and what was read before holds, until the file is right."""
        self.start()
        self.write("11.0.0.0/8\nten\n")
        self.assertEqual(
            self.looks(10),
            [
                'bad.txt:2: "ten" is neither a network nor an address; write 10.0.0.0/8, for example',
                "bad.txt: what was read before holds (networks: 1)",
            ],
        )
        self.assertEqual((self.covers(10, 0, 0, 1), self.covers(11, 0, 0, 1)), (True, False))
        self.write("11.0.0.0/8\n")
        self.assertEqual(self.looks(3), ["bad.txt: was read again (networks: 1)"])
        self.assertTrue(self.covers(11, 0, 0, 1))

    def test_gone(self) -> None:
        """A file that has gone, or cannot be read, changes nothing, and is told once."""
        self.start()
        os.unlink(self.path)
        self.assertEqual(
            self.looks(10),
            [
                "bad.txt: cannot be read: No such file or directory",
                "bad.txt: what was read before holds (networks: 1)",
            ],
        )
        self.assertTrue(self.covers(10, 0, 0, 1))
        self.write("10.0.0.0/8\n")
        self.assertEqual(self.looks(3), ["bad.txt: was read again (networks: 1)"])

    def test_large(self) -> None:
        """A large file is read in many steps with pauses, and until it is read the old networks hold."""
        self.start()
        self.looks(1)
        self.write("".join(f"11.{n >> 8}.{n & 255}.0/24\n" for n in range(20_000)))
        self.looks(1)
        self.clock.pump([LOOK_SECONDS / 100] * 20)
        self.assertEqual((self.covers(10, 0, 0, 1), self.covers(11, 0, 0, 1)), (True, False))
        self.assertEqual(self.looks(2), ["bad.txt: was read again (networks: 20000)"])
        self.assertEqual((self.covers(10, 0, 0, 1), self.covers(11, 0, 0, 1)), (False, True))

    def test_changed_while_read(self) -> None:
        """What changes while it is read is read again; half of the one and half of the other never holds."""
        self.start()
        self.looks(1)
        self.write("".join(f"11.{n >> 8}.{n & 255}.0/24\n" for n in range(20_000)))
        self.looks(1)
        self.clock.pump([LOOK_SECONDS / 100] * 20)
        self.write("12.0.0.0/8\n")
        self.assertEqual(self.looks(3), ["bad.txt: was read again (networks: 1)"])
        self.assertEqual((self.covers(11, 0, 0, 1), self.covers(12, 0, 0, 1)), (False, True))

    def test_stop(self) -> None:
        """A stop does not wait for a large file."""
        self.start()
        self.looks(1)
        self.write("".join(f"11.{n >> 8}.{n & 255}.0/24\n" for n in range(20_000)))
        self.looks(1)
        self.clock.pump([LOOK_SECONDS / 100] * 20)
        self.successResultOf(self.files.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_none(self) -> None:
        """Where no list is in a file nothing is looked at."""
        files = ListFiles(self.clock, lambda: 0.0, {})
        files.start()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(files.stop())
