"""Does a file of a cache say all of its answer, and is one that is torn or not ours known as such?"""

from __future__ import annotations

import os
import tracemalloc

from proxyd.errors import Malformed
from proxyd.frontends.http.diskfiles import (
    BLOCK,
    files,
    folders,
    heads,
    key_of,
    length_of,
    make_empty,
    read_file,
    size_of,
    unlink,
    write_file,
)
from proxyd.policy.cachestore import Stored
from proxyd.policy.freshness import Terms
from proxyd.wire.httpfields import parse_field
from tests.support.case import Case

NAME = "00ab" * 4


def made(*lines: bytes) -> Stored:
    fields = [parse_field(line) for line in lines]
    return Stored(b"http://a/", b"w", (b"x",), (b"=1",), 200, b"OK", fields, b"hello", Terms(9.0, 1.0))


class DiskFiles(Case):
    def setUp(self) -> None:
        self.folder = self.mktemp()
        make_empty(os.path.join(self.folder, "new"))

    def write(self, stored: Stored, name: str = NAME) -> str:
        path = os.path.join(self.folder, name[:2], name)
        write_file(os.path.join(self.folder, "new", name), path, stored, 7.0, 0.0)
        return path

    def test_all_of_it(self) -> None:
        """What is read is what was written, the head alone as well as the whole."""
        stored = made(b"X: \xff", b"Cache-Tag: t")
        path = self.write(stored)
        found = read_file(path, 7.0, 0.0)
        for name in ("status", "reason", "body", "terms", "tags"):
            self.assertEqual(getattr(found, name), getattr(stored, name), name)
        self.assertEqual([field[2] for field in found.fields], [field[2] for field in stored.fields])
        self.assertEqual(os.path.getsize(path), length_of(stored, 7.0, 0.0))
        (head,) = heads([path])
        self.assertEqual((head.number, head.url, head.key), (int(NAME, 16), b"http://a/", key_of(stored)))
        self.assertEqual(
            (head.tags, head.written, head.size), (stored.tags, 7.0, size_of(os.path.getsize(path)))
        )
        self.assertEqual((folders(self.folder), files(os.path.dirname(path))), (["00"], [path]))

    def test_long_head(self) -> None:
        """A head that is longer than what is read at first is read all the same."""
        (head,) = heads([self.write(made(*[b"X: " + b"x" * 1000] * 20))])
        self.assertEqual(head.url, b"http://a/")

    def test_torn(self) -> None:
        """A file without its end is no answer; one without its head, or with another name, is thrown away."""
        path = self.write(made())
        os.truncate(path, os.path.getsize(path) - 1)
        self.assertRaises(Malformed, read_file, path, 7.0, 0.0)
        self.assertEqual(len(heads([path])), 1)
        os.truncate(path, 50)
        self.assertEqual((heads([path]), os.path.exists(path)), ([], False))
        for name in (NAME + "0", NAME.upper(), "0x" + NAME[2:], "x" * 16):
            path = self.write(made(), name)
            self.assertEqual((heads([path]), os.path.exists(path)), ([], False), name)
        self.assertEqual(heads([path]), [])

    def test_torn_and_long(self) -> None:
        """One that is longer than it says is not read into memory for that."""
        path = self.write(made())
        os.truncate(path, 1 << 26)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.assertRaises(Malformed, read_file, path, 7.0, 0.0)
        self.assertLess(tracemalloc.get_traced_memory()[1], 1 << 24)

    def test_nothing_is_left(self) -> None:
        """What cannot be put in its place is not left beside it; and what is not there cannot be missed."""
        path = os.path.join(self.folder, "00")
        with open(path, "wb"):
            pass
        self.assertRaises(OSError, self.write, made())
        self.assertEqual(files(os.path.join(self.folder, "new")), [])
        unlink(path, path)
        self.assertEqual(os.listdir(self.folder), ["new"])

    def test_sizes(self) -> None:
        """A file counts for whole blocks, and one more."""
        self.assertEqual(
            [size_of(n) for n in (0, 1, BLOCK, BLOCK + 1)], [BLOCK, 2 * BLOCK, 2 * BLOCK, 3 * BLOCK]
        )
