"""What did the operator ask of a pool?  The ``[pool NAME]`` section."""

from __future__ import annotations

from typing import Any, ClassVar, Iterator, Mapping, Optional, Sequence

from attrs import evolve, frozen

from proxyd.config import maintenance, retries
from proxyd.config.adaptive import AdaptiveSpec, MaxConnections
from proxyd.config.address import Address, ServerAddress, SrvAddress, TcpAddress, UnixAddress, named
from proxyd.config.affinity import COOKIE, TLS_SESSION, Affinity, AffinitySpec
from proxyd.config.agent import AgentCheck, AgentSpec
from proxyd.config.agent import unfit as unfit_agent
from proxyd.config.balance import FIRST_BYTE, RAMPED, Balance, BalanceSpec
from proxyd.config.combination import Combination, Combined
from proxyd.config.ejection import Ejection, EjectSpec
from proxyd.config.errorpage import ErrorPageSpec
from proxyd.config.failover import KEEP, ON_UP, OnDown
from proxyd.config.health import Check, CheckSpec
from proxyd.config.http import POOL_OPTIONS
from proxyd.config.lists import Clients
from proxyd.config.maintenance import RETRY_AFTER
from proxyd.config.options import (
    Choice,
    Count,
    Duration,
    Fail,
    Flag,
    Form,
    Option,
    Percent,
    YesNo,
    parameters,
)
from proxyd.config.proxyprotocol import Header, ProxyOut
from proxyd.config.queue import Queue, QueueSpec
from proxyd.config.reader import Word
from proxyd.config.retries import BudgetSpec, RetryOnSpec
from proxyd.config.servertls import SERVER_PARAMETERS as TLS_PARAMETERS
from proxyd.config.servertls import ServerTls, ServerTlsSpec
from proxyd.config.servertls import unfit as unfit_tls
from proxyd.config.tcp import SERVER_OPTIONS, SERVER_PARAMETERS, TcpSpec, unfit

HEAVIEST = 256  # as in HAProxy

FIRST, ALL = "first", "all"


@frozen
class ServerSpec:
    """
    One ``server NAME = ADDRESS weight=N backup`` of a pool; weight 0 gets no new connections.

    Servers of a lower ``priority`` come first; ``max_connections`` is 0 if there is no bound, and the highest
    that there may be if it is ``adaptive``.  With ``resolve`` all, the addresses of its name are servers of
    their own.  ``origin`` is the name and port that the address was found for, None where it is written in
    the configuration.  ``tcp`` is what is asked of TCP towards it, and ``tls`` of TLS, the pool's values
    included; None if nothing is.
    """

    name: str
    address: Address
    weight: int = 1
    backup: bool = False
    priority: int = 0
    max_connections: int = 0
    tcp: Optional[TcpSpec] = None
    resolve: str = FIRST
    origin: Optional[TcpAddress] = None
    adaptive: Optional[AdaptiveSpec] = None
    tls: Optional[ServerTlsSpec] = None


@frozen
class PoolSpec:
    """
    One ``[pool]``: its servers, and how connections are spread over them.

    All ``checks`` must pass unless there is a ``combination`` of them.
    """

    name: str
    servers: tuple[ServerSpec, ...]
    balance: BalanceSpec = BalanceSpec()
    checks: tuple[CheckSpec, ...] = ()
    connect_timeout: float = 5.0
    retries: int = 2
    proxy_protocol: Optional[ProxyOut] = None
    backup_below: int = 1
    affinity: Optional[AffinitySpec] = None
    affinity_failback: bool = False
    slow_start: float = 30.0  # seconds
    panic_threshold: int = 0  # percent
    queue: QueueSpec = QueueSpec()
    max_connections: int = 0
    combination: Optional[Combination] = None
    agent_check: Optional[AgentSpec] = None
    eject: Optional[EjectSpec] = EjectSpec()
    on_down: Optional[float] = None  # seconds until connections are closed
    on_up: str = KEEP
    response_timeout: float = 60.0  # seconds, as the next but one
    max_idle_connections: int = 16
    idle_connection_timeout: float = 30.0
    maintenance: bool = False
    maintenance_allow: Clients = Clients()
    maintenance_retry_after: float = RETRY_AFTER
    maintenance_page: tuple[ErrorPageSpec, ...] = ()
    retry_on: RetryOnSpec = RetryOnSpec()
    retry_budget: Optional[BudgetSpec] = BudgetSpec()
    hedge_after: float = 0.0  # seconds; 0 is never

    def at_most(self) -> PoolSpec:
        """The same with the highest of adaptive ``max_connections``, for where nothing is measured."""
        return evolve(self, servers=tuple(evolve(server, adaptive=None) for server in self.servers))

    @property
    def times_first_byte(self) -> bool:
        """Whether it is to be known how long servers take to answer."""
        adaptive = any(server.adaptive is not None for server in self.servers)
        return adaptive or self.balance.measure == FIRST_BYTE


