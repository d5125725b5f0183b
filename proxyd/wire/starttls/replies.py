"""
How does TLS begin where a server answers each command with three digits?

What SMTP and FTP have in common.  A client's command is passed on when the one before it was answered, so it
is known what each reply is to.
"""

from __future__ import annotations

import enum
from typing import Optional, Sequence, Union

from proxyd.errors import Malformed
from proxyd.wire.reply import Reply, reply
from proxyd.wire.starttls.step import (
    CLIENT,
    MOST_COMMANDS,
    NONE,
    REQUIRED,
    SERVER,
    Step,
    alone,
    answer_alone,
    client_wrong,
    line,
    server_wrong,
)

LONGEST_COMMAND = 2048  # RFC 5321, 4.5.3.1.4 has 512, to which extensions add

QUIT = b"QUIT"

_GREETING = b"greeting"  # no command is called so: they are in capitals
_NOTHING = b""

_LEAVING = 421  # says a server that closes, in answer to anything or to nothing


class Turn(enum.Enum):
    """What becomes of a command: it is passed on, answered with TLS, or looked at no more."""

    PASS = "pass"
    BEGIN = "begin"
    JOIN = "join"


class Commands:
    """
    A client's commands and a server's replies, until the client may go on with whatever it likes.

    A subclass decides of each command, and amends replies.
    """

    BEGIN = b""  # the answer to a wish for TLS

    def __init__(self, offer: str) -> None:
        self.offer = offer
        self.tls = False  # TLS with the client stands
        self._asked = _GREETING  # what the server has still to answer
        self._count = 0

    def told(self, verb: bytes, argument: bytes) -> Union[Turn, bytes]:
        """What becomes of a command, or what we answer to it; both words in capitals."""
        raise NotImplementedError

    def amended(self, verb: bytes, reply: bytes) -> bytes:
        """What the client hears as the reply to a command that has succeeded."""
        raise NotImplementedError

    @property
    def awaited(self) -> str:
        if self._asked:
            return SERVER
        return CLIENT if self.owes_tls else ""

    @property
    def owes_tls(self) -> bool:
        """Whether the client must begin TLS, and did not."""
        return self.offer == REQUIRED and not self.tls

    @property
    def offers(self) -> bool:
        """Whether the client may begin TLS now."""
        return self.offer != NONE and not self.tls

    def step(self, client: bytes, server: bytes) -> Optional[Step]:
        found = _heard(server)
        if found is None:
            return None if self._asked else self._hear(client)
        answer, length = found
        asked, said = self._asked, server[:length]
        if answer.code >= 200:  # what is below is followed by another
            self._asked = _NOTHING
        if asked not in (_NOTHING, _GREETING) and 200 <= answer.code < 300:
            said = self.amended(asked, said)
        return Step(from_server=length, to_client=said, over=asked == QUIT or answer.code == _LEAVING)

    def _hear(self, client: bytes) -> Optional[Step]:
        try:
            command = line(client, LONGEST_COMMAND)
        except Malformed as wrong:
            client_wrong(str(wrong))
        if command is None:
            return None
        if self.owes_tls:
            self._count += 1
            if self._count > MOST_COMMANDS:
                client_wrong(f"more than {MOST_COMMANDS} commands without TLS")
        words = command.rstrip(b"\r\n")
        verb, _, argument = words.partition(b" ")
        turn = self.told(verb.upper(), argument.strip().upper())
        if turn is Turn.JOIN:
            return Step(joined=True)
        if turn is Turn.PASS:
            self._asked = verb.upper()
            return Step(from_client=len(command), to_server=words + b"\r\n")
        if turn is Turn.BEGIN:
            alone(client, len(command))
            self.tls = True
            return Step(from_client=len(command), to_client=self.BEGIN, tls=CLIENT)
        assert isinstance(turn, bytes)
        return Step(from_client=len(command), to_client=turn)


class Script:
    """What we tell a server, and how each must be answered; the last answer is followed by TLS."""

    awaited = SERVER

    def __init__(self, script: Sequence[tuple[bytes, int]]) -> None:
        self._script = [(b"", 220), *script]
        self._place = 0
        self._greeting = b""

    def step(self, client: bytes, server: bytes) -> Optional[Step]:
        if self._place == len(self._script):
            return Step(joined=True, heard=self._greeting)
        found = _heard(server)
        if found is None:
            return None
        answer, length = found
        if answer.code < 200:
            return Step(from_server=length)
        command, expected = self._script[self._place]
        if answer.code != expected:
            asked = f"answers {command.decode()}" if command else "greets"
            server_wrong(f"{asked} with {answer.code} {answer.text[:60].decode('utf-8', 'backslashreplace')}")
        if not self._place:
            self._greeting = server[:length]
        self._place += 1
        if self._place == len(self._script):
            answer_alone(server, length)
            return Step(from_server=length, tls=SERVER)
        return Step(from_server=length, to_server=self._script[self._place][0] + b"\r\n")


def _heard(server: bytes) -> Optional[tuple[Reply, int]]:
    try:
        return reply(server)
    except Malformed as wrong:
        server_wrong(str(wrong))
