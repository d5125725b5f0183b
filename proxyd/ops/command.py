"""What is a command of the running daemon: its name, its parameters, and what it is given to steer?"""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator, Mapping, Optional, Sequence

from attrs import Factory, frozen

from proxyd.config.listener import ListenerSpec
from proxyd.config.options import unknown
from proxyd.policy.bans import Ban, Bans
from proxyd.policy.counters import Counters
from proxyd.policy.pool import Pool
from proxyd.snapshots import (
    AcmeSnapshot,
    CertificateSnapshot,
    CheckSnapshot,
    ConnectionSnapshot,
    NameSnapshot,
    OcspSnapshot,
    RequestSnapshot,
)
from proxyd.walltime import WallTime

LONGEST_REASON = 200  # letters

SHAPES = {str: "a text", int: "a whole number", bool: "true or false"}

NOBODY_KNOWN = "somebody"  # the kernel of this host does not tell who has connected


class Declined(Exception):
    """A request that is not done: a ``code`` for programs, and for people what would be right."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@frozen
class Caller:
    """Who asks: a user, the process that connected, and as whom its session logged in, if that is known."""

    uid: int
    pid: int
    login: Optional[int] = None

    def __str__(self) -> str:
        other = self.login not in (None, self.uid)
        return f"uid {self.uid}, logged in as uid {self.login}" if other else f"uid {self.uid}"


@frozen
class Steered:
    """
    What there is to see and to steer.

    ``seconds`` is the time that the pools go by, and ``started`` when it all began; ``wall`` is what people
    go by.  ``listeners`` tells each
    listener with the number of its open connections, ``max_connections`` is how many there may be in all.
    ``connections`` tells those of a listener (of all, if it is "") one after another, with what the kernel
    knows of them if that is wanted, and ``requests`` those of HTTP that are under way for so many seconds.
    ``checks`` is what checks have found last, ``changes`` are `proxyd.ops.changes.Changes`, and ``names`` is
    what is known of the names of servers.  ``cut`` ends the connections of whom a ban names, and
    returns how many there were.  ``counters`` are the tables of what
    clients do.  ``acme`` is how the certificates are that authorities give out, ``ocsp`` what these say of
    them, and ``certificates`` those that TLS ends with here.  ``caches`` are `proxyd.ops.cache.Purgeable`, by
    their names.
    """

    pools: Mapping[str, Pool]
    seconds: Callable[[], float]
    wall: WallTime
    started: float = 0.0
    listeners: Callable[[], Iterable[tuple[ListenerSpec, int]]] = tuple
    max_connections: int = 0
    connections: Callable[[str, bool], Iterator[ConnectionSnapshot]] = lambda listener, tcp: iter(())
    requests: Callable[[str, float], Iterator[RequestSnapshot]] = lambda listener, older: iter(())
    checks: Callable[[], Iterable[CheckSnapshot]] = tuple
    changes: Iterable[Any] = ()
    names: Callable[[], Iterable[NameSnapshot]] = tuple
    bans: Bans = Factory(lambda: Bans(1))
    cut: Callable[[Ban], int] = lambda ban: 0
    counters: Sequence[Counters] = ()
    acme: Callable[[], Iterable[AcmeSnapshot]] = tuple
    ocsp: Callable[[], Iterable[OcspSnapshot]] = tuple
    certificates: Callable[[], Iterable[CertificateSnapshot]] = tuple
    caches: Mapping[str, Any] = Factory(dict)

    def pool(self, name: str) -> Pool:
        """The pool of that name.  Raises `Declined`."""
        pool = self.pools.get(name)
        if pool is None:
            raise Declined("unknown_pool", f"pool: {unknown(name, self.pools)}")
        return pool


@frozen
class Parameter:
    """A parameter of a command; ``kind`` is one of `SHAPES`, and ``doc`` says what it is, with an example."""

    name: str
    doc: str
    kind: type = str
    required: bool = False


Given = Mapping[str, Any]
Answer = dict[str, Any]
Run = Callable[[Steered, Given, Optional[Caller]], Answer]


@frozen
class Command:
    """One thing that can be asked."""

    name: str
    doc: str
    run: Run
    parameters: tuple[Parameter, ...] = ()

    def given(self, request: Mapping[str, Any]) -> Given:
        """The values of the parameters in a request.  Raises `Declined`."""
        known = {parameter.name: parameter for parameter in self.parameters}
        for name, value in request.items():
            if name not in known:
                raise Declined("unknown_parameter", f"{self.name}: {unknown(name, known)}")
            if type(value) is not known[name].kind:  # and not isinstance: true is no number
                shape = SHAPES[known[name].kind]
                raise Declined("bad_parameter", f"{self.name}: {name} is {shape}: {known[name].doc}")
        for parameter in self.parameters:
            if parameter.required and parameter.name not in request:
                text = f"{self.name}: {parameter.name} is missing: {parameter.doc}"
                raise Declined("missing_parameter", text)
        return request
