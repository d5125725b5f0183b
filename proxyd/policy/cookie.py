"""
What is in a cookie that says which server its client had, and that nobody else can read or make?

A server is in it as a mark of eight bytes, and each cookie has another nonce, so that two clients of one
server have nothing in common; all of that is sealed with a secret: its HMAC is the tag, and what follows from
the tag hides the rest (as with SIV, RFC 5297, made of HMAC-SHA256).  So a client can neither choose its
server nor learn which it has, nor whether it has the same as somebody else.  Whoever else has the secret, and
a pool of the same name, reads the same: the next process, or another proxy beside this one.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

NONCE = 8  # bytes

_MARK = 8
_TAG = 16
_VALUE = re.compile(rb"[A-Za-z0-9_-]{43}").fullmatch  # of the 32 bytes that these make


class Sealed:
    """What cookies of one pool are made and read with."""

    def __init__(self, secret: bytes, pool: str) -> None:
        # Begun once and copied, which takes half as long as to begin anew.
        self._marks, self._tags, self._pads = (
            hmac.new(hmac.digest(secret, f"{use} {pool}".encode(), "sha256"), digestmod="sha256")
            for use in ("mark", "tag", "pad")
        )

    def mark(self, server: str) -> str:
        """What a server is called in cookies."""
        return _digest(self._marks, server.encode())[:_MARK].hex()

    def seal(self, server: str, nonce: bytes) -> bytes:
        """The value of a cookie for this server, with `NONCE` bytes that nobody has seen before."""
        plain = nonce + bytes.fromhex(self.mark(server))
        tag = _digest(self._tags, plain)[:_TAG]
        return urlsafe_b64encode(tag + self._hidden(tag, plain)).rstrip(b"=")

    def open(self, value: bytes) -> str:
        """The mark of the server that a cookie was made for; "" if we did not make it."""
        if _VALUE(value) is None:
            return ""
        data = urlsafe_b64decode(value + b"=")
        tag, plain = data[:_TAG], self._hidden(data[:_TAG], data[_TAG:])
        if not hmac.compare_digest(tag, _digest(self._tags, plain)[:_TAG]):
            return ""
        return plain[NONCE:].hex()

    def _hidden(self, tag: bytes, data: bytes) -> bytes:
        """The data under what follows from the tag; done twice it is the data again."""
        pad = _digest(self._pads, tag)[: NONCE + _MARK]
        return (int.from_bytes(pad, "big") ^ int.from_bytes(data, "big")).to_bytes(NONCE + _MARK, "big")


def _digest(begun: hmac.HMAC, data: bytes) -> bytes:
    digest = begun.copy()
    digest.update(data)
    return digest.digest()
