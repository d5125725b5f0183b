"""How is a body given that is in a file, and not in memory?"""

from __future__ import annotations

import os
from typing import Any, Callable

from twisted.internet.defer import Deferred, succeed

from proxyd.errors import Malformed
from proxyd.frontends.http import filebody
from proxyd.frontends.http.bodies import PIECE, Whole
from proxyd.frontends.http.filebody import LARGE, Checked, FileBody, FromFile, body_of, read
from proxyd.wire.cachefile import pack
from tests.frontends.http.test_bodies import Client
from tests.support.case import Case
from tests.support.descriptors import open_files, open_files_before

BODY = bytes(range(256)) * (LARGE // 256) + b"and more"


class FileCase(Case):
    def setUp(self) -> None:
        self.path = self.mktemp()
        self.write(BODY)
        self.before = open_files_before()

    def write(self, body: bytes) -> None:
        with open(self.path, "wb") as file:
            file.write(pack({"url": "http://a/"}, body))

    def file(self) -> FileBody:
        _, body = read(self.path)
        assert isinstance(body, FileBody)
        return body


class Read(FileCase):
    def test_large_and_small(self) -> None:
        """What is large stays where it is, what is small is read."""
        values, body = read(self.path)
        assert isinstance(body, FileBody)
        self.assertEqual((values["url"], len(body), body.part(0, len(BODY))), ("http://a/", len(BODY), BODY))
        self.assertEqual(body.part(LARGE, 100), b"and more")
        self.write(BODY[: LARGE - 1])
        self.assertTrue(read(self.path)[1] == BODY[: LARGE - 1])

    def test_closed(self) -> None:
        """It is open for as long as somebody has it, whatever becomes of its name."""
        body, other = self.file(), self.file()
        self.assertEqual((open_files(), body.is_gone), (self.before + 2, False))
        os.unlink(self.path)
        self.assertEqual((body.is_gone, body.part(0, 3)), (True, BODY[:3]))
        del body
        self.assertEqual(open_files(), self.before + 1)
        del other
        self.assertEqual(open_files(), self.before)

    def test_torn(self) -> None:
        """What has another length than it says is not taken, and leaves nothing open."""
        for length in (os.path.getsize(self.path) - 1, LARGE, 50, 0):
            os.truncate(self.path, length)
            self.assertRaises(Malformed, read, self.path)
        self.assertEqual(open_files(), self.before)


class Pieces(FileCase):
    def test_parts(self) -> None:
        """Any part of it is read in pieces, as the client takes them; so it is from memory."""
        for first, count in ((0, len(BODY)), (1, 2), (PIECE, PIECE), (PIECE - 1, 2 * PIECE + 5), (LARGE, 8)):
            for body in (self.file(), BODY):
                client = Client(1)
                client.begin(body_of(body, first, count))
                while not client.end:
                    client.take(1)
                self.assertEqual((client.got, client.end), (BODY[first : first + count], "all"))
        self.assertIsInstance(body_of(BODY, 0, 1), Whole)
        self.assertIsInstance(body_of(self.file(), 0, 1), FromFile)

    def test_shorter(self) -> None:
        """One that has become shorter is broken where that is seen."""
        client = Client(1)
        client.begin(body_of(self.file(), 0, len(BODY)))
        os.truncate(self.path, PIECE + 1000)
        client.take()
        self.assertEqual((client.end, client.got), ("broken", BODY[:PIECE]))


class Whether(FileCase):
    """Whether it is whole."""

    def setUp(self) -> None:
        super().setUp()
        self.steps = 0
        self.checked = Checked(self.in_thread)

    def in_thread(self, work: Callable[[], Any]) -> Deferred[Any]:
        self.steps += 1
        return succeed(work())

    def is_whole(self) -> bool:
        told: list[Any] = []
        Deferred.fromCoroutine(self.checked.judge(self.file())).addBoth(told.append)
        if told[0] is not None:
            told[0].trap(Malformed)
        return told[0] is None

    def test_once(self) -> None:
        """It is read in steps, once; and again if it is another one."""
        self.patch(filebody, "STEP", 100_000)
        self.assertTrue(self.is_whole())
        self.assertEqual(self.steps, -(-len(BODY) // 100_000))
        self.assertTrue(self.is_whole())
        self.assertEqual(self.steps, -(-len(BODY) // 100_000))
        with open(self.path, "r+b") as file:
            file.seek(200_000)
            file.write(b"?")
        os.utime(self.path, ns=(0, 0))
        self.assertFalse(self.is_whole())
        self.assertFalse(self.is_whole())

    def test_becomes_shorter(self) -> None:
        """So it is one that becomes shorter meanwhile."""
        body = self.file()
        os.truncate(self.path, 100_000)
        told: list[Any] = []
        Deferred.fromCoroutine(self.checked.judge(body)).addErrback(told.append)
        self.assertTrue(told[0].check(Malformed))

    def test_bounded(self) -> None:
        """Only so many are remembered."""
        self.patch(filebody, "MOST_CHECKED", 2)
        for number in range(4):
            self.write(BODY + b"%d" % number)
            os.utime(self.path, ns=(number, number))
            self.assertTrue(self.is_whole())
        self.assertEqual(len(self.checked._known), 2)
