"""
How does a client prove that it knows a password, and the server as well?  SCRAM-SHA-256 (RFC 5802, RFC 7677).

Without channel binding, which needs TLS.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import stringprep
import unicodedata

from proxyd.errors import Malformed

MECHANISM = "SCRAM-SHA-256"
MOST_ITERATIONS = 100_000  # some 50 ms of work; PostgreSQL asks for 4096, and more would hold up everything

_FIRST = re.compile(r"r=([\x21-\x2b\x2d-\x7e]{1,200}),s=([A-Za-z0-9+/=]{1,200}),i=([0-9]{1,9})(?:,.*)?")
_FINAL = re.compile(r"v=([A-Za-z0-9+/=]{1,200})(?:,.*)?")

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


class Scram:
    """
    The client's side of one exchange: `first`, `final`, and `verify` for what the server says at the end.

    The nonce is printable ASCII without a comma, and new for each exchange.  PostgreSQL takes the user from
    its startup message and wants the name here empty.
    """

    def __init__(self, password: str, nonce: str, user: str = "") -> None:
        self._password = saslprep(password).encode("utf-8")
        self._nonce = nonce
        self._bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
        self._proven = b""

    def first(self) -> bytes:
        """The client-first-message."""
        return f"n,,{self._bare}".encode()

    def final(self, server_first: bytes) -> bytes:
        """The client-final-message, with the proof.  Raises `Malformed`."""
        text = _ascii(server_first)
        found = _FIRST.fullmatch(text)
        if found is None or not found[1].startswith(self._nonce) or found[1] == self._nonce:
            raise Malformed("a SCRAM challenge that does not answer ours")
        iterations = int(found[3])
        if not 1 <= iterations <= MOST_ITERATIONS:
            raise Malformed(f"a SCRAM challenge of {iterations} iterations; {MOST_ITERATIONS} are the most")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, _decoded(found[2]), iterations)
        bare = f"c=biws,r={found[1]}"  # biws is "n,,"
        said = f"{self._bare},{text},{bare}".encode()
        key = _hmac(salted, b"Client Key")
        signature = _hmac(hashlib.sha256(key).digest(), said)
        proof = bytes(one ^ other for one, other in zip(key, signature))
        self._proven = _hmac(_hmac(salted, b"Server Key"), said)
        return f"{bare},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, server_final: bytes) -> None:
        """Raise `Malformed` unless the server knows the password, too."""
        found = _FINAL.fullmatch(_ascii(server_final))
        if found is None or not hmac.compare_digest(_decoded(found[1]), self._proven):
            raise Malformed("a SCRAM proof that is wrong: it does not know the password")


def saslprep(text: str) -> str:
    """A password as it is compared (RFC 4013); what may be none stays as it is, as in PostgreSQL."""
    if text.isascii():
        return text
    mapped = (" " if stringprep.in_table_c12(char) else char for char in text)
    prepared = unicodedata.normalize("NFKC", "".join(c for c in mapped if not stringprep.in_table_b1(c)))
    if not prepared or any(table(char) for char in prepared for table in _PROHIBITED):
        return text
    if any(map(stringprep.in_table_d1, prepared)):  # right to left
        ends = stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1])
        if not ends or any(map(stringprep.in_table_d2, prepared)):
            return text
    return prepared


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def _ascii(data: bytes) -> str:
    return data.decode("ascii", "replace")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Malformed("a SCRAM message with broken base64") from None
