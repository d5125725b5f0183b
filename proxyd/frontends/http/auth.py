"""
May this request be asked, and who asks it?

`Basic` compares passwords, in threads, two at a time, for bcrypt takes as long as a thousand requests do.
(`proxyd.frontends.http.forwardauth` asks a service.)  What cannot be known is no.
"""

from __future__ import annotations

import os
import secrets
from typing import Callable, Mapping, Union

import bcrypt
from attrs import frozen
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.logger import Logger
from twisted.python.failure import Failure

from proxyd.config.auth import BasicSpec, read_users
from proxyd.errors import Problem, Reason, Refused
from proxyd.frontends.http.pages import Words
from proxyd.policy.asked import Asked
from proxyd.policy.auth import LONGEST_PASSWORD, Remembered, credentials
from proxyd.wire.httpfields import Field

AT_ONCE = 2  # passwords that are compared

MOST_WAITING = 100  # that are to be compared

LOOK_SECONDS = 3.0  # between looks at a file

log = Logger()


InThread = Callable[[Callable[[], bool]], Deferred[bool]]


@frozen
class Verdict:
    """Whether a request goes on: as whose, and with which fields; or what the client is answered."""

    user: str = ""
    fields: tuple[Field, ...] = ()
    status: int = 0  # of the answer, 0 to go on
    words: Words = Words()


class Basic:
    """The users of one file."""

    patience = 20.0  # seconds until nobody is compared any more: a hundred at a time with a cost of 12

    def __init__(self, spec: BasicSpec, seconds: Callable[[], float], in_thread: InThread) -> None:
        self._spec = spec
        self._seconds = seconds
        self._in_thread = in_thread
        self._users: Mapping[bytes, bytes] = {}
        self._remembered = Remembered(secrets.token_bytes(32))
        self._turns = DeferredSemaphore(AT_ONCE)
        self._waiting = 0
        self._looked = 0.0
        self._state: object = None
        challenge = f'WWW-Authenticate: Basic realm="{spec.realm}", charset="UTF-8"'
        self._denied = Verdict(status=401, words=Words(fields=(challenge.encode("ascii"),)))

    def load(self) -> list[str]:
        """Read the file; a line for each thing that is wrong with it, and then all stays as it is."""
        problems: list[Problem] = []
        self._state = _state(self._spec.path)
        users = read_users(self._spec.path, problems)
        if not problems:
            self._users = users
            self._remembered.clear()
        return [str(problem) for problem in problems]

    def judge(self, asked: Asked, client: str) -> Union[Verdict, Deferred[Verdict]]:
        """The verdict, at once if it can be.  Raises `Refused` if too many are to be compared already."""
        now = self._seconds()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._look()
        values = list(asked.values("authorization"))
        given = credentials(values[0]) if len(values) == 1 else None
        if given is None:
            return self._denied
        user, password = given
        if user in self._users and self._remembered.has(user, password, now):
            return Verdict(user.decode("utf-8", "surrogateescape"))
        if self._waiting >= MOST_WAITING:
            raise Refused(Reason.AUTH_FAILED, f"{MOST_WAITING} passwords are to be compared already")
        self._waiting += 1
        # Nothing calls a thread back, so one who leaves is not to make room for another.
        verdict: Deferred[Verdict] = Deferred(lambda _: None)

        def compared(result: Union[Verdict, Failure]) -> None:
            self._waiting -= 1
            if not verdict.called:
                verdict.callback(result)

        Deferred.fromCoroutine(self._compare(user, password)).addBoth(compared)
        return verdict

    async def _compare(self, user: bytes, password: bytes) -> Verdict:
        users = self._users
        # Who is not there takes as long as who is, so nobody learns by that who is.
        hashed = users.get(user) or next(iter(users.values()))
        given = password[:LONGEST_PASSWORD]
        right = await self._turns.run(self._in_thread, lambda: bcrypt.checkpw(given, hashed))
        if not right or user not in users:
            return self._denied
        if users is self._users:
            self._remembered.add(user, password, self._seconds())
        return Verdict(user.decode("utf-8", "surrogateescape"))

    def _look(self) -> None:
        """Read the file again if it has changed."""
        if _state(self._spec.path) != self._state:
            for line in self.load():
                log.error("{line}; what was read before holds", line=line)


def _state(path: str) -> object:
    """What tells whether a file has changed."""
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino
