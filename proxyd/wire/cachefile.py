"""
What does the file of a stored answer say, and is it whole?

A line that says what it is, the length of a head and its digest, the head as JSON, and the body, whose length
and digest are in the head.  So whatever of a file was torn, by a power cut for example, is noticed when it is
read, and never served.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Mapping

from proxyd.errors import Malformed

MAGIC = b"proxyd cache 1\n"

LONGEST_HEAD = 256 * 1024  # bytes; heads of answers have 16 KiB by default

_DIGEST = 16
_BEGIN = len(MAGIC) + 4 + _DIGEST

Values = Mapping[str, Any]


def pack(values: Values, body: bytes) -> bytes:
    """The whole file; ``values`` are of those that JSON has."""
    return pack_head(values, len(body), digest_of(body)) + body


def pack_head(values: Values, length: int, digest: str, room: int = 0) -> bytes:
    """What is in front of a body so long that has this digest; it takes ``room`` bytes at least."""
    said = {**values, "length": length, "body": digest}
    head = json.dumps(said, separators=(",", ":")).encode("ascii").ljust(room - _BEGIN)
    return MAGIC + len(head).to_bytes(4, "big") + _digest(head) + head


def packed_length(values: Values, length: int) -> int:
    """How long the file with a body of so many bytes is."""
    return len(pack_head(values, length, "0" * (2 * _DIGEST))) + length


def head_length(data: bytes) -> int:
    """How many of the first bytes of a file are in front of its body.  Raises `Malformed`."""
    length = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "big")
    if data[: len(MAGIC)] != MAGIC or len(data) < _BEGIN or length > LONGEST_HEAD:
        raise Malformed("no file of a stored answer")
    return _BEGIN + length


def unpack_head(data: bytes) -> dict[str, Any]:
    """The values in front of the body of a file.  Raises `Malformed`."""
    end = head_length(data)
    head = data[_BEGIN:end]
    if len(data) < end or _digest(head) != data[_BEGIN - _DIGEST : _BEGIN]:
        raise Malformed("the head of a stored answer is torn")
    try:
        values = json.loads(head)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise Malformed("the head of a stored answer is none")
    return values


def unpack(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The values and the body of a whole file.  Raises `Malformed`."""
    values = unpack_head(data)
    body = data[head_length(data) :]
    if len(body) != values.get("length") or digest_of(body) != values.get("body"):
        raise Malformed("the body of a stored answer is torn")
    return values, body


def digest_of(body: bytes) -> str:
    """The digest of a body, as the values of its file have it (``body``)."""
    return _digest(body).hex()


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()


class Digest:
    """The same of a body that is gone through in parts."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=_DIGEST)

    def add(self, data: bytes) -> None:
        """The next part."""
        self._hash.update(data)

    def text(self) -> str:
        """The digest of all parts."""
        return self._hash.hexdigest()
