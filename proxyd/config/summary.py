"""How would one tell a colleague, in a few lines, what a configuration does?"""

from __future__ import annotations

from typing import Iterator, Sequence

from proxyd.config.affinity import AffinitySpec
from proxyd.config.document import Config
from proxyd.config.listener import ListenerSpec
from proxyd.config.lists import Rule, rest_allowed, shown
from proxyd.config.options import show_duration
from proxyd.config.pool import PoolSpec
from proxyd.config.route import RouteSpec
from proxyd.config.tls import ACME, TlsSpec

_LISTED = 6  # words of a list that a line repeats


def summary(config: Config) -> str:
    """
    A line for each listener, each of its routes, each pool and what else is served or written.

    Before them stand the files that were read if there are several, and after them, as notes, what can be
    used but is hardly meant.
    """
    lines = []
    files = tuple(dict.fromkeys(config.files))
    if len(files) > 1:
        lines.append(f"read: {', '.join(files)}")
    for listener in config.listeners:
        lines.append(f"listener {listener.name}: {_listener(listener)}")
        for route in listener.routes:
            lines.append(f"route {route.name}: {_conditions(route)}{_asked_first(route)}, {_done(route)}")
    for pool in config.pools:
        lines.append(f"pool {pool.name}: {_pool(pool)}")
    for spec in config.lists:
        lines.append(f"list {spec.name}: {_some(shown(spec.networks))}")
    for acme in config.acme:
        names = dict.fromkeys(name for one in acme.certificates for name in one.names)
        at = f" on {' '.join(bind.text for bind in acme.binds)}" if acme.binds else ""
        lines.append(f"acme {acme.name}: {acme.challenge}{at}, for {_some(list(names))}")
    if config.demo:
        for server in config.demo.servers:
            lines.append(f"demo server {server.name}: on {server.bind.text}")
    if config.daemon.admin:
        lines.append(f"admin: on {config.daemon.admin.text}")
    if config.daemon.metrics:
        lines.append(f"metrics: on {config.daemon.metrics.text}")
    if config.daemon.access_log:
        log = config.daemon.access_log
        lines.append(f"access log: {log.path or 'the log of twistd'}, as {log.format}")
    lines.extend(f"note: {note}" for note in _notes(config))
    return "\n".join(lines)


def _notes(config: Config) -> Iterator[str]:
    """What an operator should look at again."""
    named = {name for one in config.listeners for rule in one.access for name in rule.clients.lists}
    routes = [route for listener in config.listeners for route in listener.routes]
    named |= {name for route in routes if route.condition.client for name in route.condition.client.lists}
    for spec in config.lists:
        if spec.name not in named:
            yield f"no allow or deny uses list {spec.name}"
    used = {listener.pool for listener in config.listeners}
    used |= {route.pool for listener in config.listeners for route in listener.routes}
    for pool in config.pools:
        if pool.name not in used:
            yield f"no listener or route uses pool {pool.name}"
        if not any(server.weight for server in pool.servers):
            yield f"pool {pool.name} refuses every client: all its servers have weight=0"
        if any(server.tls is not None and not server.tls.verify for server in pool.servers):
            yield f"pool {pool.name} believes anybody to be its servers (tls = verify=no)"


def _listener(listener: ListenerSpec) -> str:
    parts = [f"{listener.protocol} on {' '.join(bind.text for bind in listener.binds)}"]
    if listener.tls:
        parts.append("tls " + (listener.tls if isinstance(listener.tls, str) else _sources(listener.tls)))
    if listener.access:
        parts.append(_access(listener.access))
    header = listener.proxy_protocol
    if header is not None:
        trusted = [str(network) for network in header.trusted]
        senders = _some([*trusted, "unix"] if header.unix else trusted)
        parts.append(f"{'optional ' if header.optional else ''}PROXY header from {senders}")
    parts.append(f"to pool {listener.pool}" if listener.pool else "closed")
    return ", ".join(parts) + (" if no route fits" if listener.routes else "")


def _sources(tls: TlsSpec) -> str:
    own = tls.certificates[
        : len(tls.certificates) - len(tls.acme)
    ]  # behind them are the authorities' folders
    return "by " + " ".join((*own, *(ACME + name for name in tls.acme)))


def _access(rules: Sequence[Rule]) -> str:
    lines = [f"{rule.word} {_some(shown(rule.clients))}" for rule in rules]
    if not rules[-1].clients.everybody:
        lines.append(f"{'allow' if rest_allowed(rules) else 'deny'} the rest")
    return "; ".join(lines)


def _conditions(route: RouteSpec) -> str:
    alpn = [name.decode("utf-8") for name in route.alpn]
    parts: dict[str, Sequence[str]] = {"sni": route.sni, "alpn": alpn, "speaks": route.speaks}
    wanted = route.condition
    for name in ("host", "path", "path_exact", "path_regex", "method"):
        parts[name] = getattr(wanted, name)
    for name in ("header", "query", "cookie"):
        parts[name] = [key for key, _ in getattr(wanted, name)]
    parts["client"] = shown(wanted.client) if wanted.client is not None else ()
    return ", ".join(f"{name} {_some(values)}" for name, values in parts.items() if values) or "all others"


def _done(route: RouteSpec) -> str:
    """What a route does."""
    if route.action.redirect is not None:
        return f"redirect {route.action.redirect.status} to {route.action.redirect.location}"
    if route.action.respond is not None:
        return f"respond {route.action.respond.status}"
    if route.action.root is not None:
        return f"root {route.action.root.path}"
    return f"to pool {route.pool}"


def _asked_first(route: RouteSpec) -> str:
    """Who decides whether a request may pass."""
    if route.action.auth is not None:
        return ", auth basic"
    return f", forward_auth {route.action.forward_auth.url}" if route.action.forward_auth is not None else ""


def _some(words: Sequence[str]) -> str:
    """The words, or of many the first."""
    more = len(words) - _LISTED
    return " ".join(words[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _pool(pool: PoolSpec) -> str:
    backups = sum(server.backup for server in pool.servers)
    servers = f"{len(pool.servers)} server{'s' if len(pool.servers) > 1 else ''}"
    checks = ", ".join(f"{check.kind} every {show_duration(check.interval)}" for check in pool.checks)
    header = f", PROXY header v{pool.proxy_protocol.version}" if pool.proxy_protocol else ""
    spare = f" ({backups} backup)" if backups else ""
    memory = f", affinity {_affinity(pool.affinity)}" if pool.affinity else ""
    plain = sum(server.tls is None for server in pool.servers)
    tls = "" if plain == len(pool.servers) else f" over TLS but for {plain}" if plain else " over TLS"
    closed = ", in maintenance" * pool.maintenance
    ways = f"balance {pool.balance.name}{memory}, check {checks or 'none'}{header}"
    return f"{servers}{spare}{tls}, {ways}{closed}"


def _affinity(affinity: AffinitySpec) -> str:
    if affinity.cookie is None:
        return f"{affinity.key} for {show_duration(affinity.ttl)}"
    return f"{affinity.key} {affinity.cookie.name}"
