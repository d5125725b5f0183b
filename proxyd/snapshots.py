"""
What can be seen of a daemon that runs?

The rooms that do the work make these values of their own state, `proxyd.service` puts them together, and
`proxyd.ops` shows them; neither end knows the other.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional

from attrs import frozen


@frozen
class ListenerSnapshot:
    """
    A listener as it is now: its open connections, and what has passed; ``held`` are kept in its tarpit.
    ``requests`` are under way, None if it does not speak HTTP.

    ``live`` has one ``(pool, server, bytes_in, bytes_out)`` for each connection that is still open and
    has reached a server; what a client has said before is counted with the server that gets it.
    """

    name: str
    open: int
    live: tuple[tuple[str, str, int, int], ...] = ()
    held: int = 0
    requests: Optional[int] = None


@frozen
class ConnectionSnapshot:
    """
    A connection that is open now; the words are those of `Record`, and ``server`` may still be reached for.
    ``started`` is by the clock of deadlines.

    ``client_tcp`` and ``server_tcp`` are what the kernel knows of the two sides, if it was asked and knows.
    """

    listener: str
    client: str
    pool: str
    server: str
    server_address: str
    started: float
    bytes_in: int
    bytes_out: int
    client_tcp: Optional[Mapping[str, float]] = None
    server_tcp: Optional[Mapping[str, float]] = None
    chosen: str = ""


@frozen
class RequestSnapshot:
    """
    A request that is under way now; the words are those of `RequestRecord`, ``started`` is since when, by the
    clock of deadlines.

    ``state`` is what is waited for: its ``head``, who asks (``auth``), a server that has room (``queue``),
    the connection to it (``connect``), the rest of the ``body``, the answer (``wait``), or the rest of that
    (``answer``); or it has become a ``tunnel``.
    """

    listener: str
    client: str
    state: str
    started: float
    bytes_in: int
    bytes_out: int
    method: str = ""
    host: str = ""
    target: str = ""
    version: str = ""
    route: str = ""
    pool: str = ""
    server: str = ""
    server_address: str = ""
    status: int = 0
    retries: int = 0
    chosen: str = ""


@frozen
class ServerSnapshot:
    """
    A server as its pool sees it now: the value of its `proxyd.policy.state.State`, since when, and why.

    ``health`` is what its checks have said last: up, down or checking.  One on ``trial`` was ejected, and has
    to show that it is well again.  ``since`` and ``until`` are wall time; 0 means since the start, and until
    something happens.  ``max_connections`` are those that it may have now, 0 if it has no bound.
    ``tls_failures`` are connections in which TLS with it did not come about, None if it has none.
    """

    pool: str
    name: str
    address: str
    state: str
    weight: int
    backup: bool
    open: int
    why: str = ""
    since: float = 0.0
    until: float = 0.0
    health: str = ""
    effective_weight: float = 1.0
    origin: str = ""
    max_connections: int = 0
    tls_failures: Optional[int] = None
    trial: bool = False


@frozen
class CheckSnapshot:
    """
    A check of a server as it is now, or its agent (then ``kind`` is ``agent``).

    ``address`` is where is looked, and ``state`` what this check alone says: up, down or checking.  ``found``
    is what the last look has found, for people; it ended ``ago_seconds`` ago and took ``took_seconds``, and
    all three are empty before the first.  ``against`` looks in a row have said otherwise than the state,
    of the ``needed`` that change it.  The next one begins in ``next_seconds``, None while one is under way;
    ``rests`` says why no check is made at present.  So many looks have ``passed`` and ``failed``, and so many
    were ``unable`` to learn anything of the server.
    """

    pool: str
    server: str
    check: str
    kind: str
    address: str
    state: str
    found: str = ""
    ago_seconds: Optional[float] = None
    took_seconds: Optional[float] = None
    against: int = 0
    needed: int = 0
    next_seconds: Optional[float] = None
    rests: str = ""
    passed: int = 0
    failed: int = 0
    unable: int = 0


@frozen
class NameSnapshot:
    """
    A name that servers are given by: a host's, or ``srv:`` and a service's.

    ``servers`` are those that it stands for, each its pool and its name.  It is looked up again in
    ``ttl_seconds``.  ``trouble`` says what could not be learnt the last time.  ``lookups`` were made so far,
    and ``failures`` of them had trouble.
    """

    name: str
    servers: tuple[tuple[str, str], ...] = ()
    addresses: tuple[str, ...] = ()
    ttl_seconds: float = 0.0
    trouble: str = ""
    lookups: int = 0
    failures: int = 0


@frozen
class QueueSnapshot:
    """How many wait for a server of a pool that is full, how many may, and how many had to make room."""

    pool: str
    waiting: int
    length: int
    evicted: int = 0


@frozen
class BudgetSnapshot:
    """How many requests of a pool may be asked again now, how many were, and how many were not allowed to."""

    pool: str
    left: int
    spent: int
    refused: int


@frozen
class MaintenanceSnapshot:
    """Whether a pool is in maintenance, and how many clients or requests were turned away for that."""

    pool: str
    on: bool
    turned_away: int


@frozen
class AffinitySnapshot:
    """
    What a pool with affinity remembers now, and what has passed.

    Clients that came back and got the server they had are ``hits``; ``misses`` were not remembered,
    ``spilled`` got another for once because theirs was full.  Entries that ``moved`` have another server from
    then on, ``evicted`` ones had to make room, and ``expired`` ones ran out.
    """

    pool: str
    entries: int
    hits: int
    misses: int
    moved: int
    spilled: int
    evicted: int
    expired: int


@frozen
class CountersSnapshot:
    """How many entries there are, how many there may be, and how many had to make room so far."""

    name: str
    entries: int
    size: int
    evicted: int = 0


@frozen
class DiskSnapshot:
    """
    What is on the disk: how many answers, and the bytes that they use, of so many.

    ``index`` is the memory that is used to know of them, of ``index_size`` bytes; ``evicted`` is how many had
    to make room, ``purged`` how many were found to be purged, and ``skipped`` how many were not written.
    """

    entries: int
    used: int
    size: int
    index: int
    index_size: int
    evicted: int = 0
    purged: int = 0
    skipped: int = 0


@frozen
class CacheSnapshot:
    """
    What is stored: how many answers, and the bytes that they use, of so many.

    ``requests`` has how many had what of it, by the words of `RequestRecord`; ``evicted`` is how many answers
    had to make room so far, ``purged`` how many were thrown away by the operator, and ``saved`` how many
    bytes were sent without asking a server.  ``purging`` says that something that was purged is there still,
    though it is not given any more.  ``disk`` is None where nothing is stored there.
    """

    name: str
    requests: tuple[tuple[str, int], ...]
    entries: int
    used: int
    size: int
    evicted: int = 0
    purged: int = 0
    saved: int = 0
    purging: bool = False
    disk: Optional[DiskSnapshot] = None


@frozen
class SheddingSnapshot:
    """
    How far load is being shed: 0 is not at all, 3 the last step.

    ``taken`` has how often each step was taken, by its word, and ``cut`` how many connections were the worst.
    """

    step: int
    taken: Mapping[str, int]
    cut: int


@frozen
class AcmeSnapshot:
    """
    A certificate that an authority gives out, and what has come of having it renewed.

    ``file`` is where it is.  ``not_after`` is when it expires, 0 while there is none; ``next_at`` when it is
    renewed, or tried again; both are wall time.
    ``renewed`` and ``failed`` count since the start, ``failures`` those in a row, and ``trouble`` is why.
    """

    authority: str
    certificate: str
    file: str
    names: tuple[str, ...]
    not_after: float
    next_at: float
    renewed: int
    failed: int
    failures: int
    trouble: str


@frozen
class CertificateSnapshot:
    """
    A certificate that a listener serves, or, without names, a file of which none could be had.

    ``paths`` are its files, that of the certificate first.  ``not_after`` is wall time.
    ``staple`` says what is known by OCSP, and ``trouble`` what was wrong when the files were read last; then
    the certificate is the one from before.
    """

    listener: str
    paths: tuple[str, ...]
    names: tuple[str, ...] = ()
    key_type: str = ""
    issuer: str = ""
    not_after: float = 0.0
    staple: str = ""
    trouble: str = ""


@frozen
class ReloadSnapshot:
    """How often the certificates of a listener were read again since the start, well or not."""

    listener: str
    taken: int
    refused: int


@frozen
class OcspSnapshot:
    """
    What the authority says of a certificate by OCSP.

    ``until`` is when the response that is sent ends to hold, 0 if there is none; ``next_at`` when the
    authority is asked again at ``url``; both are wall time.  ``fetched`` and ``failed`` count since the
    start.
    """

    file: str
    url: str
    until: float
    next_at: float
    fetched: int
    failed: int
    trouble: str


@frozen
class Snapshot:
    """
    What the daemon is doing at this moment.

    ``lag_seconds`` is how late its reactor ran of late, ``bans`` how many addresses and networks are banned.
    """

    listeners: tuple[ListenerSnapshot, ...]
    servers: tuple[ServerSnapshot, ...]
    lag_seconds: float = 0.0
    queues: tuple[QueueSnapshot, ...] = ()
    counters: tuple[CountersSnapshot, ...] = ()
    affinities: tuple[AffinitySnapshot, ...] = ()
    maintenances: tuple[MaintenanceSnapshot, ...] = ()
    checks: tuple[CheckSnapshot, ...] = ()
    names: tuple[NameSnapshot, ...] = ()
    bans: int = 0
    shedding: Optional[SheddingSnapshot] = None
    acme: tuple[AcmeSnapshot, ...] = ()
    ocsp: tuple[OcspSnapshot, ...] = ()
    certificates: tuple[CertificateSnapshot, ...] = ()
    reloads: tuple[ReloadSnapshot, ...] = ()
    budgets: tuple[BudgetSnapshot, ...] = ()
    caches: tuple[CacheSnapshot, ...] = ()
    compression: tuple[Any, ...] = ()  # of `proxyd.policy.compression.CompressionSnapshot`


TakeSnapshot = Callable[[], Snapshot]
