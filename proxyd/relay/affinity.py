"""
What does a server's first answer teach about the client?

Of a pool with ``affinity = tls_session`` the server says by which id its client may come back.  Its first
bytes are looked at as they pass, a few kilobytes at most; then the pair pumps.  Only sessions of listeners
that lead to such a pool have this side.
"""

from __future__ import annotations

from typing import Callable, Optional

from proxyd.errors import Malformed
from proxyd.relay.firstbyte import TimedClient
from proxyd.relay.pair import Pair
from proxyd.wire.serverhello import MAX_LENGTH, parse


class Lesson:
    """The id of one TLS session; ``tell`` gets it once, b"" if the server has given none."""

    __slots__ = ("_data", "_tell")

    def __init__(self, tell: Callable[[bytes], None]) -> None:
        self._data = b""
        self._tell: Optional[Callable[[bytes], None]] = tell

    def heard(self, data: bytes) -> bool:
        """The server has said this; whether that is all that was needed."""
        self._data = (self._data + data)[:MAX_LENGTH]
        found = b""
        try:
            hello = parse(self._data)
        except Malformed:
            pass  # the client is to judge that
        else:
            if hello is None and len(self._data) < MAX_LENGTH:
                return False
            found = hello.session_id if hello is not None else b""
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(found)
        return True

    def ended(self) -> None:
        """The connection has ended, and nobody is told any more."""
        self._tell = None


class LearningClient(TimedClient):
    """The side that faces the server, which may be listened to until it has told its session's id."""

    __slots__ = ("lesson",)

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self.lesson: Optional[Lesson] = None

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        lesson, self.lesson = self.lesson, None
        if lesson is not None and not lesson.heard(data):
            self.lesson = lesson