class Server(Form):
    """``ADDRESS weight=N backup``, without the server's name: the address, and the other values by name."""

    shape: ClassVar[str] = "an [address of a server](#addresses), then any of the parameters below"
    parameters: ClassVar[tuple[Option, ...]] = (
        Option(
            "weight",
            Count(0, HEAVIEST),
            "Its share, beside the weights of the others. With 0 it gets no new connections.",
            "weight=2",
            default="1",
        ),
        Option(
            "backup",
            Flag(),
            "It gets connections only when fewer than `backup_below` servers without this word are up, or "
            "when all these have been tried.",
            "backup",
            otherwise="it takes its share like the others",
        ),
        Option(
            "priority",
            Count(0, 127),
            "Servers of a higher number wait for those of a lower one as backups do; among backups too.",
            "priority=1",
            default="0",
        ),
        Option(
            "max_connections",
            MaxConnections(),
            "How many connections it has at most; those that are being dialed count, and checks do not. When "
            "all servers have so many, clients wait in the `queue`; backups do not stand in for servers that "
            "are full. With `adaptive` it has as many as it takes before it becomes slower, which is found "
            "out again and again, between 3 and 1000 unless it is said otherwise; slower is to connect, and "
            "to the first byte of its answer.",
            "max_connections=adaptive:5-200",
            otherwise="no bound; with `balance = first`, no server after this one gets connections",
        ),
        Option(
            "resolve",
            Choice((FIRST, ALL)),
            "What the addresses of its name are: one server, which is reached at the first that answers, or "
            "each a server of its own, called `a-10.0.0.1` if the line is called `a`.",
            "resolve=all",
            default=FIRST,
        ),
        *SERVER_PARAMETERS,
        *TLS_PARAMETERS,
    )

    def parse(self, words: Sequence[Word], fail: Fail) -> dict[str, Any]:
        address = ServerAddress(may_be_srv=True).parse(words[:1], fail)
        values = {"address": address, **(parameters(words[1:], self.parameters, fail) or {})}
        most = values.get("max_connections")
        if isinstance(most, AdaptiveSpec):
            values.update(max_connections=most.most, adaptive=most)
        return values


