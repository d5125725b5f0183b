"""
What does PostgreSQL say to a client?  Version 3.0 of its frontend/backend protocol.

The few messages that it takes to log in and to ask one thing.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Optional

from attrs import frozen

from proxyd.errors import Malformed

LONGEST = 32 * 1024  # bytes of a message

TERMINATE = b"X\x00\x00\x00\x04"

# What the body of an Authentication message begins with.
OK, CLEARTEXT, MD5, SASL, SASL_CONTINUE, SASL_FINAL = 0, 3, 5, 10, 11, 12

_KINDS = b"RSKNETDCZIAcGHWV123sntvd"
_HEAD = 5


@frozen
class Message:
    """One message of the server: its type, a single letter, and what follows its length."""

    kind: bytes
    body: bytes


def message(data: bytes) -> Optional[tuple[Message, int]]:
    """The first message in these bytes and its length, or None for more.  Raises `Malformed`."""
    if data[:1] and data[:1] not in _KINDS:
        raise Malformed(f"{data[:1]!r}, which begins no message of PostgreSQL")
    if len(data) < _HEAD:
        return None
    length = 1 + int.from_bytes(data[1:_HEAD], "big")
    if not _HEAD <= length <= LONGEST:
        raise Malformed(f"{data[:_HEAD]!r}, which begins no message that we could take")
    return (Message(data[:1], data[_HEAD:length]), length) if len(data) >= length else None


def startup(user: str, database: str) -> bytes:
    """The first message of a client."""
    names = {"user": user, "database": database, "application_name": "proxyd", "client_encoding": "UTF8"}
    body = b"".join(_text(word) for pair in names.items() for word in pair)
    return struct.pack("!II", len(body) + 9, 3 << 16) + body + b"\x00"


def query(sql: str) -> bytes:
    """A simple query."""
    return _message(b"Q", _text(sql))


def password(text: str) -> bytes:
    """The answer to a request for a password, in clear or hashed."""
    return _message(b"p", _text(text))


def md5(user: str, text: str, salt: bytes) -> str:
    """What answers the request for an MD5 password."""
    inner = hashlib.md5(text.encode("utf-8") + user.encode("utf-8")).hexdigest()
    return "md5" + hashlib.md5(inner.encode("ascii") + salt).hexdigest()


def sasl_first(mechanism: str, data: bytes) -> bytes:
    """The answer that chooses a mechanism of SASL."""
    return _message(b"p", _text(mechanism) + struct.pack("!I", len(data)) + data)


def sasl(data: bytes) -> bytes:
    """A further answer in an exchange of SASL."""
    return _message(b"p", data)


def authentication(body: bytes) -> tuple[int, bytes]:
    """What an Authentication message asks for, and its data.  Raises `Malformed`."""
    if len(body) < 4:
        raise Malformed(f"an Authentication message of {len(body)} bytes")
    return int.from_bytes(body[:4], "big"), body[4:]


def mechanisms(data: bytes) -> list[str]:
    """The names in a request for SASL."""
    return [name.decode("utf-8", "backslashreplace") for name in data.split(b"\x00") if name]


def complaint(body: bytes) -> bytes:
    """An ErrorResponse in one line: severity, SQLSTATE, message."""
    fields = {field[:1]: field[1:] for field in body.split(b"\x00") if field}
    return b" ".join(fields[kind] for kind in (b"S", b"C", b"M") if kind in fields)


def row(body: bytes) -> tuple[Optional[bytes], ...]:
    """The values of a DataRow; NULL is None.  Raises `Malformed`."""
    values: list[Optional[bytes]] = []
    place = 2
    for _ in range(int.from_bytes(body[:2], "big")):
        start = place + 4
        if len(body) < start:
            raise Malformed("a row that is shorter than it says")
        length = int.from_bytes(body[place:start], "big", signed=True)
        place = start + max(length, 0)
        if place > len(body):
            raise Malformed("a row that is shorter than it says")
        values.append(None if length < 0 else body[start:place])
    return tuple(values)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def _text(text: str) -> bytes:
    return text.encode("utf-8") + b"\x00"
