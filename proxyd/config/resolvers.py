"""Whom do we ask for the addresses of names?  The ``resolvers =`` of ``[proxyd]``, and resolv.conf."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, ClassVar, Optional, Sequence

from attrs import frozen

from proxyd.config.address import TcpAddress, file_path, ip_address, port_number
from proxyd.config.options import Count, Duration, Fail, Form, OneWord, Option, parameters, show_duration
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

DNS_PORT = 53

SYSTEM = "system"

MOST_RESOLVERS = 3  # as many as libc asks (MAXNS)
MOST_DOMAINS = 6  # to search, as many as libc's resolver did for decades (MAXDNSRCH)
MOST_DOTS = 15  # libc's RES_MAXNDOTS


@frozen
class ResolversSpec:
    """
    Who is asked for names, and how patiently: ``addresses``, or those of resolv.conf if there are none.

    ``timeout`` is how long one of them has for an answer, in seconds; each is asked up to ``tries`` times.
    Answers are kept for their TTL, but no less than ``min_ttl`` and no more than ``max_ttl`` seconds.
    """

    addresses: tuple[TcpAddress, ...] = ()
    timeout: float = 1.0
    tries: int = 2
    min_ttl: float = 5.0
    max_ttl: float = 300.0
    hosts: str = "/etc/hosts"


@frozen
class SystemResolvers:
    """What resolv.conf says: whom to ask, and where to search names with fewer dots than ``dots``."""

    addresses: tuple[TcpAddress, ...]
    domains: tuple[str, ...] = ()
    dots: int = 1


class HostsFile(OneWord):
    """The path of a hosts file, or ``none``."""

    shape: ClassVar[str] = "the path of a file, or `none`"

    def read(self, word: Word) -> str:
        return "" if word.text == "none" else file_path(word.text, word)


class Resolvers(Form):
    """``ADDRESS ... timeout=1s``, or ``system``."""

    shape: ClassVar[str] = (
        "the IP addresses of DNS servers, each with `:PORT` if that is not 53; or `system`, for those in "
        "/etc/resolv.conf; then any of the parameters below"
    )
    parameters: ClassVar[tuple[Option, ...]] = (
        Option(
            "timeout",
            Duration(),
            "A DNS server that has not answered by then is passed over.",
            "timeout=500ms",
            default="1s",
        ),
        Option("tries", Count(1, 10), "So many times each of them is asked.", "tries=1", default="2"),
        Option(
            "min_ttl",
            Duration(),
            "Names are looked up again when their TTL is over, but not more often than this. It is also the "
            "TTL of a failure, and of the hosts file.",
            "min_ttl=1s",
            default="5s",
        ),
        Option(
            "max_ttl",
            Duration(),
            "Names are looked up again after this time, however long their TTL is.",
            "max_ttl=1m",
            default="5m",
        ),
        Option(
            "hosts",
            HostsFile(),
            "The names in this file are not asked for.",
            "hosts=none",
            default="/etc/hosts",
        ),
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[ResolversSpec]:
        count = next((place for place, word in enumerate(words) if "=" in word.text), len(words))
        first, rest = words[:count], words[count:]
        values = parameters(rest, self.parameters, fail)
        addresses: list[TcpAddress] = []
        if not first:
            fail(words[0].line, f"begins with the address of a DNS server, or with {SYSTEM} for resolv.conf")
            return None
        if [word.text for word in first] != [SYSTEM]:
            for word in first:
                try:
                    addresses.append(_resolver(word.text))
                except Invalid as why:
                    fail(word.line, str(why))
            if len(first) > MOST_RESOLVERS:
                fail(first[MOST_RESOLVERS].line, f"takes {MOST_RESOLVERS} DNS servers at most")
        if values is None:
            return None
        spec = ResolversSpec(tuple(addresses), **values)
        if spec.min_ttl > spec.max_ttl:
            low, high = show_duration(spec.min_ttl), show_duration(spec.max_ttl)
            fail(words[0].line, f"min_ttl={low} is more than max_ttl={high}")
        return spec


def _resolver(text: str) -> TcpAddress:
    """A DNS server.  Raises `Invalid`."""
    host, port = text, DNS_PORT
    found = re.fullmatch(r"\[([^]]*)\](?::(.*))?|([^:]*):([^:]*)", text)
    if found is not None:
        host = found.group(1) if found.group(1) is not None else found.group(3)
        digits = found.group(2) if found.group(1) is not None else found.group(4)
        port = DNS_PORT if digits is None else port_number(digits)
    try:
        return TcpAddress(ip_address(host), port)
    except Invalid:
        text = f"{quoted(text)} is not the IP address of a DNS server; write 127.0.0.1, 127.0.0.1:5353 or "
        raise Invalid(f"{text}[::1]:53") from None


def read_resolv_conf(text: str) -> SystemResolvers:
    """
    What a resolv.conf(5) says; as libc does, what it does not understand it leaves out.

    Without a name server it is that of this host.  The last of ``domain`` and ``search`` holds.
    """
    addresses: list[TcpAddress] = []
    domains: list[str] = []
    dots = 1
    for line in text.splitlines():
        keyword, *values = line.partition("#")[0].partition(";")[0].split() or [""]
        if keyword == "nameserver" and values and len(addresses) < MOST_RESOLVERS:
            try:
                addresses.append(TcpAddress(str(ipaddress.ip_address(values[0])), DNS_PORT))
            except ValueError:
                pass  # libc takes no name there either
        elif keyword in ("domain", "search"):
            most = 1 if keyword == "domain" else MOST_DOMAINS
            domains = [domain.strip(".") for domain in values[:most] if domain.strip(".")]
        elif keyword == "options":
            for option in values:
                name, _, value = option.partition(":")
                if name == "ndots" and value.isascii() and value.isdigit():
                    dots = min(int(value[:3]), MOST_DOTS)
    return SystemResolvers(tuple(addresses) or (TcpAddress("127.0.0.1", DNS_PORT),), tuple(domains), dots)


def candidates(name: str, system: SystemResolvers) -> list[str]:
    """
    The full names that a name may stand for, in the order in which they are to be asked for.

    As in libc a name with a dot at its end stands for itself alone; one with enough dots is tried as it is
    first, any other one last.
    """
    if name.endswith("."):
        return [name[:-1]]
    searched = [f"{name}.{domain}" for domain in system.domains]
    return [name, *searched] if name.count(".") >= system.dots else [*searched, name]


def read_hosts(text: str, name: str) -> tuple[str, ...]:
    """
    The addresses that a hosts(5) file gives a name, in its order; none if the name is not in it.

    What is no address, or one of a zone, is left out.
    """
    wanted = name.rstrip(".").lower()
    found: dict[str, Any] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if wanted in (alias.lower() for alias in names):
            try:
                found[str(ipaddress.ip_address(address))] = None
            except ValueError:
                pass
    return tuple(found)
