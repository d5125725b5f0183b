"""
What does it cost to look a client up in a list, to keep the list, and to make it?

``python -m bench.lists [--networks N] [NAME ...]`` prints, for our own ranges and for what is installed of
py-radix, pytricia and netaddr: microseconds for a client that is in the list and for one that is not, the
memory that the list takes, and how long it takes to make it from a file.  For ours also the longest step,
which is what clients wait while a file is read again.  The numbers are never a failure.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import ipaddress
import os
import tempfile
import time
from functools import partial
from random import Random
from typing import Any, Callable, Iterator, Optional, Sequence

from proxyd.config.lists import read_slices
from proxyd.errors import Problem
from proxyd.policy.bans import Ban, Bans
from proxyd.policy.lists import gather

LOOKUPS = 100_000

PREFIXES = {4: (32, 32, 32, 32, 32, 24, 24, 22, 20, 16 + 7), 6: (128, 64, 64, 64, 56, 48, 48, 40, 36, 32)}


def network(dice: Random, family: int) -> str:
    """A network as there are in the lists that people use: single addresses, and some larger ones."""
    bits, prefix = (32 if family == 4 else 128), dice.choice(PREFIXES[family])
    number = dice.getrandbits(bits) if family == 4 else 0x2 << 124 | dice.getrandbits(124)
    kind = ipaddress.IPv4Network if family == 4 else ipaddress.IPv6Network
    return str(kind((number >> (bits - prefix) << (bits - prefix), prefix)))


def lines(path: str) -> Iterator[str]:
    """The networks in a file."""
    with open(path, encoding="ascii") as file:
        for line in file:
            yield line.strip()


class Ours:
    """The ranges that proxyd uses."""

    longest = 0.0

    def __init__(self, path: str) -> None:
        problems: list[Problem] = []
        before = time.perf_counter()
        for found in gather(read_slices(path, problems)):
            now = time.perf_counter()
            self.longest = max(self.longest, now - before)
            before = now
            if found is not None:
                self._networks = found
        assert not problems, problems

    def ask(self, addresses: Sequence[str]) -> tuple[Callable[[Any], bool], list[Any]]:
        """What answers, and what it is asked of these addresses."""
        return self._networks.covers, [ipaddress.ip_address(address).packed for address in addresses]


class OurBans:
    """The table of bans, which changes all the time."""

    def __init__(self, path: str) -> None:
        self._bans = Bans(10_000_000)
        for line in lines(path):
            self._bans.add(Ban(ipaddress.ip_network(line), 1e10, "too many errors"))

    def ask(self, addresses: Sequence[str]) -> tuple[Callable[[Any], bool], list[Any]]:
        find = self._bans.find
        return lambda one: find(one, 0.0) is not None, [ipaddress.ip_address(one).packed for one in addresses]


class Radix:
    """py-radix: a tree of Patricia in C."""

    def __init__(self, path: str) -> None:
        self._tree = importlib.import_module("radix").Radix()
        for line in lines(path):
            self._tree.add(line)

    def ask(self, addresses: Sequence[str]) -> tuple[Callable[[Any], bool], list[Any]]:
        search = self._tree.search_best
        packed = [ipaddress.ip_address(address).packed for address in addresses]
        return lambda one: search(packed=one) is not None, packed


class Pytricia:
    """pytricia: another one, for one family at a time."""

    def __init__(self, path: str) -> None:
        bits = 128 if ":" in next(lines(path)) else 32
        self._tree = importlib.import_module("pytricia").PyTricia(bits)
        for line in lines(path):
            self._tree[line] = True
        self._tree.freeze()

    def ask(self, addresses: Sequence[str]) -> tuple[Callable[[Any], bool], list[Any]]:
        return self._tree.__contains__, list(addresses)


class Netaddr:
    """netaddr: sets of networks in Python."""

    def __init__(self, path: str) -> None:
        self._netaddr = importlib.import_module("netaddr")
        self._set = self._netaddr.IPSet(list(lines(path)))

    def ask(self, addresses: Sequence[str]) -> tuple[Callable[[Any], bool], list[Any]]:
        return self._set.__contains__, [self._netaddr.IPAddress(address) for address in addresses]


KINDS: dict[str, Callable[[str], Any]] = {
    "proxyd": Ours,
    "bans": OurBans,
    "py-radix": Radix,
    "pytricia": Pytricia,
    "netaddr": Netaddr,
}


def resident() -> float:
    """The memory of this process, MB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(kind: Callable[[str], Any], path: str, inside: list[str], outside: list[str]) -> str:
    """A row of the table; measured in a process of its own, or memory that was freed would not be seen."""
    gc.disable()
    before, began = resident(), time.perf_counter()
    made = kind(path)
    took, memory = time.perf_counter() - began, resident() - before
    cells = []
    for addresses in (inside, outside):
        answer, asked = made.ask(addresses)
        began = time.perf_counter()
        for one in asked:
            answer(one)
        cells.append((time.perf_counter() - began) / len(asked) * 1e6)
    longest = f"{made.longest * 1000:10.1f}" if hasattr(made, "longest") else ""
    return f"{cells[0]:10.2f}{cells[1]:10.2f}{memory:10.0f}{took:10.2f}{longest}"


def forked(work: Callable[[], str]) -> str:
    """What some work comes to, in a child process."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = work()
        except ImportError:
            said = "  is not installed"
        os.write(writes, said.encode())
        os._exit(0)
    os.close(writes)
    with open(reads, encoding="utf-8") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


def main(words: Optional[Sequence[str]] = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="bench.lists", description="What does a list of networks cost?")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(KINDS)}; all if none")
    parser.add_argument("--networks", type=int, default=1_000_000, help="in each list")
    asked = parser.parse_args(words)
    for name in asked.names:
        if name not in KINDS:
            parser.error(f"{name} is not known; there are {', '.join(KINDS)}")
    for family in (4, 6):
        dice = Random(1)
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            inside = []
            for place in range(asked.networks):
                text = network(dice, family)
                file.write(text + "\n")
                if place % max(1, asked.networks // LOOKUPS) == 0:
                    inside.append(text.partition("/")[0])
            file.flush()
            dice.shuffle(inside)
            bits = 32 if family == 4 else 128
            made = ipaddress.IPv4Address if family == 4 else ipaddress.IPv6Address
            outside = [str(made(dice.getrandbits(bits))) for _ in range(LOOKUPS)]
            print(f"{asked.networks:,} networks of IPv{family}")
            print(f"{'':10}{'in, µs':>10}{'out, µs':>10}{'MB':>10}{'made, s':>10}{'step, ms':>10}")
            for name, kind in KINDS.items():
                if not asked.names or name in asked.names:
                    row = forked(partial(measure, kind, file.name, inside, outside))
                    print(f"{name:10}{row}", flush=True)


if __name__ == "__main__":
    main()
