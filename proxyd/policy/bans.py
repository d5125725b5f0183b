"""
Who was told to stay away, until when, and why?

A ban is made while the daemon runs, by an operator or by whatever watches its log, and holds for all
listeners.  As text it is a line of a network, its end and its reason: what is exported can be imported.
Times are wall time, as in the access log's records; infinity is for ever.  So a ban ends when people were
told that it would, also if the clock is set meanwhile, and in the next process.
"""

from __future__ import annotations

import heapq
import ipaddress
import math
from typing import Callable, Iterable, Iterator, Optional

from attrs import field, frozen

from proxyd.config.options import Duration, show_duration
from proxyd.config.proxyprotocol import Network
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, printable, quoted

NEVER = "never"
LONGEST_REASON = 200  # letters; what is longer is cut
_LATEST = 1e11  # seconds since the epoch: the year 5138; what is later is a mistake in the unit


@frozen
class Ban:
    """One network, until when it is banned, and why."""

    network: Network
    until: float
    reason: str = ""
    line: str = field(init=False, eq=False, repr=False)  # made once: a full table is written each minute

    @line.default
    def _line(self) -> str:
        until = NEVER if self.until == math.inf else str(math.ceil(self.until))
        return f"{show_network(self.network)} {until} {self.reason}".rstrip()

    def __str__(self) -> str:
        return self.line

    def lasts(self, wall: float) -> str:
        """How long it still holds, for people."""
        return NEVER if self.until == math.inf else show_duration(max(0, math.ceil(self.until - wall)))


class Bans:
    """
    All bans, at most ``most``; for one more, the one that would end first goes.

    A client is looked up once for each length of prefix that is banned, however many bans there are.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.dropped = 0  # bans that had to make room
        self.changed: Callable[[], object] = lambda: None  # called when one is made or ended by somebody
        self.by_network: dict[Network, Ban] = {}  # to be looked at; `add` and `remove` change it
        self._by_length: dict[
            tuple[int, int], dict[int, Ban]
        ] = {}  # by bits of address, and behind the prefix
        self._ends: list[tuple[float, int, Ban]] = []  # a heap; some were removed or replaced since
        self._made = 0

    def __len__(self) -> int:
        return len(self.by_network)

    def __iter__(self) -> Iterator[Ban]:
        """Those that were not swept away yet, the one that was made last at the end."""
        return iter(list(self.by_network.values()))

    def find(self, client: bytes, wall: float) -> Optional[Ban]:
        """The ban that a client (`proxyd.policy.lists.client_bytes`) is under now, if there is one."""
        bits = len(client) * 8
        address = int.from_bytes(client, "big")
        for (own, behind), table in self._by_length.items():
            if own == bits:
                ban = table.get(address >> behind)
                if ban is not None and ban.until > wall:
                    return ban
        return None

    def add(self, ban: Ban) -> None:
        """Ban a network; what was said of the same network before holds no more."""
        self.remove(ban.network)
        while len(self.by_network) >= self.most:
            self.remove(self._first().network)
            self.dropped += 1
        self.by_network[ban.network] = ban
        key, place = _place(ban.network)
        self._by_length.setdefault(key, {})[place] = ban
        self._made += 1
        if len(self._ends) > 2 * len(self.by_network) + 100:  # most of them are of bans that are gone
            self._ends = [entry for entry in self._ends if self.by_network.get(entry[2].network) is entry[2]]
            heapq.heapify(self._ends)
        heapq.heappush(self._ends, (ban.until, self._made, ban))
        self.changed()

    def remove(self, network: Network) -> bool:
        """Let a network in again; whether it was banned.  Bans of larger and smaller ones stay."""
        ban = self.by_network.pop(network, None)
        if ban is None:
            return False
        key, place = _place(network)
        table = self._by_length[key]
        del table[place]
        if not table:
            del self._by_length[key]
        self.changed()
        return True

    def sweep(self, wall: float) -> int:
        """Forget the bans that have ended; how many there were."""
        swept = 0
        while self._ends and self._ends[0][0] <= wall:
            ban = heapq.heappop(self._ends)[2]
            if self.by_network.get(ban.network) is ban:
                self.remove(ban.network)
                swept += 1
        return swept

    def _first(self) -> Ban:
        """The ban that ends first."""
        while True:
            ban = heapq.heappop(self._ends)[2]
            if self.by_network.get(ban.network) is ban:
                return ban

    def dump(self) -> str:
        """All bans as text, a line each: what the next process is to know, quickly made."""
        return "\n".join([ban.line for ban in self.by_network.values()])

    def restore(self, dumped: object, wall: float) -> int:
        """Take up what `dump` has given, but for what is over; how many are left.  Raises ValueError."""
        if not isinstance(dumped, str):
            raise ValueError("it is not lines of bans")
        bans, wrong = read_bans(dumped.split("\n"), wall)
        for ban in bans:
            self.add(ban)
        if wrong:
            raise ValueError(
                f"line {wrong[0][0]}: {wrong[0][1]}; taken were {len(bans)} bans, {len(wrong)} not"
            )
        return len(self)


def read_bans(lines: Iterable[str], wall: float) -> tuple[list[Ban], list[tuple[int, str]]]:
    """The bans on lines of text, but for those that are over; and the numbers of wrong lines, with why."""
    bans: list[Ban] = []
    wrong: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        words = line.split(None, 2)
        if not words or words[0][0] in "#;":
            continue
        try:
            if len(words) < 2:
                raise Invalid(f"{quoted(line.strip())} has no end; write {words[0]} 10m, for example")
            ban = make_ban(words[0], words[1], words[2].strip() if len(words) > 2 else "", wall)
        except Invalid as why:
            wrong.append((number, str(why)))
            continue
        if ban.until > wall:
            bans.append(ban)
    return bans, wrong


def make_ban(network: str, until: str, reason: str, wall: float) -> Ban:
    """
    A ban as people write it.  Raises `Invalid`.

    ``until`` is a duration from now on, a number of seconds since the epoch, or ``never``.
    """
    found = read_network(network)
    shown = printable(reason, LONGEST_REASON)
    if until == NEVER:
        return Ban(found, math.inf, shown)
    if until.isascii() and until.isdigit():
        if not float(until) < _LATEST:
            raise Invalid(f"{quoted(until)} is no time of this age; write seconds since the epoch, or 10m")
        return Ban(found, float(until), shown)
    try:
        return Ban(found, wall + Duration().read(Word(until, "", 0)), shown)
    except Invalid:
        raise Invalid(
            f"{quoted(until)} is no end of a ban; write 10m, for example, seconds since the epoch, or never"
        ) from None


def read_network(text: str) -> Network:
    """
    The network that an address or a network is meant as.  Raises `Invalid`.

    Bits behind the prefix are passed over: ``2001:db8::1/64`` is the network that this client is in.
    """
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise Invalid(
            f"{quoted(text)} is neither a network nor an address; write 192.0.2.7, for example"
        ) from None
    mapped = network.network_address.ipv4_mapped if network.version == 6 else None
    if mapped is not None and network.prefixlen >= 96:
        return ipaddress.ip_network((mapped, network.prefixlen - 96))
    return network


def show_network(network: Network) -> str:
    """The network, or the one address that it is, as people write it."""
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


def _place(network: Network) -> tuple[tuple[int, int], int]:
    behind = network.max_prefixlen - network.prefixlen
    return (network.max_prefixlen, behind), int(network.network_address) >> behind