OPTIONS = (
    Option(
        "server",
        Server(),
        "A server of the pool, under a name that logs and metrics call it by.",
        "server a = 10.0.0.1:5432 weight=2",
        required=True,
        named=True,
    ),
    Option(
        "balance",
        Balance(),
        "How a server is chosen for a connection, in proportion to the weights unless it says otherwise:\n"
        "\n"
        "- `p2c`: of two servers taken at random, the one with fewer open connections for its weight\n"
        "- `roundrobin`: each in turn\n"
        "- `static-rr`: the same, and weights stay as they are written here; a server can only be drained\n"
        "- `leastconn`: the one with the fewest open connections for its weight; among equals, each in turn\n"
        "- `random`: any\n"
        "- `first`: the first in this file that has fewer than its `max_connections`, whatever the weights; "
        "when all are full, clients wait\n"
        "- `source`: the same server for the same client address\n"
        "- `hash`: the same server for the same `key`, on a ring of hashes (ketama's idea)\n"
        "- `maglev`: the same by Google's Maglev, which spreads the keys more evenly\n"
        "- `leasttime`: of two servers taken at random, the one that is faster for its open connections, by "
        "the peak of what was measured lately (Finagle's peak EWMA)\n"
        "- `leastbytes`: of two servers taken at random, the one that has moved fewer bytes lately and has "
        "fewer to move\n"
        "\n"
        "When a server goes down, `source`, `hash` and `maglev` lead the clients of that server elsewhere, "
        "and no others.",
        "balance = hash key=sni hash_balance_factor=150",
        default="p2c",
    ),
    Option(
        "affinity",
        Affinity(),
        "A client that comes back gets the server that it had, whatever `balance` says, as long as that one "
        "may get connections at all. If it may not, or cannot be reached, the client gets another without "
        "noticing, and has that one from then on. If it is full (`max_connections`, or "
        "`hash_balance_factor`), the client gets another for this connection. Clients are remembered by "
        "one of these; whoever has no such thing gets a server by `balance`:\n"
        "\n"
        "- `source`: the client's address, which a PROXY header may have told\n"
        "- `via`: the address that the connection comes from; with a PROXY header, the proxy's\n"
        "- `sni`: the name that it asks for in TLS\n"
        "- `tls_session`: the id of the TLS session that it resumes, which is learned from the server; "
        "TLS 1.3 has no such id, and neither has TLS 1.2 with session tickets\n"
        "- `rdp_cookie`: the user that an RDP client names (`mstshash`); or the server whose address is in "
        "the token of an RDP session broker (`msts`)\n"
        "- `cookie`: a cookie called `name` that we give to clients of listeners with `protocol = http`, and "
        "take away from their requests; it says which server they had, and nobody else can read or make "
        "it\n"
        "- `learned_cookie`: the servers' own cookie called `name`, such as that of their sessions, which is "
        "learned from their answers\n"
        "\n"
        "With cookies a server that is drained keeps the clients that it has.",
        "affinity = source ttl=8h size=1m",
        otherwise="clients are not remembered",
    ),
    Option(
        "affinity_failback",
        YesNo(),
        "With `yes`, a client whose server was away goes back to it when it may get connections again.",
        "affinity_failback = yes",
        default="no",
    ),
    Option(
        "check",
        Check(),
        "Check whether the servers are up. It begins with the kind of check: a protocol that they speak. "
        "With several checks each has a name.",
        "check = redis interval=2s timeout=1s",
        otherwise="no checks; every server counts as up",
        named=True,
        optional_name=True,
    ),
    Option(
        "checks",
        Combined(),
        "Which checks must pass for a server to be up. Each has its own interval, `rise` and `fall`.",
        "checks = (lag and role) or forced",
        otherwise="all of them",
    ),
    Option(
        "agent_check",
        AgentCheck(),
        "Ask an agent of each server, too, as HAProxy does: who connects is told one line of words. `75%` is "
        "its weight, in per cent of the one given here, `maxconn:30` its `max_connections`; `drain` and "
        "`maint` take it out, until the agent says `ready`, and what an operator has taken out it leaves "
        "alone; with `down`, `fail` or `stopped` it is down, whatever its checks say, until the agent says "
        "`up`. What follows a `#` is the reason. An agent that does not answer changes nothing.",
        "agent_check = port=8404 interval=2s",
        otherwise="no agent is asked",
    ),
    Option(
        "connect_timeout",
        Duration(),
        "A server that has not accepted a connection by then is given up, and another is tried.",
        "connect_timeout = 1s",
        default="5s",
    ),
    *retries.OPTIONS,
    Option(
        "proxy_protocol",
        Header(),
        "Servers are told who the client is by a PROXY header before the first byte; they must expect it. "
        "`v1` is a line of text; `v2` is binary and can say more.",
        "proxy_protocol = v2 crc32c unique_id",
        otherwise="no header; to servers, proxyd is the client",
    ),
    Option(
        "tls",
        ServerTls(),
        "Connections to the servers are TLS: it begins when a server has accepted one (and was told the "
        "PROXY header, if it gets one), and must be agreed on within `connect_timeout`. A server with which "
        "it is not, or whose certificate is not what it should be, was not reached, and another is tried. "
        "Checks go the same way. Files that are replaced are read again without a restart; if they are not "
        "fit for use, what was read before holds.",
        "tls = ca=/etc/ssl/our-ca.pem",
        otherwise="connections to the servers are as plain as those of clients",
    ),
    Option(
        "backup_below",
        Count(1, 1000),
        "Backups serve, too, while fewer servers than this are up that are no backups; the same holds of "
        "servers of a higher `priority`.",
        "backup_below = 2",
        default="1",
    ),
    Option(
        "slow_start",
        Duration(may_be_zero=True),
        "A server that comes up again gets its share of new connections step by step, in this time; not at "
        "the start of proxyd, and not with `static-rr`, `first`, `source`, `hash` and `maglev`, which do not "
        "heed it.",
        "slow_start = 2m",
        default="30s",
    ),
    Option(
        "panic_threshold",
        Percent(),
        "While fewer servers than this are up, all get connections, also those that are down or ejected: "
        "the checks are then more likely to be wrong than the servers. Backups do not count, and come first "
        "if no other server is up.",
        "panic_threshold = 50%",
        default="0%",
    ),
    *maintenance.OPTIONS,
    *POOL_OPTIONS,
    *SERVER_OPTIONS,
    Option(
        "max_connections",
        Count(1, 10_000_000),
        "So many connections may its servers have together; who comes then waits in the `queue`.",
        "max_connections = 400",
        otherwise="no bound but those of the servers",
    ),
    Option(
        "queue",
        Queue(),
        "How clients wait while all servers have their `max_connections`. Those of listeners of a lower "
        "`priority` come first.",
        "queue = length=200 wait=30s",
        otherwise="what the parameters say without it",
    ),
    Option(
        "eject",
        Ejection(),
        "So many connections in a row that come to nothing take a server out for a while, with or without a "
        "check: it refuses them, does not answer, or ends them without having said a byte. With `protocol = "
        "http` it is requests that count. Turn it `off` "
        "where servers do so to clients that they do not like, and these could take it out.",
        "eject = 3 time=10s max_time=1m most=30%",
        default="5",
    ),
    Option(
        "on_down",
        OnDown(),
        "What becomes of the connections that a server has when it goes down or into maintenance, or is "
        "removed: they are kept until one of their ends closes them, closed at once, or closed if it has not "
        "come up again by then. One that is ejected keeps its connections.",
        "on_down = close_after 30s",
        default="keep",
    ),
    Option(
        "on_up",
        ON_UP,
        "What becomes of the connections to backups when another server is up again, and backups are needed "
        "no more: they are kept, or closed (`close_backups`), so that clients come back.",
        "on_up = close_backups",
        default="keep",
    ),
)


