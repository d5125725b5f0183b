"""
Which servers does a name stand for, when its addresses change?

An answer says what was learnt and what was not (`Answer`, `Services`); what was not learnt stays as it was
(`kept`).  Nothing that a name service does takes servers away but an answer that has others in their place.
`servers_of` makes of a server's line in the configuration the servers that there are to be now.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Optional, Sequence

from attrs import evolve, frozen

from proxyd.config.address import Address, Addresses, SrvAddress, TcpAddress
from proxyd.config.pool import ALL, HEAVIEST, ServerSpec

MOST_ADDRESSES = 64  # of a name; more are left out

MOST_TARGETS = 64  # of a service


@frozen
class Answer:
    """
    The addresses of a name.

    ``v4`` and ``v6`` are those of each family, or None if that could not be learnt, ``trouble`` being why.
    ``ttl`` is in seconds, 0 if there is nothing to be kept.
    """

    v4: Optional[tuple[str, ...]] = None
    v6: Optional[tuple[str, ...]] = None
    ttl: float = 0.0
    trouble: str = ""

    @property
    def any(self) -> bool:
        """Whether there is an address."""
        return bool(self.v4 or self.v6)

    @property
    def addresses(self) -> tuple[str, ...]:
        """In the order in which they are tried: the families in turn, IPv6 first (RFC 8305, section 4)."""
        pairs = zip_longest(self.v6 or (), self.v4 or ())
        return tuple(address for pair in pairs for address in pair if address)[:MOST_ADDRESSES]


@frozen
class Service:
    """One SRV record (RFC 2782): a host, its port, and its rank and share among the others."""

    host: str
    port: int
    priority: int
    weight: int


@frozen
class Services:
    """The SRV records of a name; None if they could not be learnt, ``trouble`` being why."""

    each: Optional[tuple[Service, ...]] = None
    ttl: float = 0.0
    trouble: str = ""


@frozen
class Target:
    """A host and its addresses; with the port, priority and weight of its SRV record if it has one."""

    host: str
    addresses: tuple[str, ...]
    port: Optional[int] = None
    priority: Optional[int] = None
    weight: Optional[int] = None


def clamp(ttl: float, low: float, high: float) -> float:
    """The TTL as it is heeded."""
    return max(low, min(ttl, high))


def kept(last: Optional[Answer], new: Answer) -> Optional[Answer]:
    """
    What is known of a name now; None if it has never had an address.

    A family that could not be learnt is what it was, and a name that has no address left keeps those it had.
    Addresses that were known stay where they were in the order, so that a name service which shuffles its
    answers (RFC 1794) moves no traffic.
    """
    if last is None:
        last = Answer()
    v4 = last.v4 if new.v4 is None else _in_order(last.v4, new.v4)
    v6 = last.v6 if new.v6 is None else _in_order(last.v6, new.v6)
    known = evolve(new, v4=v4, v6=v6)
    if not known.any:
        return last if last.any else None
    return known


def _in_order(last: Optional[Sequence[str]], new: Sequence[str]) -> tuple[str, ...]:
    known = last or ()
    both = (*(each for each in known if each in new), *(each for each in new if each not in known))
    return both[:MOST_ADDRESSES]


def targets_of(services: Sequence[Service], hosts: dict[str, Optional[Answer]]) -> tuple[Target, ...]:
    """
    The targets of a service that have addresses, with weights that a server can have.

    SRV weights go up to 65535 and ours to 256.  If one is larger, all of its priority, among which alone they
    count, are made smaller by the same factor; HAProxy divides each by 256, and those that were 10 and 20 are
    the same to it.  0, which is "a very small chance" in RFC 2782, is 1.
    """
    heaviest: dict[int, int] = {}
    for service in services:
        heaviest[service.priority] = max(service.weight, heaviest.get(service.priority, HEAVIEST))
    found = []
    for service in services:
        answer = hosts.get(service.host)
        if answer is not None and answer.any:
            weight = max(1, round(service.weight * HEAVIEST / heaviest[service.priority]))
            found.append(Target(service.host, answer.addresses, service.port, service.priority, weight))
    return tuple(found)


def servers_of(line: ServerSpec, targets: Sequence[Target]) -> list[ServerSpec]:
    """
    The servers that a line of the configuration stands for, once its name is resolved.

    Each address of a line with ``resolve=all`` is one, as is each target of a service.  They are called by
    the line's name and what they are: the same after the next answer, and the same elsewhere.
    """
    found: dict[str, ServerSpec] = {}
    service = isinstance(line.address, SrvAddress)
    for target in targets:
        port = target.port if target.port is not None else _port(line.address)
        called = TcpAddress(target.host, port)
        spec = evolve(
            line,
            origin=called,
            weight=line.weight if target.weight is None else target.weight,
            priority=line.priority if target.priority is None else target.priority,
        )
        addresses = tuple(TcpAddress(host, port) for host in target.addresses)
        if line.resolve == ALL:
            for address in addresses:
                name = f"{line.name}-{address if service else address.host}"
                found.setdefault(name, evolve(spec, name=name, address=address))
        else:
            name = f"{line.name}-{called}" if service else line.name
            one_or_all = Addresses(addresses) if len(addresses) > 1 else addresses[0]
            found.setdefault(name, evolve(spec, name=name, address=one_or_all))
    return list(found.values())[:MOST_ADDRESSES]


def _port(address: Address) -> int:
    assert isinstance(address, TcpAddress)
    return address.port


def common(one: Address, other: Address) -> bool:
    """Whether a server that has moved from the one to the other can still be where it was."""
    return bool(set(_each(one)) & set(_each(other)))


def _each(address: Address) -> tuple[Address, ...]:
    return address.each if isinstance(address, Addresses) else (address,)
