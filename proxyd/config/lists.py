"""
What did the operator say of who may come?  ``allow``, ``deny``, and the ``[list NAME]`` section.

The files that lists are kept in are read here as well, a slice at a time: who serves clients meanwhile does
some of that, and then something else.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from typing import Iterator, Optional, Sequence, Union

from attrs import frozen

from proxyd.config.address import file_path
from proxyd.config.options import NAME, Fail, Form, Option, unfit_name, unknown
from proxyd.config.proxyprotocol import Network, NetworkForm
from proxyd.config.reader import Entry, Word
from proxyd.config.words import Invalid, quoted
from proxyd.errors import Problem

ALL = "all"
UNIX = "unix"
ACCESS = ("allow", "deny")
CLIENT = "client"
MAINTENANCE_ALLOW = "maintenance_allow"
NAMING = (*ACCESS, CLIENT, MAINTENANCE_ALLOW)  # what may name lists
LIST_SIGN = "@"
FILE = "file:"

# A network as a record: the bytes of its address, and one with the length of its prefix.
RECORD4 = 5
MAPPED = b"\0" * 10 + b"\xff\xff"  # what IPv6 has before an IPv4 address (RFC 4291 2.5.5.2)

MAX_NETWORKS = 4_000_000  # in one file; as many take 32 MB as IPv4, and the longest lists there are have less
MAX_PROBLEMS = 20  # of one file; after so many it is not read on
_SLICE = 8192  # bytes of a file, which hold some hundred networks and take less than a millisecond
_LONGEST_LINE = 1000
_COMMENT = re.compile(rb"[#;].*", re.DOTALL)
_ALL_ONES = (1 << 128) - 1
_IPV6 = re.compile(rb"([0-9A-Fa-f:]{2,39})(?:/([0-9]{1,3}))?")
_IPV4 = re.compile(
    rb"(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})(?:/([0-9]{1,2}))?"
)


@frozen
class Clients:
    """Who is meant by the words of one line: networks, named lists, files, and the words for the rest."""

    networks: tuple[Network, ...] = ()
    lists: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    unix: bool = False
    everybody: bool = False


@frozen
class Rule:
    """One line of ``allow`` or ``deny``."""

    allow: bool
    clients: Clients

    @property
    def word(self) -> str:
        """The option that it was written as."""
        return "allow" if self.allow else "deny"


@frozen
class ListSpec:
    """One ``[list NAME]``."""

    name: str
    networks: Clients


def access_faults(entries: Sequence[Entry], known: Sequence[str]) -> Iterator[tuple[str, int, str]]:
    """What is wrong with the lines of ``allow`` and ``deny`` of a section: option, line, and what it is."""
    last: Optional[Entry] = None
    for entry in entries:
        if entry.key not in NAMING:
            continue
        if last is not None:
            yield entry.key, entry.line, f"is never reached: {last.key} in line {last.line} is for all"
        for word in entry.words:
            if word.text.startswith(LIST_SIGN) and word.text[1:] not in known:
                yield entry.key, word.line, unknown(word.text[1:], known)
        if last is None and ALL in [word.text for word in entry.words]:
            last = entry


def rest_allowed(rules: Sequence[Rule]) -> bool:
    """Whether those are let in whom no line names: the opposite of what the last line says."""
    return not rules or not rules[-1].allow


def shown(clients: Clients) -> list[str]:
    """Who is meant, in the words that it may be written in."""
    words = [
        str(network.network_address if network.prefixlen == network.max_prefixlen else network)
        for network in clients.networks
    ]
    words += [f"@{name}" for name in clients.lists] + [f"file:{path}" for path in clients.paths]
    return words + ["unix"] * clients.unix + ["all"] * clients.everybody


class ClientsForm(Form):
    """Networks, files, and, but for a list, names of lists; for a `Rule` the word for all, too."""

    def __init__(self, option: str) -> None:
        """``option`` is what the words stand behind; those of ``allow`` and ``deny`` make a `Rule`."""
        self._option = option
        self._rule = option in ACCESS
        self._names = option in NAMING

    @property
    def shape(self) -> str:  # type: ignore[override]
        some = "networks such as `10.0.0.0/8` and `fd00::/8`, single addresses, "
        files = "`unix` for clients on unix sockets, `file:PATH` for the networks in a file"
        if not self._names:
            return some + files
        return f"{some}{files}, `@NAME` for those of a `[list NAME]`{', or `all`' * self._rule}"

    def parse(self, words: Sequence[Word], fail: Fail) -> Union[Clients, Rule]:
        found: dict[object, None] = {}
        for word in words:
            try:
                one = self._read(word)
            except Invalid as why:
                fail(word.line, str(why))
                continue
            if one in found:
                fail(word.line, f"{quoted(word.text)} is given twice")
            found[one] = None
        texts = [one for one in found if isinstance(one, str)]
        clients = Clients(
            tuple(one for one in found if isinstance(one, (ipaddress.IPv4Network, ipaddress.IPv6Network))),
            tuple(text[1:] for text in texts if text.startswith(LIST_SIGN)),
            tuple(text[len(FILE) :] for text in texts if text.startswith(FILE)),
            UNIX in texts,
            ALL in texts,
        )
        return Rule(self._option == "allow", clients) if self._rule else clients

    def _read(self, word: Word) -> object:
        text = word.text
        if text == UNIX or (text == ALL and self._rule):
            return text
        if text.startswith(LIST_SIGN) and self._names:
            if not NAME.fullmatch(text[1:]):
                raise Invalid(unfit_name(text[1:]))
            return text
        if text.startswith(FILE):
            if len(text) == len(FILE) or text.endswith("/"):
                raise Invalid(
                    f"{quoted(text)} names no file; write file:/etc/proxyd/blocked.txt, for example"
                )
            return FILE + file_path(text[len(FILE) :], word)
        if self._names and NAME.fullmatch(text) and not re.search("[.:]|^[0-9]", text):
            raise Invalid(f"{quoted(text)} is not known; for the networks of [list {text}] write @{text}")
        return NetworkForm().read(word)


OPTIONS = (
    Option(
        "networks",
        ClientsForm("networks"),
        "Whose addresses are in the list. A file has one network or address on each line, blank lines, and "
        "comments behind `#` or `;`; it may have up to 4 million lines. It is read again within some seconds "
        "when it has changed; if it cannot be used then, the log says why, and what was read before holds.",
        "networks = 192.0.2.0/24 file:/etc/proxyd/blocked.txt",
        required=True,
    ),
)


def record_of(network: Network) -> bytes:
    """A network as a record."""
    return network.network_address.packed + bytes((network.prefixlen,))


def record_in(line: bytes) -> bytes:
    """
    The record of the network on a line of a file; empty if there is none.  Raises `Invalid`.

    `ipaddress` takes 5 to 15 us for a line, so it is only asked about what would be wrong.
    """
    text = line.strip()
    if b"#" in text or b";" in text:
        text = _COMMENT.sub(b"", text).strip()
    if not text:
        return b""
    record = _ipv6(text) if b":" in text else _ipv4(text)
    return record or record_of(NetworkForm().read(Word(text.decode("utf-8", "backslashreplace"), "", 0)))


def _ipv4(text: bytes) -> bytes:
    """The record of an IPv4 network; empty if it is none."""
    found = _IPV4.fullmatch(text)
    if found is None:
        return b""
    *octets, prefix = found.groups()
    length = 32 if prefix is None else int(prefix)
    numbers = [*map(int, octets)]
    if max(numbers) > 255 or length > 32:
        return b""
    address = bytes(numbers)
    if length < 32 and int.from_bytes(address, "big") << length & 0xFFFF_FFFF:
        return b""
    return address + bytes((length,))


def _ipv6(text: bytes) -> bytes:
    """The record of an IPv6 network; empty if it is none, or none that is written plainly."""
    found = _IPV6.fullmatch(text)
    if found is None:
        return b""
    before, gap, after = found[1].decode("ascii").partition("::")
    left, right = before.split(":") if before else [], after.split(":") if after else []
    missing = 8 - len(left) - len(right)
    length = int(found[2] or 128)
    if (
        length > 128
        or (missing < 1 if gap else missing)
        or not all(0 < len(part) < 5 for part in left + right)
    ):
        return b""
    address = bytes.fromhex("".join([part.zfill(4) for part in [*left, *("0" * missing), *right]]))
    if address.startswith(MAPPED) or int.from_bytes(address, "big") << length & _ALL_ONES:
        return b""
    return address + bytes((length,))


def read_slices(path: str, problems: list[Problem]) -> Iterator[list[bytes]]:
    """
    The records of the networks in a file, in slices of some hundred; what is wrong goes to ``problems``.

    What comes is of use only if there was no problem when all has come.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Invalid("is a folder, not a file" if os.path.isdir(path) else "is not a regular file")
        with open(path, "rb") as file:
            yield from _Slices(path, problems).of(iter(lambda: file.read(_SLICE), b""))
    except Invalid as why:
        problems.append(Problem(path, 0, str(why)))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        text = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        problems.append(Problem(path, 0, text))


