"""
For whom does a proxy say that it asks?

X-Forwarded-For is a list of addresses, Forwarded (RFC 7239) one of elements with ``for=`` in them.  Each
proxy adds the one that it was asked by at the end, so lists are read from there: what is before the address
that the last proxy to be believed has added, anybody may have made up.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Callable, Optional, Sequence

from proxyd.wire.httpfields import TOKEN, Field

MOST_HOPS = 32  # that are looked at

X_FORWARDED_FOR, FORWARDED = b"x-forwarded-for", b"forwarded"

# Some write a port, too, and IPv6 with it or without in brackets.
_PLACE = re.compile(
    r"\[([0-9A-Fa-f:.]+)\](?::([0-9]{1,5}))?|([0-9.]+)(?::([0-9]{1,5}))?|([0-9A-Fa-f:.]+)"
).fullmatch

# A pair and what ends it; what is quoted may be a name that a client has made up.
_PAIR = re.compile(rb"[ \t]*(?:(" + TOKEN + rb')=(?:"((?:[^"\\]|\\.)*)"|([^";, \t]*)))?[ \t]*([;,]|\Z)').match


def asked_by(
    fields: Sequence[Field], name: bytes, believed: Callable[[str], bool]
) -> Optional[tuple[str, int]]:
    """
    Who has asked, as proxies have told: an IP address, and a port or 0; None if they have not.

    ``name`` is that of the field that is read; ``believed`` says whether what is at an address may tell of
    others.
    """
    found: Optional[tuple[str, int]] = None
    for said in _from_the_end(fields, name):
        place = _place_of(said)
        if place is None:
            break  # somebody that hides, or wrote nonsense: who has told of that is the last one known
        found = place
        if not believed(place[0]):
            break
    return found


def _from_the_end(fields: Sequence[Field], name: bytes) -> list[str]:
    said = b",".join([field[1] for field in fields if field[0] == name])
    each = said.rsplit(b",", MOST_HOPS) if name == X_FORWARDED_FOR else _nodes(said)
    return [one.decode("latin-1").strip(" \t") for one in each[: -MOST_HOPS - 1 : -1]]


def _nodes(said: bytes) -> list[bytes]:
    """What each element of Forwarded has as ``for``, b"" for nothing; of none before a malformed one."""
    nodes = [b""]
    place = 0
    while place < len(said):
        match = _PAIR(said, place)
        if match is None:  # what a client has made up does not hide who has added to it
            comma = said.find(b",", place)
            nodes, place = [b""], comma + 1 if comma >= 0 else len(said)
            continue
        name, quoted, plain, end = match.groups()
        if name is not None and name.lower() == b"for":
            nodes[-1] = quoted or plain or b""
        if end == b",":
            nodes.append(b"")
        place = match.end()
    return nodes


def _place_of(said: str) -> Optional[tuple[str, int]]:
    match = _PLACE(said)
    if match is None:
        return None
    bracketed, port6, plain, port4, bare = match.groups()
    try:
        address = ip_address(bracketed or plain or bare)
    except ValueError:
        return None
    port = int(port6 or port4 or 0)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (str(mapped or address), port) if port < 1 << 16 else None
