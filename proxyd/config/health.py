"""What did the operator ask of the health checks?  The ``check =`` of a pool."""

from __future__ import annotations

from typing import Any, ClassVar, Optional, Sequence

from attrs import evolve, frozen

from proxyd.config.address import Address, Port, ServerAddress, at_port
from proxyd.config.options import (
    Count,
    Duration,
    Fail,
    Flag,
    Form,
    Option,
    Variant,
    parameters,
    show_duration,
    unknown,
)
from proxyd.config.probes import KINDS, VARIANTS, Kind, TcpAsk
from proxyd.config.reader import Word

_MOST = 1000


@frozen
class CheckSpec:
    """
    How the servers of a pool are checked.

    ``name`` is empty if there is no other check.  ``interval`` and ``timeout`` are seconds; ``rise`` checks
    in a row that pass bring a server up, ``fall`` that fail take it down (HAProxy's words and counts).
    ``fast`` and ``slow`` are intervals for servers that are changing and that are down (HAProxy's fastinter
    and downinter).  ``max_rise`` is what ``rise`` grows to for servers that keep falling.  ``ask`` is the
    value of the kind, from `proxyd.config.probes`.
    """

    kind: str = "tcp"
    interval: float = 5.0
    timeout: float = 2.0
    rise: int = 2
    fall: int = 3
    fast: Optional[float] = None
    slow: Optional[float] = None
    port: Optional[int] = None
    address: Optional[Address] = None
    send_proxy: bool = False
    over_tls: bool = False
    ask: Any = TcpAsk()
    max_rise: int = 32
    name: str = ""

    def target(self, server: Address) -> Address:
        """Where a server is checked."""
        return at_port(server, self.port) if self.address is None else self.address

    @property
    def elsewhere(self) -> bool:
        """Whether servers are checked elsewhere than where clients are led."""
        return self.port is not None or self.address is not None


PARAMETERS = (
    Option(
        "interval",
        Duration(),
        "The time from one check of a server to the next, give or take a fifth.",
        "interval=10s",
        default="5s",
    ),
    Option(
        "timeout",
        Duration(),
        "A check that has no answer by then has failed. It must be shorter than the interval; if it is not "
        "given, it is at most half of it.",
        "timeout=500ms",
        default="2s",
    ),
    Option(
        "rise",
        Count(1, _MOST),
        "So many checks in a row must pass to bring a server up.",
        "rise=3",
        default="2",
    ),
    Option(
        "max_rise",
        Count(1, _MOST),
        "A server that falls again before 60 checks have passed needs twice as many to come up as the time "
        "before, but no more than this; the same number as `rise`, or a smaller one, turns that off.",
        "max_rise=8",
        default="32",
    ),
    Option(
        "fall",
        Count(1, _MOST),
        "So many checks in a row must fail to take a server down.",
        "fall=2",
        default="3",
    ),
    Option(
        "fast",
        Duration(),
        "The interval while a server is changing: it has begun to fail, or to pass again.",
        "fast=1s",
        otherwise="the interval",
    ),
    Option(
        "slow",
        Duration(),
        "The interval while a server is down.",
        "slow=30s",
        otherwise="the interval",
    ),
    Option(
        "port",
        Port(),
        "Servers are checked on this port of theirs.",
        "port=8008",
        otherwise="the port that clients are led to",
    ),
    Option(
        "address",
        ServerAddress(),
        "All servers are checked there.",
        "address=10.0.0.9:8008",
        otherwise="where clients are led to",
    ),
    Option(
        "send_proxy",
        Flag(),
        "Checks on another port or address begin with the PROXY header that the pool asks for, too.",
        "send_proxy",
        otherwise="only checks where clients are led to do",
    ),
    Option(
        "over_tls",
        Flag(),
        "Checks on another port or address are made over TLS as the pool's `tls` asks for it, too.",
        "over_tls",
        otherwise="only checks where clients are led to are",
    ),
)


_COMMON = {option.name for option in PARAMETERS}


class Check(Form):
    """``KIND interval=5s timeout=2s rise=2 fall=3``, with the parameters of the kind."""

    shape: ClassVar[str] = "the kind of check, then any of its parameters below"
    parameters: ClassVar[tuple[Option, ...]] = PARAMETERS
    variants: ClassVar[tuple[Variant, ...]] = VARIANTS

    def parse(self, words: Sequence[Word], fail: Fail) -> Optional[CheckSpec]:
        first, *rest = words
        if "=" in first.text:
            fail(first.line, "begins with the kind of check; write tcp before the parameters")
            return None
        kind = KINDS.get(first.text)
        if kind is None:
            fail(first.line, unknown(first.text, KINDS))
            parameters([word for word in rest if _name(word) in _COMMON], PARAMETERS, fail)
            return None
        ours = [word for word in rest if not _misplaced(word, first.text, fail)]
        values = parameters(ours, (*PARAMETERS, *kind.parameters), fail)
        if values is None or len(ours) < len(rest):
            return None
        names = {option.into or option.name for option in kind.parameters}
        asked = {name: value for name, value in values.items() if name in names}
        common = {name: value for name, value in values.items() if name not in names}
        if not _complete(kind, asked, first.line, fail):
            return None
        return _timed(CheckSpec(first.text, ask=kind.ask(**asked), **common), common, first.line, fail)


def _name(word: Word) -> str:
    return word.text.partition("=")[0]


def _misplaced(word: Word, kind: str, fail: Fail) -> bool:
    """Whether a parameter belongs to other kinds only."""
    name = _name(word)
    owners = [other for other in KINDS if any(option.name == name for option in KINDS[other].parameters)]
    if not owners or kind in owners or name in _COMMON:
        return False
    fail(word.line, f"{name} is not for {kind}; it is a parameter of {', '.join(owners)}")
    return True


def _complete(kind: Kind, asked: dict[str, Any], line: int, fail: Fail) -> bool:
    """Whether all is there that the kind needs, and goes together."""
    faults = [
        f"{option.name} is missing; write {option.example}, for example"
        for option in kind.parameters
        if option.required and (option.into or option.name) not in asked
    ]
    for fault in (*faults, *kind.contradictions(asked)):
        fail(line, fault)
        faults.append(fault)
    return not faults


def _timed(spec: CheckSpec, given: dict[str, Any], line: int, fail: Fail) -> CheckSpec:
    """The spec, once its timeout is judged; and where the checks go."""
    if "port" in given and "address" in given:
        fail(line, "port and address do not go together; the address has a port of its own")
    if spec.send_proxy and not spec.elsewhere:
        fail(line, "send_proxy is for checks with port or address; the others begin with the header anyway")
    if spec.over_tls and not spec.elsewhere:
        fail(line, "over_tls is for checks with port or address; the others are over TLS anyway")
    if "timeout" not in given:
        return evolve(spec, timeout=min(spec.timeout, spec.interval / 2))
    if spec.timeout >= spec.interval:
        interval = show_duration(spec.interval)
        text = f"interval={interval}" if "interval" in given else f"the interval, {interval} if not given"
        fail(line, f"timeout={show_duration(spec.timeout)} must be shorter than {text}")
    return spec
