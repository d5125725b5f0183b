"""
What does an LDAP server answer to a bind?  RFC 4511, as much of it as a bind and an unbind take.

Messages are BER with definite lengths (RFC 4511, 5.1).
"""

from __future__ import annotations

from typing import Optional

from attrs import frozen

from proxyd.errors import Malformed

LONGEST = 16 * 1024  # bytes of a message; an answer to a bind is a code, a name and a sentence

BIND_RESPONSE = 0x61  # [APPLICATION 1]
EXTENDED_RESPONSE = 0x78  # [APPLICATION 24]; unasked, it is a notice of disconnection (RFC 4511, 4.4.1)
SUCCESS = 0

_INTEGER, _OCTETS, _ENUMERATED, _SEQUENCE = 0x02, 0x04, 0x0A, 0x30
_BIND, _UNBIND, _SIMPLE = 0x60, 0x42, 0x80
_VERSION = 3

# Of RFC 4511, 4.1.9, those that a bind may be answered with.
RESULTS = {
    1: "operationsError", 2: "protocolError", 7: "authMethodNotSupported", 8: "strongerAuthRequired",
    10: "referral", 13: "confidentialityRequired", 14: "saslBindInProgress", 32: "noSuchObject",
    34: "invalidDNSyntax", 48: "inappropriateAuthentication", 49: "invalidCredentials",
    50: "insufficientAccessRights", 51: "busy", 52: "unavailable", 53: "unwillingToPerform", 80: "other",
}  # fmt: skip


@frozen
class Result:
    """How an operation went: which (its tag), the code of the result, and the server's words for it."""

    operation: int
    code: int
    text: bytes

    @property
    def name(self) -> str:
        """The code as RFC 4511 calls it."""
        return RESULTS.get(self.code, f"result {self.code}")


def bind(number: int, name: str, password: str) -> bytes:
    """A simple bind; anonymous if both are empty (RFC 4513, 5.1)."""
    request = _integer(_VERSION) + _tagged(_OCTETS, name.encode("utf-8"))
    return _message(number, _tagged(_BIND, request + _tagged(_SIMPLE, password.encode("utf-8"))))


def unbind(number: int) -> bytes:
    """The farewell; the server closes then."""
    return _message(number, _tagged(_UNBIND, b""))


def result(data: bytes) -> Optional[tuple[Result, int]]:
    """The result that these bytes begin with and its length, or None for more.  Raises `Malformed`."""
    whole = _element(data, 0, len(data), _SEQUENCE, "a message of LDAP")
    if whole is None:
        return None
    start, end = whole
    if end > len(data):
        return None
    _, place = _within(data, start, end, _INTEGER, "a number of the message")
    if place >= end:
        raise Malformed("a message without an operation")
    operation = data[place]
    inside, last = _within(data, place, end, operation, "an operation")
    if operation not in (BIND_RESPONSE, EXTENDED_RESPONSE):
        raise Malformed(f"operation 0x{operation:02x}, which is no answer to a bind")
    code, place = _within(data, inside, last, _ENUMERATED, "a code of the result")
    if not 1 <= place - code <= 4:
        raise Malformed(f"a code of the result of {place - code} bytes")
    number = int.from_bytes(data[code:place], "big")
    _, place = _within(data, place, last, _OCTETS, "a matched name")
    text, place = _within(data, place, last, _OCTETS, "a message for people")
    return Result(operation, number, data[text:place]), end


def _message(number: int, operation: bytes) -> bytes:
    return _tagged(_SEQUENCE, _integer(number) + operation)


def _integer(value: int) -> bytes:
    return _tagged(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _tagged(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    digits = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(digits))) + digits + content


def _within(data: bytes, start: int, end: int, tag: int, what: str) -> tuple[int, int]:
    """Where the content of an element begins and ends that must lie before ``end``.  Raises `Malformed`."""
    found = _element(data, start, end, tag, what)
    if found is None or found[1] > end:
        raise Malformed(f"{what} that is longer than its message")
    return found


def _element(data: bytes, start: int, end: int, tag: int, what: str) -> Optional[tuple[int, int]]:
    """Where the content of the element that begins at ``start`` begins and ends, or None for more."""
    if start < end and data[start] != tag:
        raise Malformed(f"0x{data[start]:02x}, which does not begin {what}")
    if start + 1 >= end:
        return None
    place, length = start + 2, data[start + 1]
    if length > 0x80:  # that many bytes have the length
        digits, place = data[place : min(end, place + length - 0x80)], place + length - 0x80
        if place - start - 2 > 4:
            raise Malformed(f"{what} with a length of {place - start - 2} bytes")
        if place > end:
            return None
        length = int.from_bytes(digits, "big")
    elif length == 0x80:
        raise Malformed(f"{what} of no definite length")
    if length > LONGEST:
        raise Malformed(f"{what} of {length} bytes; {LONGEST} are the most")
    return place, place + length
