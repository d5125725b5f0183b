"""
How does a client of IMAP come to TLS, and how do we with its server?

STARTTLS of IMAP (RFC 9051, 6.2.1).  What a server can do is told in its greeting, in answers to CAPABILITY
and in the codes of other answers; whoever has begun TLS asks for it anew.  Literals, whose length is told at
the end of a line, are never read as lines.
"""

from __future__ import annotations

import re
from typing import Optional

from proxyd.errors import Malformed
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

LONGEST_LINE = 8192  # RFC 7162, 4
LONGEST = 16 * 1024  # bytes of a command or an answer, with its literals

_STARTTLS, _LOGOUT = b"STARTTLS", b"LOGOUT"
_HARMLESS = (b"CAPABILITY", b"ID", b"NOOP", _LOGOUT)

_COMMAND = re.compile(rb"([A-Za-z0-9!#$&',\-./:;<=>?@^_`|~]{1,64}) ([A-Za-z-]+)(?: [^\r\n]*)?\r?\n")
_LITERAL = re.compile(rb"\{([0-9]{1,9})(\+?)\}\r?\n\Z")
_CAPABILITIES = re.compile(
    rb"(\* CAPABILITY |[^ ]+ (?:OK|NO|BAD|PREAUTH) \[CAPABILITY )([^\]\r\n]*)", re.IGNORECASE
)
_CODE = re.compile(rb"\[CAPABILITY [^\]\r\n]*\] ?", re.IGNORECASE)
_TAG = b"proxyd"  # of our own command


class ImapOffer:
    """A client of IMAP, until the first command for which it matters whether there is TLS."""

    def __init__(self, offer: str) -> None:
        self._offer = offer
        self._tls = False
        self._greeted = False
        self._asked = b""  # the tag of the command that the server has still to answer
        self._leaving = False
        self._count = 0

    @property
    def awaited(self) -> str:
        if not self._greeted or self._asked:
            return SERVER
        return CLIENT if self._owes_tls else ""

    @property
    def _owes_tls(self) -> bool:
        return self._offer == REQUIRED and not self._tls

    def step(self, client: bytes, server: bytes) -> Optional[Step]:
        length = _response(server)
        if length is not None:
            return self._answer(server[:length])
        return self._hear(client) if self._greeted and not self._asked else None

    def _answer(self, said: bytes) -> Step:
        words = said.split(None, 2)
        tag, status = (*words, b"", b"")[:2]
        status = status.upper()
        over = False
        if not self._greeted:
            self._greeted = True
            if status == b"PREAUTH" and self._owes_tls:
                server_wrong("greets with PREAUTH, after which TLS cannot begin")
            over = status == b"BYE"
        elif tag == b"*":
            over = status == b"BYE" and not self._leaving
        elif tag == self._asked:
            self._asked = b""
            over = self._leaving
        amended = _CAPABILITIES.sub(lambda found: found[1] + self._amended(found[2]), said, 1)
        return Step(from_server=len(said), to_client=amended, over=over)

    def _amended(self, capabilities: bytes) -> bytes:
        names = [name for name in capabilities.split() if name.upper() != _STARTTLS]
        if self._owes_tls:
            names = [name for name in names if not name.upper().startswith((b"AUTH=", b"LOGINDISABLED"))]
            names.append(b"LOGINDISABLED")
        if self._offer != NONE and not self._tls:
            names.append(_STARTTLS)
        return b" ".join(names)

    def _hear(self, client: bytes) -> Optional[Step]:
        length = _command(client)
        if length is None:
            return None
        found = _COMMAND.match(client)
        if found is None:
            client_wrong("a line that is no command of IMAP")
        tag, verb = found[1], found[2].upper()
        if self._owes_tls:
            self._count += 1
            if self._count > MOST_COMMANDS:
                client_wrong(f"more than {MOST_COMMANDS} commands without TLS")
        if verb == _STARTTLS:
            return self._begin(tag, client, length)
        first = found[0]
        if verb in _HARMLESS and _LITERAL.search(first) is None:
            self._asked, self._leaving = tag, verb == _LOGOUT
            return Step(from_client=length, to_server=first.rstrip(b"\r\n") + b"\r\n")
        if self._owes_tls:
            return Step(from_client=length, to_client=tag + b" NO [PRIVACYREQUIRED] use STARTTLS first\r\n")
        return Step(joined=True)

    def _begin(self, tag: bytes, client: bytes, length: int) -> Step:
        if self._offer == NONE or self._tls:
            return Step(from_client=length, to_client=tag + b" BAD TLS cannot begin now\r\n")
        alone(client, length)
        self._tls = True
        return Step(from_client=length, to_client=tag + b" OK begin TLS now\r\n", tls=CLIENT)


class ImapRequest:
    """We, who ask an IMAP server for TLS."""

    awaited = SERVER

    def __init__(self) -> None:
        self._greeting = b""
        self._tls = False
        self._count = 0

    def step(self, client: bytes, server: bytes) -> Optional[Step]:
        if self._tls:
            # What it could do in plaintext is forgotten; the client asks what it can do now.
            return Step(joined=True, heard=_CODE.sub(b"", self._greeting, 1))
        length = _response(server)
        if length is None:
            return None
        said = server[:length]
        tag, status = (*said.split(None, 2), b"", b"")[:2]
        self._count += 1
        if not self._greeting:
            if (tag, status.upper()) != (b"*", b"OK"):
                server_wrong(f"greets with {_shown(said)}")
            self._greeting = said
            return Step(from_server=length, to_server=_TAG + b" STARTTLS\r\n")
        if tag != _TAG:
            if self._count > MOST_COMMANDS:
                server_wrong("does not answer STARTTLS")
            return Step(from_server=length)
        if status.upper() != b"OK":
            server_wrong(f"answers STARTTLS with {_shown(said)}")
        answer_alone(server, length)
        self._tls = True
        return Step(from_server=length, tls=SERVER)


def _response(data: bytes) -> Optional[int]:
    """The length of a server's first answer, with its literals, or None for more."""
    try:
        return _length(data, literals=True)
    except Malformed as wrong:
        server_wrong(str(wrong))


def _command(data: bytes) -> Optional[int]:
    """
    The length of a client's first command, or None for more.

    Literals that are sent without being asked for (RFC 7888) are part of it; for the others it waits.
    """
    try:
        return _length(data, literals=False)
    except Malformed as wrong:
        client_wrong(str(wrong))


def _length(data: bytes, literals: bool) -> Optional[int]:
    place = 0
    while True:
        if place > LONGEST:
            raise Malformed(f"more than {LONGEST} bytes in one command or answer")
        found = line(data[place:], LONGEST_LINE)
        if found is None:
            return None
        place += len(found)
        literal = _LITERAL.search(found)
        if literal is None or not (literals or literal[2]):
            return place
        place += int(literal[1])


def _shown(said: bytes) -> str:
    return said[:60].strip().decode("utf-8", "backslashreplace")
