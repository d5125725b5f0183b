"""
What does MySQL, or MariaDB, say to a client?  Version 10 of its client/server protocol.

The few packets that it takes to log in, to ask one thing, and to leave.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Optional

from attrs import frozen

from proxyd.errors import Malformed

LONGEST = 32 * 1024  # bytes of a packet

NATIVE, SHA2 = "mysql_native_password", "caching_sha2_password"

# The first byte of a packet of the server.
OK, MORE_DATA, LOCAL_INFILE, SWITCH, ERROR = 0x00, 0x01, 0xFB, 0xFE, 0xFF

# What follows MORE_DATA in caching_sha2_password, and what asks for the server's RSA key.
FAST_OK, FULL_LOGIN = b"\x03", b"\x04"
REQUEST_KEY = b"\x02"

SSL_REQUEST_LENGTH = 32  # what comes first of a login that wants TLS: capabilities, longest packet, charset

SSL, PROTOCOL_41 = 0x800, 0x200  # capabilities

_SECURE, _PLUGINS, _TRANSACTIONS, _LONG_PASSWORD, _WITH_DB = 0x8000, 0x80000, 0x2000, 0x1, 0x8
_UTF8 = 33  # utf8_general_ci, which every version knows
_NONCE = 20  # bytes


@frozen
class Packet:
    """One packet: its number in the exchange, and what it carries."""

    number: int
    body: bytes

    @property
    def kind(self) -> int:
        """The first byte, or -1 of an empty packet."""
        return self.body[0] if self.body else -1

    @property
    def ends_rows(self) -> bool:
        """Whether it is an EOF packet."""
        return self.kind == SWITCH and len(self.body) < 9


@frozen
class Greeting:
    """What the server says first: its version, the nonce for the login, and how it would have it done."""

    version: bytes
    nonce: bytes
    plugin: str


def packet(data: bytes) -> Optional[tuple[Packet, int]]:
    """The first packet in these bytes and its length, or None for more.  Raises `Malformed`."""
    if len(data) < 4:
        return None
    length = 4 + int.from_bytes(data[:3], "little")
    if length > LONGEST:
        raise Malformed(f"{data[:4]!r}, which begins no packet of MySQL that we could take")
    return (Packet(data[3], data[4:length]), length) if len(data) >= length else None


def greeting(body: bytes) -> Greeting:
    """The handshake of version 10.  Raises `Malformed`."""
    version, end, rest = body[1:].partition(b"\x00")
    if body[:1] != b"\x0a" or not end or len(rest) < 31:
        raise Malformed("a packet that is no handshake of MySQL, version 10")
    # thread id 4, nonce 8, 0, capabilities 2, charset 1, status 2, capabilities 2, nonce length 1, 10 zeros
    flags = int.from_bytes(rest[13:15], "little") | int.from_bytes(rest[18:20], "little") << 16
    second = max(13, rest[20] - 8)
    nonce = (rest[4:12] + rest[31 : 31 + second])[:_NONCE]
    if not flags & PROTOCOL_41 or not flags & _SECURE or len(nonce) < _NONCE:
        raise Malformed("a handshake of MySQL before 4.1")
    plugin = rest[31 + second :].partition(b"\x00")[0] if flags & _PLUGINS else NATIVE.encode()
    return Greeting(version, nonce, plugin.decode("utf-8", "backslashreplace"))


def login(user: str, proof: bytes, plugin: str, database: str = "") -> bytes:
    """The body of the answer to a greeting (HandshakeResponse41)."""
    flags = PROTOCOL_41 | _SECURE | _PLUGINS | _TRANSACTIONS | _LONG_PASSWORD
    flags |= _WITH_DB if database else 0
    body = struct.pack("<IIB23x", flags, LONGEST, _UTF8) + _text(user) + bytes([len(proof)]) + proof
    return body + (_text(database) if database else b"") + _text(plugin)


def wants_tls(body: bytes, wanted: bool = True) -> bytes:
    """The same login, or beginning of one, that says that there is TLS, or that there is none."""
    flags = int.from_bytes(body[:4], "little")
    flags = flags | SSL if wanted else flags & ~SSL
    return flags.to_bytes(4, "little") + body[4:]


def proof(plugin: str, password: str, nonce: bytes) -> Optional[bytes]:
    """What proves that we know the password, or None if we do not speak this plugin."""
    secret = password.encode("utf-8")
    if plugin not in (NATIVE, SHA2):
        return None
    if not secret:
        return b""
    if plugin == NATIVE:
        hashed = hashlib.sha1(secret).digest()
        return xor(hashed, hashlib.sha1(nonce + hashlib.sha1(hashed).digest()).digest())
    hashed = hashlib.sha256(secret).digest()
    return xor(hashed, hashlib.sha256(hashlib.sha256(hashed).digest() + nonce).digest())


def xor(data: bytes, key: bytes) -> bytes:
    """The data, each byte changed by that of the key, which is repeated."""
    return bytes(byte ^ key[place % len(key)] for place, byte in enumerate(data))


def switch(body: bytes) -> tuple[str, bytes]:
    """The plugin and the nonce of an AuthSwitchRequest; before 4.1 it had none.  Raises `Malformed`."""
    plugin, _, nonce = body[1:].partition(b"\x00")
    name = plugin.decode("utf-8", "backslashreplace") or "mysql_old_password"
    if name in (NATIVE, SHA2) and len(nonce) < _NONCE:
        raise Malformed(f"a nonce of {len(nonce)} bytes")
    return name, nonce[:_NONCE]


def query(sql: str) -> bytes:
    """The body of COM_QUERY."""
    return b"\x03" + sql.encode("utf-8")


def framed(body: bytes, number: int = 0) -> bytes:
    """A packet as it is sent; each command begins with number 0."""
    return len(body).to_bytes(3, "little") + bytes([number % 256]) + body


QUIT = framed(b"\x01")


def complaint(body: bytes) -> bytes:
    """An ERR packet in one line: its number, the SQLSTATE if there is one, the message."""
    number = b"%d" % int.from_bytes(body[1:3], "little")
    if body[3:4] == b"#":
        return b" ".join((number, body[4:9], body[9:]))
    return b" ".join((number, body[3:]))


def columns(body: bytes) -> int:
    """How many columns the rows have that follow.  Raises `Malformed`."""
    return _integer(body, 0)[0]


def row(body: bytes) -> tuple[Optional[bytes], ...]:
    """The values of a row in text; NULL is None.  Raises `Malformed`."""
    values: list[Optional[bytes]] = []
    place = 0
    while place < len(body):
        if body[place] == LOCAL_INFILE:
            values.append(None)
            place += 1
            continue
        length, start = _integer(body, place)
        place = start + length
        if place > len(body):
            raise Malformed("a row that is shorter than it says")
        values.append(body[start:place])
    return tuple(values)


def _integer(body: bytes, place: int) -> tuple[int, int]:
    """A length-encoded integer, and the place behind it."""
    first = body[place] if place < len(body) else 0xFF
    if first < 0xFB:
        return first, place + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(first, 0)
    if not size or len(body) < place + 1 + size:
        raise Malformed("a number that is cut off")
    return int.from_bytes(body[place + 1 : place + 1 + size], "little"), place + 1 + size


def _text(text: str) -> bytes:
    return text.encode("utf-8") + b"\x00"
