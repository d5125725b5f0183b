"""
To which session does an RDP client want?

Its first packet says it in the clear, for balancers: a cookie with the user's name, or the token that a
session broker has given it, which names the server that has the session.  It is read as with HAProxy's
``rdp_cookie``; the bytes go to the server as they came, which has to ignore both.

Microsoft's clients cut the name off after nine letters, a domain before it included, and send none if they
know none (with saved credentials, for example).

Sources: MS-RDPBCGR 2.2.1.1 (the packet), 3.2.5.3.1 (the cookie); "Session Directory and Load Balancing Using
Terminal Server", section "Routing Token Format"; RFC 1006 6 (TPKT); X.224 13.3 (Connection Request).
"""

from __future__ import annotations

import re
from typing import Optional

from attrs import frozen

# The length indicator is a byte, and counts all but the header and itself.
MAX_LENGTH = 4 + 1 + 254

_FIXED = 6  # bytes of a Connection Request after its length indicator
_HEADERS = 4 + 1 + _FIXED
_CONNECTION_REQUEST = 0xE
_COOKIE = re.compile(rb"Cookie: (mstshash=[^\r\n]+|msts=[^\r\n]+)\r\n")
# The address and the port as numbers, of the bytes from the last to the first, and a number for later use.
_TOKEN = re.compile(rb"msts=([0-9]{1,10})\.([0-9]{1,5})\.[0-9]{1,5}")


@frozen
class ConnectionRequest:
    """
    What a client says before anything else.

    ``cookie`` is ``mstshash=USER`` or ``msts=TOKEN``, b"" if there is neither; ``server`` is the address that
    the token names, as 10.0.0.1:3389.
    """

    cookie: bytes = b""
    server: str = ""


def begins(data: bytes) -> Optional[bool]:
    """Whether these first bytes of a client are a Connection Request, or None while that is open."""
    if data[:2] != b"\x03\x00"[: len(data)] or data[2:3] > b"\x01":
        return False
    if len(data) > 4 and (data[4] < _FIXED or int.from_bytes(data[2:4], "big") != data[4] + 5):
        return False
    return data[5] >> 4 == _CONNECTION_REQUEST if len(data) > 5 else None


def parse(data: bytes) -> Optional[ConnectionRequest]:
    """The Connection Request that these bytes are, which `begins` them, or None if more are needed."""
    if len(data) < _HEADERS or len(data) < int.from_bytes(data[2:4], "big"):
        return None
    found = _COOKIE.match(data, _HEADERS, int.from_bytes(data[2:4], "big"))
    if found is None:
        return ConnectionRequest()
    return ConnectionRequest(found[1], _named(found[1]))


def _named(cookie: bytes) -> str:
    """The address and port that a token names, "" if it names none."""
    token = _TOKEN.fullmatch(cookie)
    if token is None:
        return ""
    address, port = int(token[1]), int(token[2])
    if address >= 2**32 or port >= 2**16:
        return ""
    host = ".".join(str(byte) for byte in address.to_bytes(4, "little"))
    return f"{host}:{int.from_bytes(port.to_bytes(2, 'little'), 'big')}"