class _Slices:
    """The lines of one file while they are read."""

    def __init__(self, path: str, problems: list[Problem]) -> None:
        self._path = path
        self._problems = problems
        self._line = 0
        self._count = 0

    def of(self, pieces: Iterator[bytes]) -> Iterator[list[bytes]]:
        before = len(self._problems)
        rest = b""
        for piece in pieces:
            *lines, rest = (rest + piece).split(b"\n")
            yield self._records(lines)
            if len(rest) > _LONGEST_LINE:
                self._note(1, f"is longer than {_LONGEST_LINE} letters, so this is hardly a list of networks")
                return
            if self._count > MAX_NETWORKS:
                raise Invalid(f"has more than {MAX_NETWORKS} networks")
            if len(self._problems) - before >= MAX_PROBLEMS:
                self._problems[before + MAX_PROBLEMS :] = [Problem(self._path, 0, "is not read any further")]
                return
        yield self._records([rest])

    def _records(self, lines: Sequence[bytes]) -> list[bytes]:
        records = []
        for place, line in enumerate(lines, 1):
            try:
                record = record_in(line)
            except Invalid as why:
                self._note(place, str(why))
                continue
            if record:
                records.append(record)
        self._line += len(lines)
        self._count += len(records)
        return records

    def _note(self, place: int, text: str) -> None:
        self._problems.append(Problem(self._path, self._line + place, text))
