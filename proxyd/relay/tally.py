"""
What has each client of a listener done, and what follows from that?

A session is counted in when it begins, and its client as soon as it is known: at once, or where a balancer
tells of it when the PROXY header was read.  Whoever was counted in is counted out by the record.  Rules of
tables that fire are carried out here.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Sequence

from attrs import define
from twisted.logger import Logger

from proxyd.config.counters import BAN, SNI
from proxyd.errors import Fault, Reason, Refused
from proxyd.policy.admission import Refusal
from proxyd.policy.bans import Ban, Bans
from proxyd.policy.counters import Counters, Entry, Fired, shown
from proxyd.policy.limits import Limits, network_of_key, prefix_of
from proxyd.records import Record
from proxyd.walltime import WallTime

# Ends that show that a client does not speak what the listener expects.
PROTOCOL_ERRORS = frozenset(
    {
        Reason.PROXY_MALFORMED,
        Reason.PROXY_UNTRUSTED,
        Reason.TLS_MALFORMED,
        Reason.OPENING_TIMEOUT,
        Reason.REQUEST_MALFORMED,
        Reason.REQUEST_TIMEOUT,
    }
)

# A client that does not like our certificate says so, and is no scanner.
BY_THE_CLIENT = "(alert from the client)"

# Refusals that mean that a limit is too low, or somebody too greedy: an operator wants to know which.
LIMITS = frozenset(
    {
        Reason.LISTENER_FULL,
        Reason.LISTENER_RATE,
        Reason.HANDSHAKES,
        Reason.CLIENT_FULL,
        Reason.CLIENT_RATE,
        Reason.RULE_DENIED,
        Reason.QUEUE_FULL,
        Reason.QUEUE_TIMEOUT,
    }
)

QUIET_SECONDS = 60.0  # a flood must not flood the log

log = Logger(__name__)


@define
class Counted:
    """What one session was counted in."""

    key: Optional[bytes] = None  # the client to the limits, once it is known
    entries: tuple[tuple[Counters, Entry], ...] = ()


class Complaints:
    """Says which limit of a listener refuses clients: the first time, and then once a minute."""

    def __init__(self, listener: str, seconds: Callable[[], float]) -> None:
        self._listener = listener
        self._seconds = seconds
        self._told: dict[Reason, float] = {}  # when it was last told
        self._since: dict[Reason, int] = {}  # how many were refused since

    def about(self, reason: Reason, detail: str) -> None:
        """A client was refused."""
        if reason not in LIMITS:
            return
        now = self._seconds()
        told = self._told.get(reason)
        if told is not None and now - told < QUIET_SECONDS:
            self._since[reason] = self._since.get(reason, 0) + 1
            return
        self._told[reason] = now
        since = self._since.pop(reason, 0)
        more = f" (and {since} since this was last said)" if since else ""
        self.say(f"clients are refused, {reason.code}: {detail}{more}")

    def say(self, text: str) -> None:
        """Say it in the log."""
        log.warn("[listener {listener}] {text}", listener=self._listener, text=text)


class Tally:
    """The counts of one listener: its own, and the tables that it shares with others."""

    def __init__(
        self,
        name: str,
        limits: Limits,
        tables: Sequence[Counters],
        bans: Bans,
        seconds: Callable[[], float],
        wall: WallTime,
    ) -> None:
        self.limits = limits
        self._name = name
        self._by_source = [table for table in tables if table.spec.key != SNI]
        self._by_name = [table for table in tables if table.spec.key == SNI]
        self._bans = bans
        self._seconds = seconds
        self._wall = wall

    @property
    def none(self) -> bool:
        """Whether nothing is to be counted."""
        return self.limits.none and not (self._by_source or self._by_name)

    def refusal(self, client: bytes) -> Optional[Refusal]:
        """Why a client may not come in, by what it has done and what it has open."""
        now = self._seconds()
        for table in self._by_source:
            rule = table.denies(prefix_of(client, table.spec.prefix4, table.spec.prefix6), now)
            if rule is not None:
                return Refusal(Reason.RULE_DENIED, f"counters {table.spec.name}, rule {rule.name}: {rule}")
        return self.limits.client_refusal(self.limits.key_of(client), now)

    def begin(self) -> Counted:
        """A session has begun."""
        self.limits.open += 1
        return Counted()

    def known(self, counted: Counted, client: bytes) -> None:
        """It is known whose it is."""
        counted.key = self.limits.key_of(client)
        self.limits.client_entered(counted.key)
        for table in self._by_source:
            self._count(counted, table, prefix_of(client, table.spec.prefix4, table.spec.prefix6))

    def asked_for(self, counted: Counted, name: str) -> None:
        """It is known which name the client asks for.  Raises `Refused`."""
        for table in self._by_name:
            rule = table.denies(name, self._seconds())
            if rule is not None:
                detail = f"counters {table.spec.name}, rule {rule.name}: {rule}"
                raise Refused(Reason.RULE_DENIED, detail)
            self._count(counted, table, name)

    def end(self, counted: Counted, record: Record) -> None:
        """The session has ended."""
        self.limits.open -= 1
        if counted.key is not None:
            self.limits.client_left(counted.key)
        now, reason = self._seconds(), record.reason
        for table, entry in counted.entries:
            fired = table.closed(
                entry,
                now,
                reason.fault is Fault.CLIENT,
                reason in PROTOCOL_ERRORS or _broke_tls(record),
                record.bytes_in,
                record.bytes_out,
            )
            self._carry_out(table, fired)

    def _count(self, counted: Counted, table: Counters, key: Any) -> None:
        entry, fired = table.opened(key, self._seconds())
        counted.entries = (*counted.entries, (table, entry))
        self._carry_out(table, fired)

    def _carry_out(self, table: Counters, fired: Sequence[Fired]) -> None:
        for one in fired:
            rule, spec, key = one.rule, table.spec, one.key
            if rule.action == BAN and isinstance(key, bytes):
                if not key:
                    continue  # a client of a unix socket has no address that could be banned
                network = network_of_key(key, spec.prefix4, spec.prefix6)
                why = f"counters {spec.name}, rule {rule.name}: {rule}"
                self._bans.add(Ban(network, self._wall.now() + rule.seconds, why))
            log.warn(
                "[listener {listener}] {who}: rule {rule} of counters {table}, {text}; it is {amount}",
                listener=self._name,
                who=shown(spec, key),
                rule=rule.name,
                table=spec.name,
                text=str(rule),
                amount=one.amount,
            )


def _broke_tls(record: Record) -> bool:
    """Whether its TLS handshake failed by what the client sent."""
    return record.reason is Reason.TLS_HANDSHAKE and not record.detail.endswith(BY_THE_CLIENT)
