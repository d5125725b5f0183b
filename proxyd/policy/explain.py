"""
Which way would this client take, and why no other?

It is sent through the real routes, pool and balancer, one step after another as `proxyd.relay.session` does,
and what each has decided is written down.  Why a route does not fit is found by asking for each of its
conditions alone.  What chance decides is drawn once for the answer, and many times for how likely it is.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from functools import partial
from typing import Any, Mapping, Optional, Sequence

from attrs import evolve, frozen

from proxyd.config.http import HTTP
from proxyd.config.listener import ListenerSpec
from proxyd.config.lists import MAINTENANCE_ALLOW
from proxyd.config.options import show_duration, unknown
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.route import OF_CONNECTIONS, TLS, RouteSpec
from proxyd.config.tls import PASSTHROUGH
from proxyd.config.words import quoted
from proxyd.errors import IllegalMove, Reason
from proxyd.interfaces import IKeyed
from proxyd.policy.admission import Admission
from proxyd.policy.arrival import Arrival, client_key
from proxyd.policy.balance import make_balancer
from proxyd.policy.explainrequest import SupposedRequest, key_in, led, server_of
from proxyd.policy.lists import Lists, client_bytes
from proxyd.policy.lots import Chance
from proxyd.policy.pool import Pool
from proxyd.policy.route import Routes
from proxyd.policy.server import Server
from proxyd.policy.state import OUT, State
from proxyd.wire.sniff import Speaks

DRAWS = 1000  # for how likely each server is

ASSUMED = "assumed"  # why a server is up of which nothing else was said


@frozen
class Supposed:
    """
    What is supposed of a client, and of the servers by their names; those that are not named are up.

    ``remembered`` is the server that the client had before, for a pool with affinity, and ``first`` the one
    that it had first, if that was another.  ``request`` is what it asks for, where requests are led, and
    ``secrets`` are what cookies in it are sealed with, by pools.
    """

    arrival: Arrival = Arrival()
    speaks: str = ""
    alpn: tuple[bytes, ...] = ()
    states: Mapping[str, State] = {}
    weights: Mapping[str, int] = {}
    open: Mapping[str, int] = {}
    remembered: str = ""
    first: str = ""
    request: SupposedRequest = SupposedRequest()
    secrets: Mapping[str, bytes] = {}


class NotSupposed(Exception):
    """What was supposed cannot be; the text says why."""


@frozen
class RouteStep:
    """A route of the listener, and why it was taken or not."""

    route: str
    pool: str
    taken: bool
    why: str


@frozen
class ServerStep:
    """A server of the pool: its ``tier`` counted from 1, 0 if it gets nobody, and why."""

    server: str
    address: str
    state: str
    weight: float
    open: int
    tier: int
    why: str


@frozen
class Explanation:
    """
    What was decided, step by step; what was not come to is empty.  ``actions`` is what is done with a
    request.

    ``servers`` are in the order of the configuration.  ``key`` is what the balancer goes by, if it goes by
    the client.  ``affinity`` is what clients are remembered by, and ``remembered`` the server that this one
    had.  ``chosen`` is the server, and ``retries`` are those that are tried after it, each if all before
    cannot be reached.  ``likely`` has the share of each server among many such clients, unless this one
    comes back to the server it had.  A client that gets no server is closed for ``reason``, of which
    ``detail`` says more.
    """

    listener: str
    admission: str = ""
    opening: str = ""
    routes: tuple[RouteStep, ...] = ()
    actions: tuple[str, ...] = ()
    pool: str = ""
    balance: str = ""
    panic: bool = False
    key: str = ""
    affinity: str = ""
    remembered: str = ""
    servers: tuple[ServerStep, ...] = ()
    chosen: str = ""
    retries: tuple[str, ...] = ()
    likely: Mapping[str, float] = {}
    reason: Optional[Reason] = None
    detail: str = ""


def explain(
    listener: ListenerSpec,
    admission: Admission,
    pools: Mapping[str, PoolSpec],
    supposed: Supposed,
    random: Chance,
    lists: Lists,
) -> Explanation:
    """
    The way of a client that has come to a listener, or that a PROXY header tells of there; or of its request.

    Raises `NotSupposed`, for a name that is not of the pool that the client is led to, for example.
    """
    start, refusal = Explanation(listener.name), None
    if not admission.open:
        refusal = admission.refusal(_address(supposed.arrival.source), 0.0)
        start = evolve(start, admission="refused" if refusal is not None else "let in")
    if refusal is not None:
        return evolve(start, reason=refusal.reason, detail=refusal.detail)
    if listener.protocol == HTTP:
        request = evolve(supposed.request, sni=supposed.arrival.sni, alpn=supposed.alpn)
        way = led(listener, lists, request, _address(supposed.arrival.source))
        routes = tuple(RouteStep(*step) for step in way.routes)
        start = evolve(start, opening=way.opening, routes=routes, actions=way.actions)
        if way.reason is not None or not way.pool:
            return evolve(start, reason=way.reason, detail=way.detail)
        spec = pools[way.pool]
        if not supposed.remembered:
            brought = server_of(spec, request, supposed.secrets.get(spec.name, b""))
            supposed = evolve(supposed, remembered=brought)
        arrival = evolve(supposed.arrival, asked=key_in(spec, request))
        supposed = evolve(supposed, arrival=arrival)
        return _in_the_pool(start, spec, supposed, random, lists)
    supposed, opening = _heard(listener, supposed)
    start = evolve(start, opening=opening)
    if listener.tls == PASSTHROUGH and supposed.speaks != TLS:
        detail = f"it speaks {supposed.speaks}, and only TLS is let in"
        return evolve(start, reason=Reason.TLS_MALFORMED, detail=detail)
    sni, alpn = supposed.arrival.sni, supposed.alpn
    ended = listener.ends_tls and not listener.tls_is_late
    route = Routes(listener.routes).choose(supposed.speaks, sni, alpn, ended)
    routes = tuple(_route_step(spec, route, supposed, ended) for spec in listener.routes)
    name = listener.pool if route is None else route.pool
    if not name:
        detail = "no route fits, and the listener has no pool"
        return evolve(start, routes=routes, reason=Reason.NO_ROUTE, detail=detail)
    return _in_the_pool(evolve(start, routes=routes), pools[name], supposed, random, lists)


def _in_the_pool(
    start: Explanation, spec: PoolSpec, supposed: Supposed, random: Chance, lists: Lists
) -> Explanation:
    """What becomes of one who is led to this pool."""
    pool = _pool(spec, supposed, random)
    pool.maintenance.allowed = lists.members(spec.maintenance_allow, MAINTENANCE_ALLOW)
    if not pool.maintenance.lets_in(_address(supposed.arrival.source)):
        return evolve(start, pool=spec.name, reason=Reason.MAINTENANCE, detail=str(pool.maintenance))
    if supposed.remembered:
        supposed = evolve(supposed, arrival=_remembered(pool, supposed))
    steps = tuple(map(partial(_server_step, pool), pool.servers, spec.servers))
    walk = _walk(pool, supposed.arrival)
    none, keyed = not walk, IKeyed.providedBy(pool.balancer)
    comes_back = bool(walk) and walk[0].name in (supposed.remembered, supposed.first)
    balance, affinity = spec.balance, spec.affinity
    return evolve(
        start,
        pool=spec.name,
        balance=balance.name,
        panic=pool.panic,
        key=client_key(balance)(supposed.arrival).decode(errors="backslashreplace") if keyed else "",
        affinity=affinity.key if affinity is not None else "",
        remembered=supposed.remembered,
        servers=steps,
        chosen="" if none else walk[0].name,
        retries=tuple(server.name for server in walk[1:]),
        likely={}
        if comes_back
        else _likely(_pool(spec, evolve(supposed, remembered=""), random), supposed.arrival),
        reason=Reason.NO_SERVER if none and not pool.is_full() else None,
        detail=_why_none(pool) if none else "",
    )


def _why_none(pool: Pool) -> str:
    if pool.is_full():
        wait = show_duration(pool.spec.queue.wait)
        return f"all servers have their max_connections; the client waits in the queue for up to {wait}"
    return f"no server of pool {pool.name} is up"


def _address(source: str) -> bytes:
    """The bytes that admission knows a client by."""
    return client_bytes(ipaddress.ip_address(source.partition("%")[0]).packed) if source else b""


def _heard(listener: ListenerSpec, supposed: Supposed) -> tuple[Supposed, str]:
    """What of the client is heard before anything is decided, and that in words."""
    told = []
    if listener.proxy_protocol is not None:
        told.append("a PROXY header tells who the client is")
    if listener.tls_is_late:
        told.append(f"TLS begins in the way of {listener.speaks}, when the server has greeted")
        arrival = evolve(supposed.arrival, sni="")
        return evolve(supposed, arrival=arrival, speaks=Speaks.SILENT.value, alpn=()), "; ".join(told)
    if listener.ends_tls:
        told.append(f"TLS ends here: it {_asks(supposed.arrival.sni)}, and {_offers(supposed.alpn)}")
        return evolve(supposed, speaks=supposed.speaks or TLS), "; ".join(told)
    if listener.tls != PASSTHROUGH and not listener.routes:
        told.append("what the client sends first is not read, since nothing here depends on it")
        arrival = evolve(supposed.arrival, sni="")
        return evolve(supposed, arrival=arrival, speaks="", alpn=()), "; ".join(told)
    speaks = supposed.speaks
    if not speaks:
        speaks = TLS if supposed.arrival.sni or supposed.alpn or listener.tls == PASSTHROUGH else "other"
    told.append(f"it speaks {speaks}" + ("" if supposed.speaks else f" ({ASSUMED})"))
    if speaks == TLS and listener.reads_hello:
        told.append(_asks(supposed.arrival.sni))
        told.append(_offers(supposed.alpn))
        return evolve(supposed, speaks=speaks), ", ".join(told)
    if speaks == TLS and (supposed.arrival.sni or supposed.alpn):
        told.append("no route goes by sni or alpn, so these are not read")
    return evolve(supposed, arrival=evolve(supposed.arrival, sni=""), speaks=speaks, alpn=()), ", ".join(told)


def _asks(sni: str) -> str:
    return f"asks for {sni}" if sni else "asks for no name"


def _offers(alpn: Sequence[bytes]) -> str:
    offered = ", ".join(protocol.decode(errors="backslashreplace") for protocol in alpn)
    return f"offers {offered}" if offered else "offers no protocol"


def _route_step(spec: RouteSpec, taken: Optional[RouteSpec], supposed: Supposed, ended: bool) -> RouteStep:
    if spec is taken:
        return RouteStep(spec.name, spec.pool, True, "all its conditions hold")
    says = {
        "sni": _asks(supposed.arrival.sni),
        "alpn": _offers(supposed.alpn),
        "speaks": f"speaks {supposed.speaks}",
    }
    unmet = []
    for name in OF_CONNECTIONS:
        others: dict[str, Any] = {other: () for other in OF_CONNECTIONS if other != name}
        wanted = getattr(spec, name)
        if (
            wanted
            and Routes([evolve(spec, **others)]).choose(
                supposed.speaks, supposed.arrival.sni, supposed.alpn, ended
            )
            is None
        ):
            shown = " ".join(one.decode() if isinstance(one, bytes) else one for one in wanted)
            unmet.append(f"{name} = {shown}, and the client {says[name]}")
    if unmet or taken is None:
        return RouteStep(spec.name, spec.pool, False, "; ".join(unmet))
    return RouteStep(spec.name, spec.pool, False, f"fits, but {taken.name} stands before it")


def _pool(spec: PoolSpec, supposed: Supposed, random: Chance) -> Pool:
    """The pool in the state that is supposed."""
    if not supposed.remembered:
        # Each of many such clients is one that is not remembered.
        spec = evolve(spec, affinity=None, affinity_failback=False)
    pool = Pool(spec.at_most(), make_balancer(spec.balance, random, lambda: 0.0))
    servers = {server.name: server for server in pool.servers}
    remembered = (supposed.remembered,) if supposed.remembered else ()
    for name in (*supposed.states, *supposed.weights, *supposed.open, *remembered):
        if name not in servers:
            raise NotSupposed(f"pool {spec.name}, where the client is led: {unknown(name, servers)}")
    try:
        for name, server in servers.items():
            _put(pool, server, supposed.states.get(name, State.UP))
            if name in supposed.weights:
                pool.weigh(server, supposed.weights[name], ASSUMED, 0.0)
            for _ in range(supposed.open.get(name, 0)):
                pool.opened(server)
    except (IllegalMove, ValueError) as why:
        raise NotSupposed(str(why)) from None
    return pool


def _remembered(pool: Pool, supposed: Supposed) -> Arrival:
    """The client, that had these servers before."""
    affinity = pool.affinity
    if affinity is None:
        raise NotSupposed(f"pool {pool.name} has no affinity, so it remembers nobody")
    arrival = affinity.supposed(supposed.arrival, supposed.first or supposed.remembered)
    if arrival is not None and supposed.first:
        arrival = affinity.supposed(arrival, supposed.remembered)
    if arrival is None:
        by = affinity.spec.key
        raise NotSupposed(f"pool {pool.name} remembers clients by {by}, and nothing of that was supposed")
    return arrival


def _put(pool: Pool, server: Server, state: State) -> None:
    """Lead a server into a state, by the verbs that lead there in the daemon."""
    if state is State.CHECKING:
        if not pool.spec.checks:
            raise NotSupposed(
                f"pool {pool.name} has no check, so server {quoted(server.name)} is never checking"
            )
        return
    if state in (State.UP, State.DOWN):
        pool.turned(server, state, ASSUMED, 0.0)
    elif state is State.DRAINING:
        pool.drain(server, ASSUMED, 0.0)
    elif state is State.MAINTENANCE:
        pool.disable(server, ASSUMED, 0.0)
    else:
        pool.eject(server, 1.0, ASSUMED, 0.0)


def _server_step(pool: Pool, server: Server, spec: ServerSpec) -> ServerStep:
    tier = next((number for number, tier in enumerate(pool.tiers, 1) if server in tier), 0)
    return ServerStep(
        server=server.name,
        address=str(server.address),
        state=server.state.value,
        weight=server.effective_weight,
        open=server.open,
        tier=tier,
        why=_why(pool, server, tier) + _until(server, spec) * (tier == 1),
    )


def _until(server: Server, spec: ServerSpec) -> str:
    """Until when it gets clients, if it may have only so many connections."""
    most = f"{spec.adaptive or server.max_connections}"
    if not server.max_connections:
        return ""
    return f"{', but is full' if server.full else ', until it is full'}: max_connections={most}"


def _why(pool: Pool, server: Server, tier: int) -> str:
    """Why a server is in its tier, or in none."""
    rank = "a backup" if server.backup else f"of priority {server.priority}"
    if tier == 0:
        stay = pool.affinity is not None and pool.affinity.may_stay(server)
        gets = "gets those alone whom cookies lead to it" if stay else "gets nobody"
        if server.state in OUT:
            return f"{gets}: it is {server.state.phrase}"
        return f"{gets}: {'its weight is 0' if not server.share else f'it is {server.state.phrase}'}"
    if tier > 1:
        return f"waits: it is {rank}"
    if server.state is not State.UP:
        return f"gets clients though it is {server.state.phrase}: {'panic' if pool.panic else 'nobody is up'}"
    return f"gets clients though it is {rank}: too few others do" if server.backup else "gets clients"


def _walk(pool: Pool, arrival: Arrival) -> list[Server]:
    """The servers that are tried, one after another, if none can be reached."""
    tried: list[Server] = []
    while len(tried) <= pool.spec.retries:
        server = pool.pick(tried, arrival)
        if server is None:
            break
        if pool.released is not None:
            pool.released(server, 0)
        if pool.timed is not None:
            pool.timed(server, pool.spec.connect_timeout)
        tried.append(server)
    return tried


def _likely(pool: Pool, arrival: Arrival) -> dict[str, float]:
    """The share of each server among many such clients, of whom none stays."""
    chosen: Counter[str] = Counter()
    for _ in range(DRAWS):
        server = pool.pick((), arrival)
        if server is not None:
            chosen[server.name] += 1
    return {name: count / DRAWS for name, count in chosen.most_common()}