def contradictions(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Which values of a pool do not go together: the option, and what is wrong with it."""
    yield from maintenance.contradictions(given)
    checks: Mapping[str, CheckSpec] = given.get("check", {})
    balance = given.get("balance", BalanceSpec())
    if given.get("slow_start") and balance.name not in RAMPED:
        yield "slow_start", f"balance = {balance.name} does not heed it"
    servers = given.get("server", {})
    agent: Optional[AgentSpec] = given.get("agent_check")
    if "queue" in given and servers and not _bounded(given):
        yield "queue", "nobody will ever wait; neither the pool nor a server has max_connections"
    for name, server in servers.items():
        yield from ((f"server {name}", text) for text in unfit(server, given))
        yield from ((f"server {name}", text) for text in unfit_tls(server, given.get("tls")))
        if agent is not None and unfit_agent(agent, server["address"]):
            yield "agent_check", f"{unfit_agent(agent, server['address'])}, as {name} is"
        for title, check in _titled(checks):
            if check.port is not None and isinstance(server["address"], UnixAddress):
                yield title, f"port={check.port} means nothing for server {name}, which is a unix socket"
        address = server["address"]
        if address is not None and not named(address) and "resolve" in server:
            yield f"server {name}", "resolve is for servers that are given by a name"
        for given_by_records in ("weight", "priority"):
            if isinstance(address, SrvAddress) and given_by_records in server:
                yield f"server {name}", f"{given_by_records} is given by the SRV records"
    yield from _failback(given)
    yield from retries.contradictions(given)
    for title, check in _titled(checks):
        if check.send_proxy and "proxy_protocol" not in given:
            yield title, "send_proxy is for a pool with proxy_protocol"
        if check.over_tls and given.get("tls") is None:
            yield title, "over_tls is for a pool with tls"


def _bounded(given: Mapping[str, Any]) -> bool:
    return "max_connections" in given or any(
        "max_connections" in server for server in given["server"].values()
    )


def _failback(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    affinity: Optional[AffinitySpec] = given.get("affinity")
    if given.get("affinity_failback") and affinity is None:
        yield "affinity_failback", "is for a pool with affinity"
    elif given.get("affinity_failback") and affinity is not None and affinity.key == TLS_SESSION:
        yield "affinity_failback", "a TLS session is of one server, and its client is never led to another"
    elif given.get("affinity_failback") and affinity is not None and affinity.key == COOKIE:
        yield "affinity_failback", "a cookie names one server, and who is led to another gets a new one"


def _titled(checks: Mapping[str, CheckSpec]) -> Iterator[tuple[str, CheckSpec]]:
    """The checks, each with the option that it is."""
    return ((f"check {name}".strip(), check) for name, check in checks.items())
