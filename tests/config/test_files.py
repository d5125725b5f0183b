"""Is a small file read, and is one that cannot be used told of?"""

from __future__ import annotations

import os

from proxyd.config.files import LARGEST_FILE, read_small
from proxyd.errors import Problem
from tests.config.ini import IniCase


class FileTests(IniCase):
    def read_it(self, path: str) -> tuple[bytes, list[str]]:
        problems: list[Problem] = []
        data = read_small(path, problems)
        return data, [self.local(str(problem)) for problem in problems]

    def test_read(self) -> None:
        """A file is read whole, up to the limit."""
        self.assertEqual(self.read_it(self.write(b"a\0b", "x")), (b"a\0b", []))
        self.assertEqual(len(self.read_it(self.write(b"a" * LARGEST_FILE, "x"))[0]), LARGEST_FILE)

    def test_refused(self) -> None:
        """One that is too long, is none, or is not there, is told of with its path."""
        pipe = os.path.join(self.folder, "pipe")
        os.mkfifo(pipe)
        for path, problem in [
            (self.write(b"a" * (LARGEST_FILE + 1), "x"), f"x: is longer than {LARGEST_FILE} bytes"),
            (os.path.join(self.folder, "gone"), "gone: cannot be read: No such file or directory"),
            (self.folder, f"{self.folder}: is a folder, not a file"),
            (pipe, "pipe: is not a regular file"),
            ("\0", "\0: cannot be read: embedded null byte"),
        ]:
            data, problems = self.read_it(path)
            self.assertEqual((data, problems), (b"", [problem]))
