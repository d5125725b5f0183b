"""
Which certificate does a client get that asks for this name?

One that has the name itself, else one with a wildcard for it, which stands for one label (RFC 9525 6.3), else
the default.  Of several for a name there is one for each type of key, since clients say which they can check:
among those that are valid the one that is valid longest.  One that has issued itself is given only where no
authority has issued any, and one that has expired, or is not valid yet, only where there is no other.

Names are compared in lower case and as they are sent (IDNA's A-labels); an IP address is a name like any
other, in its shortest form.
"""

from __future__ import annotations

import ipaddress
from typing import Generic, Optional, Protocol, Sequence, TypeVar

NEVER = float("inf")

_BEST = 2


class Identified(Protocol):
    """
    What is known of a certificate: whom it is for, the type of its key, whether it has issued itself, and
    from when until when it is valid.

    ``names`` are as `normal` has them, and times are seconds since the epoch.
    """

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def key_type(self) -> str: ...
    @property
    def self_signed(self) -> bool: ...
    @property
    def not_before(self) -> float: ...
    @property
    def not_after(self) -> float: ...


One = TypeVar("One", bound=Identified)


def normal(name: str) -> str:
    """A name as it is compared with others; "" if it cannot be one."""
    name = name.rstrip(".").lower()
    if ":" in name or name[-1:].isdigit():  # no top-level domain ends with a digit; to ask in vain costs 5 us
        try:
            return str(ipaddress.ip_address(name))
        except ValueError:
            pass
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return ""


def is_valid(one: Identified, wall: float) -> bool:
    """Whether the time is between the two that a certificate names."""
    return one.not_before <= wall < one.not_after


class Certificates(Generic[One]):
    """
    The certificates of one listener by their names, as they are to be chosen now.

    At ``until``, in seconds since the epoch, one begins or ends to be valid, and another choice may be right.
    Raises `LookupError` if there is none for the name that is the default.
    """

    def __init__(self, all_of_them: Sequence[One], wall: float, default: str = "") -> None:
        """The first of them is the default, unless a name is."""
        self._wall = wall
        self._names: dict[str, list[One]] = {}
        for one in all_of_them:
            for name in one.names:
                self._names.setdefault(name, []).append(one)
        times = [time for one in all_of_them for time in (one.not_before, one.not_after) if time > wall]
        self.until = min(times, default=NEVER)
        self.default: tuple[One, ...] = ()
        if default:
            found = self._lookup(normal(default))
            if found is None:
                raise LookupError(default)
            self.default = found
        elif all_of_them:
            first = all_of_them[0]
            namesakes = self._lookup(first.names[0]) if first.names else None
            self.default = namesakes or (first,)

    def choose(self, name: str) -> Optional[tuple[One, ...]]:
        """
        The certificates for a client that asks for this name, one for each type of key.

        None if there is none of that name.
        """
        return self._lookup(normal(name)) if name else None

    def _lookup(self, name: str) -> Optional[tuple[One, ...]]:
        standing, found = self._best(self._names.get(name, ()))
        if standing < _BEST:
            # Better a wildcard that can be believed than a name that cannot.
            label, _, parent = name.partition(".")
            wild_standing, wild = self._best(self._names.get(f"*.{parent}", ())) if label else (0, ())
            if not found or wild_standing > standing:
                found = wild
        return found or None

    def _best(self, candidates: Sequence[One]) -> tuple[int, tuple[One, ...]]:
        """How the best of them stand, and of these the one for each type of key that is valid longest."""
        standing = max((self._standing(one) for one in candidates), default=0)
        alike = [one for one in candidates if self._standing(one) == standing]
        best: dict[str, One] = {}
        for one in sorted(alike, key=_lasting, reverse=True):
            best.setdefault(one.key_type, one)
        return standing, tuple(best[key_type] for key_type in sorted(best))

    def _standing(self, one: One) -> int:
        """0 if it is not valid now, 1 if only its own key vouches for it, else `_BEST`."""
        if not is_valid(one, self._wall):
            return 0
        return 1 if one.self_signed else _BEST


def _lasting(one: Identified) -> tuple[float, float]:
    return one.not_after, one.not_before
