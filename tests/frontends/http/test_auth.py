"""Are those let in who know a password, and nobody else, whatever it takes to find out?"""

from __future__ import annotations

import os
from base64 import b64encode
from typing import Any, Callable

import bcrypt
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from proxyd.config.auth import BasicSpec
from proxyd.errors import Refused
from proxyd.frontends.http.auth import AT_ONCE, MOST_WAITING, Basic, Verdict
from tests.config.ini import IniCase
from tests.policy.requests import asked


def hashed(password: str) -> str:
    """As ``htpasswd -B`` has it, with the least cost."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


class BasicTests(IniCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.clock.advance(1000)
        self.work: list[tuple[Callable[[], bool], Deferred[bool]]] = []
        self.path = self.write(f"alice:{hashed('a')}\nbob:{hashed('b')}\n", "users")
        self.basic = Basic(BasicSpec(self.path, "Ours"), self.clock.seconds, self.in_thread)
        self.assertEqual(list(self.basic.load()), [])

    def in_thread(self, work: Callable[[], bool]) -> Deferred[bool]:
        done: Deferred[bool] = Deferred()
        self.work.append((work, done))
        return done

    def do_the_work(self) -> None:
        """Let the threads do what they have been given."""
        while self.work:
            work, done = self.work.pop(0)
            done.callback(work())

    def judge(self, user: str = "alice", password: str = "a") -> Any:
        token = b64encode(f"{user}:{password}".encode())
        return self.basic.judge(asked(b"/", b"", b"GET", b"Authorization: Basic " + token), "10.0.0.1")

    def verdict(self, user: str = "alice", password: str = "a") -> Verdict:
        """The verdict in the end."""
        judged = self.judge(user, password)
        if isinstance(judged, Deferred):
            self.do_the_work()
            judged = self.successResultOf(judged)
        assert isinstance(judged, Verdict)
        return judged

    def test_right_and_wrong(self) -> None:
        """Who knows the password of a user is let in as that one; all others are asked for one."""
        self.assertEqual(self.verdict(), Verdict("alice"))
        self.assertEqual(self.verdict("bob", "b"), Verdict("bob"))
        for user, password in [("alice", "b"), ("alice", ""), ("bob", "a"), ("eve", "a"), ("Alice", "a")]:
            denied = self.verdict(user, password)
            self.assertEqual(denied.status, 401)
            self.assertEqual(denied.words.fields, (b'WWW-Authenticate: Basic realm="Ours", charset="UTF-8"',))

    def test_none(self) -> None:
        """Who gives no password, or two, is asked for one at once."""
        two = (b"Authorization: Basic YWxpY2U6YQ==", b"Authorization: Basic YWxpY2U6YQ==")
        for lines in ((), (b"Authorization: Bearer x",), two):
            judged = self.basic.judge(asked(b"/", b"", b"GET", *lines), "")
            assert isinstance(judged, Verdict)
            self.assertEqual(judged.status, 401)
        self.assertEqual(self.work, [])

    def test_unknown_users_take_as_long(self) -> None:
        """A hash is computed for a user who is not there, too."""
        self.judge("eve", "x")
        self.assertEqual(len(self.work), 1)

    def test_remembered(self) -> None:
        """A password that was right is not compared again; one that was wrong is."""
        self.verdict()
        self.assertEqual(self.judge(), Verdict("alice"))
        self.verdict("bob", "x")
        self.assertIsInstance(self.judge("bob", "x"), Deferred)
        self.clock.advance(301)
        self.assertIsInstance(self.judge(), Deferred)

    def test_long_password(self) -> None:
        """Like htpasswd, no more than 72 bytes count."""
        self.write(f"alice:{hashed('x' * 72)}\n", "users")
        self.basic.load()
        self.assertEqual(self.verdict("alice", "x" * 100), Verdict("alice"))
        self.assertEqual(self.verdict("alice", "x" * 71).status, 401)

    def test_changed_file(self) -> None:
        """The file is read again when it has changed, and nobody is remembered then."""
        self.verdict()
        self.write(f"alice:{hashed('new')}\n", "users")
        self.assertEqual(self.judge(), Verdict("alice"))  # it was looked at a moment ago
        self.clock.advance(4)
        self.assertEqual(self.verdict().status, 401)
        self.assertEqual(self.verdict("alice", "new"), Verdict("alice"))
        self.assertEqual(self.verdict("bob", "b").status, 401)

    def test_changed_while_compared(self) -> None:
        """A password that was compared with a file that is no more is not remembered."""
        judged = self.judge()
        self.write(f"alice:{hashed('new')}\n", "users")
        self.basic.load()
        self.do_the_work()
        self.assertEqual(self.successResultOf(judged), Verdict("alice"))
        self.assertIsInstance(self.judge(), Deferred)

    def test_broken_file(self) -> None:
        """A file that cannot be used is told of once, and what was read before holds."""
        told: list[LogEvent] = []

        @implementer(ILogObserver)
        def tell(event: LogEvent) -> None:
            told.append(event)

        globalLogPublisher.addObserver(tell)
        self.addCleanup(globalLogPublisher.removeObserver, tell)
        for change in (lambda: self.write("alice:a\n", "users"), lambda: os.unlink(self.path)):
            change()
            for _ in range(2):
                self.clock.advance(4)
                self.assertEqual(self.verdict(), Verdict("alice"))
        lines = [self.local(event["line"]) for event in told if "line" in event]
        self.assertEqual(
            lines,
            [
                'users:1: the password of "alice" is not hashed by bcrypt; set it by htpasswd -B',
                "users: cannot be read: No such file or directory",
            ],
        )

    def test_two_at_a_time(self) -> None:
        """So many are compared at a time, so many more wait, and then who comes is refused."""
        judged = [self.judge("alice", str(n)) for n in range(MOST_WAITING)]
        self.assertEqual(len(self.work), AT_ONCE)
        refused = self.assertRaises(Refused, self.judge)
        self.assertEqual(refused.detail, f"{MOST_WAITING} passwords are to be compared already")
        self.do_the_work()
        self.assertEqual({self.successResultOf(each).status for each in judged}, {401})
        self.assertEqual(self.verdict(), Verdict("alice"))

    def test_who_leaves_makes_no_room(self) -> None:
        """A thread is not called back: who leaves counts until its password has been compared."""
        for n in range(MOST_WAITING):
            judged = self.judge("alice", str(n))
            judged.cancel()
            judged.addErrback(lambda _: None)
        self.assertEqual(len(self.work), AT_ONCE)
        self.assertRaises(Refused, self.judge)
        self.do_the_work()
        self.assertEqual(self.verdict(), Verdict("alice"))

    def test_fault(self) -> None:
        """What fails in a thread lets nobody in."""
        judged = self.judge()
        self.work.pop()[1].errback(ValueError("a fault"))
        self.failureResultOf(judged, ValueError)
