"""Are the connections of a pool found in logs, whatever else is in there?"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import sys
import tempfile

from proxyd.cli.replay import Replay, read_logs
from proxyd.ops.accesslog import json_line, text_line
from proxyd.policy.accesslog import LONGEST_LINE
from tests.ops.records import record, refused
from tests.support.case import Case


class ReadLogs(Case):
    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def file(self, data: bytes, name: str = "access.log") -> str:
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def seen(self, found: Replay) -> list[int]:
        return [one.bytes_in for one in found.connections]

    def test_formats(self) -> None:
        """Text and JSON may be mixed, packed or not, in several files."""
        later = text_line(record(started=record().started + 2, bytes_in=3)).encode()
        first = json_line(record(bytes_in=1)).encode()
        between = text_line(record(started=record().started + 1, bytes_in=2)).encode()
        paths = [self.file(later + first), self.file(gzip.compress(between), "old")]
        self.assertEqual(self.seen(read_logs(paths, "web")), [1, 2, 3])

    def test_standard_input(self) -> None:
        """A dash is the standard input, packed or not."""
        line = text_line(record()).encode()
        for data in (line, gzip.compress(line)):
            self.patch(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))
            self.assertEqual(self.seen(read_logs(["-"], "web")), [517])

    def test_others(self) -> None:
        """What is another pool's, or reached none, or is no line of such a log, is counted and left out."""
        lines = [
            text_line(record()),
            text_line(record(pool="api")),
            text_line(refused(pool="")),
            "something else\n",
            "\udc80\n",
            "x" * (3 * LONGEST_LINE) + "\n",
            text_line(record()).rstrip("\n"),
        ]
        found = read_logs([self.file("".join(lines).encode("utf-8", "surrogateescape"))], "web")
        self.assertEqual((self.seen(found), list(found.other_pools)), ([517, 517], ["api"]))
        self.assertEqual((found.of_others, found.unreadable), (2, 5))

    def test_cannot_be_read(self) -> None:
        """A file that is not there, or is packed and cut off, is an error."""
        self.assertRaises(OSError, read_logs, [os.path.join(self.folder, "no")], "web")
        cut = gzip.compress(text_line(record()).encode() * 100)[:-20]
        self.assertRaises(EOFError, read_logs, [self.file(cut)], "web")
        self.assertEqual(self.seen(read_logs([self.file(b"")], "web")), [])
