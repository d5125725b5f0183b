"""
What has a client done so far, and is it too much?

An entry for each key, the last one used at the end; the first one goes when there are too many, or when it
was not used for long.  What was counted in a time is estimated from two counters: all of this window, and of
the one before as much as still overlaps; where arrivals are steady that is exact.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Hashable, Iterable, Iterator, Optional, Sequence

from attrs import frozen

from proxyd.config.counters import (
    BYTES_IN,
    BYTES_OUT,
    CONNECTIONS,
    DENY,
    ERRORS,
    OPEN,
    PROTOCOL_ERRORS,
    RATE,
    SNI,
    CountersSpec,
    RuleSpec,
)
from proxyd.config.words import Invalid
from proxyd.policy.bans import read_network, show_network
from proxyd.policy.limits import network_of_key, prefix_of
from proxyd.snapshots import CountersSnapshot

UNIX = "unix"  # who comes by a unix socket has no address, and is called as in ``allow = unix``

# What is counted when a connection begins; all else when it ends.
_AT_ENTRY = (OPEN, CONNECTIONS, RATE)

_COUNTERS = (CONNECTIONS, ERRORS, PROTOCOL_ERRORS, BYTES_IN, BYTES_OUT)


class Window:
    """How much came in the last so many seconds."""

    __slots__ = ("_before", "_began", "_now")

    def __init__(self) -> None:
        self._began = 0.0
        self._now = 0
        self._before = 0

    def add(self, amount: int, now: float, seconds: float) -> None:
        """So much has come."""
        self._turn(now, seconds)
        self._now += amount

    def sum(self, now: float, seconds: float) -> float:
        """How much that is."""
        self._turn(now, seconds)
        return self._now + self._before * (1.0 - (now - self._began) / seconds)

    def _turn(self, now: float, seconds: float) -> None:
        passed = now - self._began
        if passed < seconds:
            return
        self._before = self._now if passed < 2 * seconds else 0
        self._now = 0
        self._began = now - passed % seconds


class Entry:
    """What is known of one key."""

    __slots__ = ("counts", "fired", "key", "open", "seen", "windows")

    def __init__(self, key: Hashable, windows: int) -> None:
        self.key = key
        self.open = 0
        self.seen = 0.0
        self.counts = [0] * len(_COUNTERS)
        self.windows = tuple(Window() for _ in range(windows))
        self.fired = 0  # bits of the rules whose conditions held when last looked at


@frozen
class Fired:
    """A rule whose condition has begun to hold, and of whom."""

    rule: RuleSpec
    key: Hashable
    amount: int


@frozen
class Row:
    """An entry for people."""

    key: Hashable
    open: int
    connections: int
    errors: int
    protocol_errors: int
    bytes_in: int
    bytes_out: int
    idle_seconds: float


class Counters:
    """The entries of one ``[counters]``."""

    def __init__(self, spec: CountersSpec) -> None:
        self.spec = spec
        self.evicted = 0  # that had to make room
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()
        # Each rule with its bit, and with the place of its window if it has one.
        self._rules: list[tuple[RuleSpec, int, int]] = []
        windows = 0
        for place, rule in enumerate(spec.rules):
            self._rules.append((rule, 1 << place, windows if rule.window else -1))
            windows += rule.window > 0
        self._windows = windows
        self._denying = [one for one in self._rules if one[0].action == DENY]

    def __len__(self) -> int:
        return len(self._entries)

    def snapshot(self) -> CountersSnapshot:
        """How full it is."""
        return CountersSnapshot(self.spec.name, len(self._entries), self.spec.size, self.evicted)

    def denies(self, key: Hashable, now: float) -> Optional[RuleSpec]:
        """The rule by which one of this key may not come in now, if there is one."""
        if not self._denying:
            return None
        entry = self._entries.get(key)
        if entry is None or self._is_stale(entry, now):
            return None
        for rule, _, place in self._denying:
            if self._amount(entry, rule, place, now) > rule.most:
                return rule
        return None

    def opened(self, key: Hashable, now: float) -> tuple[Entry, Sequence[Fired]]:
        """A connection has begun: its entry, to be given back to `closed`, and the rules that have fired."""
        entry = self._entry(key, now)
        entry.open += 1
        return entry, self._count(entry, now, ((CONNECTIONS, 1),), _AT_ENTRY)

    def closed(
        self, entry: Entry, now: float, error: bool, protocol_error: bool, bytes_in: int, bytes_out: int
    ) -> Sequence[Fired]:
        """It has ended; the rules that have fired by what is known now."""
        entry.open -= 1
        if self._entries.get(entry.key) is not entry:
            return ()  # it was forgotten meanwhile
        self._used(entry, now)
        counted = (
            (ERRORS, int(error)),
            (PROTOCOL_ERRORS, int(protocol_error)),
            (BYTES_IN, bytes_in),
            (BYTES_OUT, bytes_out),
        )
        return self._count(entry, now, counted, (ERRORS, PROTOCOL_ERRORS, BYTES_IN, BYTES_OUT))

    def sweep(self, now: float, most: int = 10_000) -> None:
        """Forget those that were not used for long, so many at most."""
        for _ in range(most):
            first = next(iter(self._entries.values()), None)
            if first is None or now - first.seen <= self.spec.ttl:
                break
            if first.open:
                self._used(first, now)
            else:
                del self._entries[first.key]

    def clear(self, key: Hashable) -> bool:
        """Forget one; whether there was one."""
        return self._entries.pop(key, None) is not None

    def clear_all(self) -> None:
        """Forget all of them."""
        self._entries.clear()

    def rows(self, now: float, most: int) -> Iterator[Row]:
        """Those that were used last, so many at most."""
        for _, entry in zip(range(most), reversed(self._entries.values())):
            yield _row(entry, now)

    def row(self, key: Hashable, now: float) -> Optional[Row]:
        """The same of one key, if it is there."""
        entry = self._entries.get(key)
        return _row(entry, now) if entry is not None else None

    def _entry(self, key: Hashable, now: float) -> Entry:
        entry = self._entries.get(key)
        if entry is not None and not self._is_stale(entry, now):
            self._used(entry, now)
            return entry
        fresh = Entry(key, self._windows)
        if entry is not None:
            del self._entries[key]
        elif len(self._entries) >= self.spec.size:
            self._entries.popitem(last=False)
            self.evicted += 1
        self._entries[key] = fresh
        fresh.seen = now
        return fresh

    def _is_stale(self, entry: Entry, now: float) -> bool:
        return not entry.open and now - entry.seen > self.spec.ttl

    def _used(self, entry: Entry, now: float) -> None:
        entry.seen = now
        self._entries.move_to_end(entry.key)

    def _count(
        self, entry: Entry, now: float, counted: Iterable[tuple[str, int]], looked_at: Sequence[str]
    ) -> Sequence[Fired]:
        for quantity, amount in counted:
            if amount:
                entry.counts[_COUNTERS.index(quantity)] += amount
        fired: list[Fired] = []
        for rule, bit, place in self._rules:
            if rule.quantity not in looked_at:
                continue
            if place >= 0:
                name = CONNECTIONS if rule.quantity == RATE else rule.quantity
                amount = sum(int(amount) for quantity, amount in counted if quantity == name)
                entry.windows[place].add(amount, now, rule.window)
            amount = int(self._amount(entry, rule, place, now))
            if amount <= rule.most:
                entry.fired &= ~bit
            elif not entry.fired & bit:
                entry.fired |= bit
                fired.append(Fired(rule, entry.key, amount))
        return fired

    def _amount(self, entry: Entry, rule: RuleSpec, place: int, now: float) -> float:
        if place >= 0:
            return entry.windows[place].sum(now, rule.window)
        if rule.quantity == OPEN:
            return entry.open
        return entry.counts[_COUNTERS.index(rule.quantity)]


def _row(entry: Entry, now: float) -> Row:
    connections, errors, protocol_errors, bytes_in, bytes_out = entry.counts
    return Row(
        entry.key, entry.open, connections, errors, protocol_errors, bytes_in, bytes_out,
        max(0.0, now - entry.seen),
    )  # fmt: skip


def shown(spec: CountersSpec, key: Hashable) -> str:
    """A key as people know it: 192.0.2.7, 2001:db8::/64, a name, or unix."""
    if not isinstance(key, bytes):
        return str(key)
    return show_network(network_of_key(key, spec.prefix4, spec.prefix6)) if key else UNIX


def key_called(spec: CountersSpec, text: str) -> Hashable:
    """
    The key that people call so; any address of a network will do for it.

    Raises `Invalid` for what can be no key of this table.
    """
    if spec.key == SNI:
        return text
    if text == UNIX:
        return b""
    network = read_network(text)
    prefix = spec.prefix4 if network.version == 4 else spec.prefix6
    if network.prefixlen < prefix:
        raise Invalid(f"{show_network(network)} is of many entries; each is of a /{prefix}")
    return prefix_of(network.network_address.packed, spec.prefix4, spec.prefix6)
