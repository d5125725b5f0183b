"""
Whose password is this, and is it the right one?

Hashes are by bcrypt, which is slow, so that passwords are hard to guess.  That it is slow is why those that
were right are remembered, by a keyed hash and not as they are.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections import OrderedDict
from hashlib import blake2b
from typing import Optional

from proxyd.config.auth import USER

REMEMBERED_SECONDS = 300.0
MOST_REMEMBERED = 10_000
LONGEST_PASSWORD = 72  # bytes; bcrypt looks at no more, nor does htpasswd


def credentials(value: str) -> Optional[tuple[bytes, bytes]]:
    """The name and the password in a field Authorization (RFC 7617, 2); None if there are none."""
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = b64decode(token.strip(" "), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    if not colon or not USER(user) or b"\0" in password:
        return None
    return user, password


class Remembered:
    """The passwords that were right of late; ``secret`` is what nobody else knows, for as long as we run."""

    def __init__(self, secret: bytes, most: int = MOST_REMEMBERED) -> None:
        self._secret = secret
        self._most = most
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, user: bytes, password: bytes, now: float) -> None:
        """This was right."""
        self._until[self._key(user, password)] = now + REMEMBERED_SECONDS
        while len(self._until) > self._most:
            self._until.popitem(last=False)

    def has(self, user: bytes, password: bytes, now: float) -> bool:
        """Whether this was right of late."""
        key = self._key(user, password)
        until = self._until.get(key)
        if until is None:
            return False
        if now >= until:
            del self._until[key]
            return False
        return True

    def clear(self) -> None:
        """Forget them all."""
        self._until.clear()

    def _key(self, user: bytes, password: bytes) -> bytes:
        return blake2b(user + b":" + password, key=self._secret, digest_size=32).digest()
