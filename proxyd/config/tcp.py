"""
What did the operator ask of TCP itself: of segments, windows, timers and addresses?

The options are the same in a ``[listener]`` and in a ``[pool]`` as far as they mean something in both; a
``server`` takes those of its pool as parameters, for itself alone.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Iterator, Mapping, Optional

from attrs import evolve, fields_dict, frozen

from proxyd.config.address import Address, TcpAddress, UnixAddress, ip_address, named
from proxyd.config.options import UNITS, Count, Duration, OneWord, Option, YesNo
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted

CLIENT = "client"  # `source = client`

SEGMENTS = {4: 1460, 6: 1440}  # bytes in a segment of Ethernet, by the version of IP
LEAST_SEGMENT, LARGEST_SEGMENT = 88, 32767  # what Linux takes for TCP_MAXSEG
MOST_SEGMENTS = 10_000
LARGEST_BUFFER = 1 << 30  # the largest window that TCP has (RFC 7323, 2.3)
_LEAST_BUFFER = 1024  # less, the kernel rounds up
_BUFFER = re.compile(r"([0-9]{1,10})(k|K|M|mss|)", re.ASCII)
_BYTES = {"": 1, "k": 1 << 10, "K": 1 << 10, "M": 1 << 20}
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,15}", re.ASCII)  # IFNAMSIZ and TCP_CA_NAME_MAX are 16 with the NUL
_LONGEST_KEEPALIVE = 32767  # seconds (MAX_TCP_KEEPIDLE)
_MOST_PROBES = 127  # MAX_TCP_KEEPCNT
_LONGEST_TIMEOUT = 24 * UNITS["d"]  # the kernel counts milliseconds in 31 bits

_CODE_POINTS = {
    # RFC 2474, 2597, 3246, 5865, 8622
    "cs0": 0, "cs1": 8, "cs2": 16, "cs3": 24, "cs4": 32, "cs5": 40, "cs6": 48, "cs7": 56, "le": 1,
    "af11": 10, "af12": 12, "af13": 14, "af21": 18, "af22": 20, "af23": 22, "af31": 26, "af32": 28,
    "af33": 30, "af41": 34, "af42": 36, "af43": 38, "va": 44, "ef": 46,
}  # fmt: skip


@frozen
class Keepalive:
    """After ``idle`` seconds of silence ``probes`` are sent, one each ``interval`` seconds; then it ends."""

    idle: int = 60  # so a dead peer is noticed after 60 + 4 x 15; the kernel's own 2 h help nobody
    interval: int = 15
    probes: int = 4


KEEPALIVE = Keepalive()


@frozen
class Buffer:
    """An amount of bytes, or of whole segments."""

    amount: int
    segments: bool = False

    def size(self, segment: int) -> int:
        """In bytes, where a segment has so many."""
        return self.amount * segment if self.segments else self.amount

    def __str__(self) -> str:
        return f"{self.amount}mss" if self.segments else str(self.amount)


@frozen(cache_hash=True)
class TcpSpec:
    """
    What is asked of the sockets of a listener or towards a server; 0, "" and None leave it to the kernel.

    Times are seconds.  ``dscp`` is the code point.  ``fastopen`` is how many clients of a listener may wait
    with data in their SYN; towards a server it is 0 or 1.  ``defer_accept`` is a listener's alone, and
    ``source`` (an IP address, or "client") a server's.
    """

    receive_buffer: Optional[Buffer] = None
    send_buffer: Optional[Buffer] = None
    mss: int = 0
    window_clamp: Optional[Buffer] = None
    notsent_lowat: Optional[Buffer] = None
    user_timeout: float = 0.0
    keepalive: Optional[Keepalive] = KEEPALIVE
    congestion_control: str = ""
    dscp: Optional[int] = None
    interface: str = ""
    fastopen: int = 0
    defer_accept: int = 0
    source: str = ""

    @property
    def for_checks(self) -> TcpSpec:
        """
        What is asked for checks: the same way, but not as somebody else, and with a SYN of their own.

        A connection with Fast Open may look as if it stood before the server was asked.
        """
        return evolve(self, fastopen=0, source="" if self.source == CLIENT else self.source)

    def segment(self, version: int) -> int:
        """How many bytes ``mss`` stands for, by the version of IP."""
        return self.mss or SEGMENTS[version]


UNTOUCHED = TcpSpec()


@frozen
class BufferForm(OneWord):
    """A size of a buffer."""

    shape: ClassVar[str] = "bytes, such as `64k` or `1M`, or segments, such as `4mss`"

    def read(self, word: Word) -> Buffer:
        found = _BUFFER.fullmatch(word.text)
        if found is None:
            raise Invalid(f"{quoted(word.text)} is not a size; write 65536, 64k, 1M or 4mss, for example")
        amount, unit = int(found[1]), found[2]
        if unit == "mss":
            if not 1 <= amount <= MOST_SEGMENTS:
                raise Invalid(f"{quoted(word.text)}: it can be 1mss to {MOST_SEGMENTS}mss")
            return Buffer(amount, segments=True)
        amount *= _BYTES[unit]
        if not _LEAST_BUFFER <= amount <= LARGEST_BUFFER:
            raise Invalid(f"{quoted(word.text)} is out of bounds; it can be 1k to {LARGEST_BUFFER >> 20}M")
        return Buffer(amount)


@frozen
class Seconds(Duration):
    """A time that the kernel wants in whole seconds."""

    shape: ClassVar[str] = "a duration of whole seconds"
    longest: int = _LONGEST_KEEPALIVE

    def read(self, word: Word) -> int:
        seconds = super().read(word)
        if seconds != int(seconds):
            raise Invalid(f"{quoted(word.text)} is not whole seconds, and the kernel counts no others")
        if seconds > self.longest:
            raise Invalid(f"{quoted(word.text)} is too long; the longest is {self.longest}s")
        return int(seconds)


@frozen
class Timeout(Duration):
    """A time that the kernel keeps in milliseconds."""

    def read(self, word: Word) -> float:
        seconds = super().read(word)
        if seconds > _LONGEST_TIMEOUT:
            raise Invalid(f"{quoted(word.text)} is too long; the longest is 24d")
        return seconds


@frozen
class KeepaliveForm(OneWord):
    """``IDLE:INTERVAL:PROBES``, as nginx writes it."""

    shape: ClassVar[str] = "`no`, `yes`, or `IDLE:INTERVAL:PROBES`; what is left out is as by default"

    def read(self, word: Word) -> Optional[Keepalive]:
        if word.text in YesNo.WORDS:
            return KEEPALIVE if YesNo.WORDS[word.text] else None
        parts = word.text.split(":")
        if len(parts) > 3:
            raise Invalid(f"{quoted(word.text)} has more than three parts; write 30s:5s:3, for example")
        found: dict[str, int] = {}
        forms: tuple[OneWord, ...] = (Seconds(), Seconds(), Count(1, _MOST_PROBES))
        for name, form, text in zip(fields_dict(Keepalive), forms, parts):
            if text:
                try:
                    found[name] = form.read(evolve(word, text=text))
                except Invalid as why:
                    raise Invalid(f"{name}: {why}") from None
        return Keepalive(**found)


@frozen
class CodePoint(OneWord):
    """A differentiated services code point."""

    shape: ClassVar[str] = "a code point, such as `af21` or `ef`, or its number, 0 to 63"

    def read(self, word: Word) -> int:
        if word.text in _CODE_POINTS:
            return _CODE_POINTS[word.text]
        if not re.fullmatch("[0-9]{1,2}", word.text) or int(word.text) > 63:
            raise Invalid(
                f"{quoted(word.text)} is not a code point; write cs1 to cs7, af11 to af43, ef or 0 to 63"
            )
        return int(word.text)


@frozen
class KernelName(OneWord):
    """The name of something in the kernel, which may not be there."""

    what: str

    @property
    def shape(self) -> str:  # type: ignore[override]
        return f"the name of {self.what}"

    def read(self, word: Word) -> str:
        if not _WORD.fullmatch(word.text):
            raise Invalid(f"{quoted(word.text)} is not the name of {self.what}; it has at most 15 letters")
        return word.text


@frozen
class Source(OneWord):
    """Where connections to servers come from."""

    shape: ClassVar[str] = "an IP address of this host, or `client`"

    def read(self, word: Word) -> str:
        return CLIENT if word.text == CLIENT else ip_address(word.text)


_BUFFERS = (
    Option(
        "receive_buffer",
        BufferForm(),
        "How much the kernel takes in before it is read (SO_RCVBUF). It is the window that peers are offered "
        "in the handshake, in whole segments, and the scale of the window follows from it: below 64k the "
        "window is not scaled. `4mss` is four segments: of `mss`, or else of Ethernet's (1460 bytes, 1440 "
        "for IPv6).",
        "receive_buffer = 4mss",
        otherwise="the kernel's (net.ipv4.tcp_rmem), which grows as it is needed",
    ),
    Option(
        "send_buffer",
        BufferForm(),
        "How much the kernel takes of what is sent before the peer has acknowledged it (SO_SNDBUF).",
        "send_buffer = 256k",
        otherwise="the kernel's (net.ipv4.tcp_wmem), which grows as it is needed",
    ),
    Option(
        "mss",
        Count(LEAST_SEGMENT, LARGEST_SEGMENT),
        "The largest segment, in bytes: the one that is advertised in the handshake, and the largest that is "
        "sent (TCP_MAXSEG). It only ever makes segments smaller than the interface would.",
        "mss = 1380",
        otherwise="what the interface's MTU leaves",
    ),
    Option(
        "window_clamp",
        BufferForm(),
        "The largest window that is ever advertised (TCP_WINDOW_CLAMP), and so what its scale is made for. "
        "Newer kernels heed it in the handshake alone; `receive_buffer` bounds the window afterwards.",
        "window_clamp = 64k",
        otherwise="the window is as large as the receive buffer",
    ),
    Option(
        "notsent_lowat",
        BufferForm(),
        "So much may wait in the kernel that has not been sent at all (TCP_NOTSENT_LOWAT); more is refused "
        "until it has left. It saves memory where many peers are slow.",
        "notsent_lowat = 16k",
        otherwise="the kernel's (net.ipv4.tcp_notsent_lowat): no bound but the send buffer",
    ),
)

_TIMERS = (
    Option(
        "user_timeout",
        Timeout(),
        "What was sent and has not been acknowledged for so long ends the connection (TCP_USER_TIMEOUT, RFC "
        "5482); the same time takes the place of the number of keepalive probes.",
        "user_timeout = 30s",
        otherwise="the kernel tries for about 15 minutes (net.ipv4.tcp_retries2)",
    ),
    Option(
        "keepalive",
        KeepaliveForm(),
        "Peers that have vanished are noticed by TCP keepalive: after so long a silence, with so many probes "
        "at this interval.",
        "keepalive = 30s:5s:3",
        default="60s:15s:4",
    ),
)

_PATH = (
    Option(
        "congestion_control",
        KernelName("a congestion control"),
        "By which algorithm the kernel decides how fast to send (TCP_CONGESTION).",
        "congestion_control = bbr",
        otherwise="the kernel's (net.ipv4.tcp_congestion_control)",
    ),
    Option(
        "dscp",
        CodePoint(),
        "How packets are marked for the network: the upper six bits of IPv4's TOS and IPv6's traffic class.",
        "dscp = af21",
        otherwise="no mark",
    ),
)

LISTENER_OPTIONS = (
    *_BUFFERS,
    *_TIMERS,
    *_PATH,
    Option(
        "defer_accept",
        Seconds(longest=3600),
        "A client counts as connected when its first bytes are there, or after about so long "
        "(TCP_DEFER_ACCEPT). Only where clients speak first.",
        "defer_accept = 5s",
        otherwise="it counts as soon as the handshake is done",
    ),
    Option(
        "fastopen",
        Count(1, 65535),
        "Clients may send their first bytes with the SYN (TCP Fast Open, RFC 7413); so many of them may wait "
        "for the rest of their handshake. The bytes may come twice, so what they ask for has to bear that.",
        "fastopen = 256",
        otherwise="no Fast Open",
    ),
    Option(
        "interface",
        KernelName("a network interface"),
        "Only clients that come in by this interface are let in (SO_BINDTODEVICE); also the name of a VRF.",
        "interface = eth1",
        otherwise="any interface",
    ),
)

SERVER_OPTIONS = (
    *_BUFFERS,
    *_TIMERS,
    *_PATH,
    Option(
        "fastopen",
        YesNo(),
        "What a client has said goes to a server that has shown a cookie before with the SYN (TCP Fast Open, "
        "RFC 7413). Only where clients speak first: nothing is sent before they do. A server that is not "
        "there then looks as if it had reset the connection, and no other is tried.",
        "fastopen = yes",
        default="no",
    ),
    Option(
        "interface",
        KernelName("a network interface"),
        "Servers are reached by this interface (SO_BINDTODEVICE); also the name of a VRF.",
        "interface = eth1",
        otherwise="the one that the routing table says",
    ),
    Option(
        "source",
        Source(),
        "The address that connections to servers come from. With `client` it is the client's own, without "
        "its port (IP_TRANSPARENT): the servers' answers have to be led back through this host.",
        "source = 10.0.0.5",
        otherwise="the one that the routing table says",
    ),
)

SERVER_PARAMETERS = tuple(
    evolve(
        option,
        doc=f"What `{option.name}` of the pool is, for this server alone.",
        example=option.example.replace(" = ", "="),
        default="",
        otherwise="as in the pool",
    )
    for option in SERVER_OPTIONS
)


def asked(given: dict[str, Any]) -> dict[str, Any]:
    """Take the values that a `TcpSpec` is made of out of those of a section, or of a server."""
    return {name: given.pop(name) for name in fields_dict(TcpSpec) if name in given}


def for_unix(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is asked of TCP where there is none: each an option, and what is wrong with it."""
    return ((name, "means nothing on a unix socket") for name in fields_dict(TcpSpec) if name in given)


def unfit(server: Mapping[str, Any], pools: Mapping[str, Any]) -> Iterator[str]:
    """What of a server's own values, and of its pool's, means nothing or cannot be for its address."""
    address: Address = server["address"]
    if isinstance(address, UnixAddress):
        yield from (f"{name} {text}" for name, text in for_unix(server))
    if not isinstance(address, TcpAddress):
        return
    source = server.get("source", pools.get("source", CLIENT))
    if source != CLIENT and not named(address) and (":" in source) != (":" in address.host):
        yield f"cannot be reached from source {source}, which is of another version of IP"
