"""What did the operator ask for, all in all?  The whole configuration as one frozen value."""

from __future__ import annotations

from typing import Any, Callable, Iterator, Mapping, Optional

from attrs import evolve, frozen

from proxyd.config import (
    acme,
    balance,
    cache,
    combination,
    counters,
    daemon,
    demo,
    http,
    listener,
    lists,
    pool,
    route,
    servertls,
    starttls,
)
from proxyd.config.acme import AcmeSpec
from proxyd.config.address import Bind, EndpointBind, TcpBind, UnixBind
from proxyd.config.affinity import OF_REQUESTS, OF_THE_HELLO, RDP_COOKIE, SNI, TLS_SESSION
from proxyd.config.cache import CacheSpec
from proxyd.config.counters import CountersSpec
from proxyd.config.daemon import DaemonSpec
from proxyd.config.demo import DemoServerSpec, DemoSpec
from proxyd.config.http import HTTP, HttpSpec
from proxyd.config.listener import ListenerSpec
from proxyd.config.lists import ListSpec
from proxyd.config.options import GUESSES, NAME, Option, Reference, Several, unfit_name, unknown, values
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.reader import Entry, Reading, Section, Word
from proxyd.config.route import RouteSpec
from proxyd.config.servertls import ServerTlsSpec
from proxyd.config.tcp import TcpSpec, asked
from proxyd.config.tls import TlsSpec
from proxyd.errors import ConfigError, Problem


@frozen
class Config:
    """A configuration without errors: every reference in it leads somewhere."""

    daemon: DaemonSpec
    listeners: tuple[ListenerSpec, ...]
    pools: tuple[PoolSpec, ...]
    lists: tuple[ListSpec, ...] = ()
    counters: tuple[CountersSpec, ...] = ()
    acme: tuple[AcmeSpec, ...] = ()
    caches: tuple[CacheSpec, ...] = ()
    demo: Optional[DemoSpec] = None
    files: tuple[str, ...] = ()


@frozen
class Kind:
    """
    A kind of section: what it is for, which options it has, and whether there are several, by name.

    ``contradictions`` says of the values of one section which do not go together.
    """

    doc: str
    options: tuple[Option, ...]
    named: bool = False
    inherited: tuple[Option, ...] = ()
    contradictions: Callable[[Mapping[str, Any]], Iterator[tuple[str, str]]] = lambda given: iter(())


KINDS = {
    "proxyd": Kind("The daemon as a whole.", daemon.OPTIONS, inherited=listener.INHERITED),
    "listener": Kind(
        "Where clients connect, and the pool they are led to.",
        listener.OPTIONS,
        named=True,
        contradictions=listener.contradictions,
    ),
    "pool": Kind(
        "Servers that do the same work, and how clients are spread over them.",
        pool.OPTIONS,
        named=True,
        contradictions=pool.contradictions,
    ),
    "route": Kind(
        "Where clients of a listener are led: whole connections, by what they send first (`sni`, `alpn`, "
        "`speaks`), or with `protocol = http` each request by itself, by all the other conditions. A route "
        "fits if all conditions hold that are given, and of several that fit, the one that is written first "
        "is taken; one that could never be taken is an error. A route does one thing: it leads to a `pool`, "
        "or, for requests, has a `redirect` or a `respond`.",
        route.OPTIONS,
        named=True,
        contradictions=route.contradictions,
    ),
    "list": Kind(
        "Networks that `allow` and `deny` of several listeners name as `@NAME`.", lists.OPTIONS, named=True
    ),
    "counters": Kind(
        "What is counted of clients, and what is done with those that go too far. Listeners name them in "
        "`track`, and may share them.",
        counters.OPTIONS,
        named=True,
        contradictions=counters.contradictions,
    ),
    "acme": Kind(
        "Certificates that the daemon gets and renews by itself, from an authority that speaks ACME, such as "
        "Let's Encrypt. They are kept in the folder `state` of `[proxyd]`, with their keys and that of the "
        "account.",
        acme.OPTIONS,
        named=True,
        contradictions=acme.contradictions,
    ),
    "cache": Kind(
        "Where answers of servers are stored, and found again without asking these. Listeners and routes "
        "with `protocol = http` name it in `cache`, and may share it. What may be stored, and for how long, "
        "is said by the answers (RFC 9111).",
        cache.OPTIONS,
        named=True,
        contradictions=cache.contradictions,
    ),
    "demo": Kind("Servers to try the proxy with; not for production.", demo.OPTIONS),
}

_INHERITED = {option.into or option.name for option in listener.INHERITED}


@frozen
class _Judged:
    """A section, and the values in it that are right."""

    section: Section
    values: dict[str, Any]

    @property
    def entries(self) -> dict[str, Entry]:
        """Where the values stand, by the title of their option; of two that are the same, the first."""
        return {entry.title: entry for entry in reversed(self.section.entries)}

    @property
    def given(self) -> set[str]:
        """The options that are written there, well or not, whatever name is behind them."""
        return {entry.key for entry in self.section.entries}


def configuration(reading: Reading) -> Config:
    """The configuration that was read.  Raises `ConfigError` with all problems, in the order of the files."""
    problems = list(reading.problems)
    judged = list(_judge(reading, problems))
    _check_contradictions(judged, problems)
    _check_combinations(judged, problems)
    _check_binds(judged, problems)
    # What could not be read may be just what is missing here, so then these would be false alarms.
    if not reading.problems:
        _check_references(judged, problems)
        _check_access(judged, problems)
        _check_routes(judged, problems)
        _check_keys(judged, problems)
        _check_starttls(judged, problems)
        _check_acme(judged, problems)
        _check_caches(judged, problems)
        if not any(one.section.kind == "listener" for one in judged):
            text = "has no [listener NAME] section, so there is nothing to do"
            problems.append(Problem(reading.files[0], 0, text))
    if problems:
        order = {path: place for place, path in reversed(list(enumerate(reading.files)))}
        problems.sort(key=lambda problem: (order.get(problem.path, 0), problem.line))
        raise ConfigError(tuple(problems))
    return evolve(_build(judged), files=reading.files)


def _judge(reading: Reading, problems: list[Problem]) -> Iterator[_Judged]:
    """Each section of a known kind with the values in it that are right."""
    seen: dict[str, Section] = {}
    for section in reading.sections:
        kind = KINDS.get(section.kind)
        first = seen.setdefault(section.title, section)
        if kind is None:
            text = unknown(section.kind, KINDS, guess=len(problems) < GUESSES)
        elif kind.named and not section.name:
            text = f"needs a name; write [{section.kind} NAME]"
        elif section.name and not kind.named:
            text = f"has no name; write [{section.kind}]"
        elif section.name and not NAME.fullmatch(section.name):
            text = unfit_name(section.name)
        elif first is not section:
            text = f"is given twice; the first is in {first.path}:{first.line}"
        else:
            yield _Judged(section, values(section, kind.options + kind.inherited, problems))
            continue
        problems.append(section.problem(section.line, text))


def _check_references(judged: list[_Judged], problems: list[Problem]) -> None:
    """Every section that another one names must be there."""
    names: dict[str, dict[str, None]] = {}
    for one in judged:
        names.setdefault(one.section.kind, {})[one.section.name] = None
    for one in judged:
        for option in KINDS[one.section.kind].options:
            form = option.form.one if isinstance(option.form, Several) else option.form
            if isinstance(form, Reference) and option.name in one.values:
                known = names.get(form.kind, {})
                for word in one.entries[option.name].words:
                    if word.text not in known and word.text not in form.also:
                        text = unknown(word.text, [*known, *form.also], guess=len(problems) < GUESSES)
                        problems.append(one.section.problem(word.line, text, option.name))


def _check_access(judged: list[_Judged], problems: list[Problem]) -> None:
    """Every list that is named must be there, and every line must count."""
    names = [one.section.name for one in judged if one.section.kind == "list"]
    for one in judged:
        if one.section.kind in ("proxyd", "listener", "route", "pool"):
            for option, line, text in lists.access_faults(one.section.entries, names):
                problems.append(one.section.problem(line, text, option))


def _check_routes(judged: list[_Judged], problems: list[Problem]) -> None:
    """Every listener leads somewhere, and each of its routes can be taken."""
    inherited: dict[str, Any] = {}
    for one in judged:
        if one.section.kind == "proxyd":
            inherited = {name: value for name, value in one.values.items() if name in _INHERITED}
    fronts = {one.section.name: one for one in judged if one.section.kind == "listener"}
    listeners = {name: {**inherited, **one.values} for name, one in fronts.items()}
    routes = [one for one in judged if one.section.kind == "route"]
    # A route whose listener is not known may be just the one that another listener lacks.
    lost = any(name not in listeners for one in routes for name in one.values.get("listener", [""]))
    routed = {name for one in routes for name in one.values.get("listener", ())}
    for name, one in fronts.items():
        if not {"pool", "root"} & one.entries.keys() and name not in routed and not lost:
            text = "is missing, and no [route] names this listener; write pool = postgres, for example"
            problems.append(one.section.problem(one.section.line, text, "pool"))
    seen: dict[tuple[str, str], list[tuple[RouteSpec, Section]]] = {}
    for one in routes:
        _check_route(one, listeners, problems)
        given = [name for name in (*route.OF_CONNECTIONS, *route.OF_REQUESTS) if name in one.given]
        if any(name not in one.values for name in [*given, "listener"]) or not any(
            name in one.values for name in route.ENDS
        ):
            continue  # what is not right cannot be compared
        spec = route.make(one.section.name, one.values)
        first = next((section for other, section in _before(spec, seen) if other.covers(spec)), None)
        if first is not None:
            text = f"is never taken: [{first.title}] in {first.path}:{first.line} stands before it"
            problems.append(one.section.problem(one.section.line, f"{text}, and fits all that it fits"))
        for name in spec.names or ("",):
            for place in spec.listeners:
                seen.setdefault((place, name), []).append((spec, one.section))


def _before(
    spec: RouteSpec, seen: Mapping[tuple[str, str], list[tuple[RouteSpec, Section]]]
) -> Iterator[tuple[RouteSpec, Section]]:
    """The routes before this one, of one of its listeners, that could be for its first name."""
    names = ["", *spec.names[:1]]
    if spec.names:
        labels = spec.names[0].removeprefix("*.").split(".")
        names += ["*", *("*." + ".".join(labels[place:]) for place in range(len(labels)))]
    for place in spec.listeners:
        for name in names:
            yield from seen.get((place, name), ())


def _check_route(one: _Judged, listeners: dict[str, dict[str, Any]], problems: list[Problem]) -> None:
    """A route must ask for what clients of its listeners do, and have something done."""
    own = [listeners[name] for name in one.values.get("listener", ()) if name in listeners]
    for_requests = bool(own) and all(given.get("protocol") == HTTP for given in own)
    if not for_requests and not any(
        name in one.given for name in (*route.OF_CONNECTIONS, *route.OF_REQUESTS)
    ):
        text = "has no condition, so every client would fit; write sni, alpn or speaks, or make its pool "
        problems.append(one.section.problem(one.section.line, text + "that of the listener"))
    if not any(name in one.given for name in route.ENDS):
        text = "is missing; write pool = api, for example" + ", or redirect, respond or root" * for_requests
        problems.append(one.section.problem(one.section.line, text, "pool"))
    for name in one.values.get("listener", ()):
        for option, text in listener.unmet(listeners[name], one.values) if name in listeners else ():
            line = next(entry.line for entry in one.section.entries if entry.key == option)
            problems.append(one.section.problem(line, f"[listener {name}] {text}", option))


def _check_starttls(judged: list[_Judged], problems: list[Problem]) -> None:
    """Where TLS begins in the way of a protocol, clients must speak that one, on both sides."""
    pools = {one.section.name: one.values.get("tls") for one in judged if one.section.kind == "pool"}
    inherited = next((one.values.get("speaks", "") for one in judged if one.section.kind == "proxyd"), "")
    routes = [one for one in judged if one.section.kind == "route"]
    for one in judged:
        if one.section.kind != "listener":
            continue
        given, own = one.values, one.section
        speaks = given.get("speaks", inherited)
        ended = isinstance(given.get("tls"), TlsSpec)
        for option, text in starttls.contradictions(given, speaks, ended):
            problems.append(own.problem(one.entries[option].words[0].line, text, option))
        led = [route for route in routes if own.name in route.values.get("listener", ())]
        if ended and starttls.offered(given.get("starttls", ""), speaks) and starttls.is_late(speaks):
            for leading, option in ((one, option) for one in led for option in ("sni", "alpn")):
                if option in leading.values:
                    text = f"[listener {own.name}] begins TLS as {speaks} does, when a server has greeted:"
                    text += " it is chosen before there is a name"
                    line = leading.entries[option].words[0].line
                    problems.append(leading.section.problem(line, text, option))
        for leading in (one, *led):
            pool = leading.values.get("pool", "")
            asks = pools.get(pool)
            text = starttls.unmet(pool, asks.starttls if asks is not None else "", speaks)
            if text:
                line = leading.entries["pool"].words[0].line
                where = "" if leading is one else f"[listener {own.name}]: "
                problems.append(leading.section.problem(line, where + text, "pool"))


def _check_keys(judged: list[_Judged], problems: list[Problem]) -> None:
    """Who goes by what clients say in TLS, in RDP or in requests must be led clients of whom it is read."""
    listeners = [one for one in judged if one.section.kind == "listener"]
    routes = [one for one in judged if one.section.kind == "route"]
    for one in judged:
        for option, before in (("balance", "key="), ("affinity", "")) if one.section.kind == "pool" else ():
            key = getattr(one.values.get(option), "key", "")
            for front in listeners if _is_said(key) else ():
                text = _unread(key, one.section.name, front, routes)
                if text:
                    line = one.entries[option].words[0].line
                    text = f"{before}{key}: [{front.section.title}] {text}"
                    problems.append(one.section.problem(line, text, option))


def _is_said(key: str) -> bool:
    """Whether a key is something that a client has to say."""
    return key in (*OF_THE_HELLO, *OF_REQUESTS, RDP_COOKIE) or balance.of_requests(key)


def _unread(key: str, pool: str, front: _Judged, routes: list[_Judged]) -> str:
    """Why a listener does not read what its pool goes by; "" if it does, or leads elsewhere."""
    own = [route.values for route in routes if front.section.name in route.values.get("listener", ())]
    if pool not in [values.get("pool") for values in (front.values, *own)]:
        return ""
    if key in OF_REQUESTS or balance.of_requests(key):
        reads = front.values.get("protocol") == HTTP
        return "" if reads else "reads no requests; write protocol = http there"
    if key == RDP_COOKIE:
        return "lets in only TLS, and there is no RDP in it" if "tls" in front.entries else ""
    if key == TLS_SESSION and listener.ends_tls(front.values):
        return "ends TLS itself, so its sessions are with us and no server's"
    if "tls" in front.entries or any("sni" in values or "alpn" in values for values in own):
        return ""
    if key == SNI and listener.ends_tls(front.values):
        return ""
    what = "the name" if key == SNI else "the session"
    return f"does not read {what}; write tls = passthrough there, or a [route] with sni"


def _check_acme(judged: list[_Judged], problems: list[Problem]) -> None:
    """Every authority that is named must be there, and have what it needs."""
    kept = any("state" in one.entries for one in judged if one.section.kind == "proxyd")
    known = [one.section.name for one in judged if one.section.kind == "acme"]
    users: dict[str, list[TlsSpec]] = {}
    for one in judged:
        spec = one.values.get("tls") if one.section.kind == "listener" else None
        if isinstance(spec, TlsSpec):
            for name in spec.acme:
                users.setdefault(name, []).append(spec)
                if name not in known:
                    problems.append(one.section.problem(one.entries["tls"].line, unknown(name, known), "tls"))
    for one in judged:
        if one.section.kind == "acme":
            wrong = acme.missing(kept, one.values, one.entries, users.get(one.section.name, ()))
            for option, text in wrong:
                line = one.entries[option].line if option in one.entries else one.section.line
                problems.append(one.section.problem(line, text, option))


def _check_caches(judged: list[_Judged], problems: list[Problem]) -> None:
    """No two caches may have the same folder."""
    seen: dict[str, str] = {}
    for one in judged:
        path = one.values.get("path", "") if one.section.kind == "cache" else ""
        if path and seen.setdefault(path, one.section.title) != one.section.title:
            text = f"is that of [{seen[path]}], too; each needs a folder of its own"
            problems.append(one.section.problem(one.entries["path"].line, text, "path"))


def _check_contradictions(judged: list[_Judged], problems: list[Problem]) -> None:
    """The options of a section must go together."""
    for one in judged:
        for option, text in KINDS[one.section.kind].contradictions(one.values):
            problems.append(one.section.problem(one.entries[option].words[0].line, text, option))


def _check_combinations(judged: list[_Judged], problems: list[Problem]) -> None:
    """What a pool wants of its checks must be about these, once they are right."""
    for one in judged:
        written = [entry for entry in one.section.entries if entry.key == "check"]
        checks = one.values.get("check", {})
        if one.section.kind == "pool" and len(checks) == len(written):
            for option, text in combination.contradictions(checks, one.values.get("checks")):
                line = one.entries[option].words[0].line
                problems.append(one.section.problem(line, text, option))


def _check_binds(judged: list[_Judged], problems: list[Problem]) -> None:
    """No two may listen in the same place."""
    seen: dict[object, Word] = {}
    parts: dict[object, Word] = {}  # the first in each port, by the place that is all of its addresses
    for one in judged:
        for option, word, bind in _binds(one):
            if isinstance(bind, TcpBind) and bind.port == 0:
                continue  # the kernel gives each a port of its own
            place, whole = _place(bind)
            first = seen.setdefault(place, word)
            other = parts.get(place) or seen.get(whole)
            parts.setdefault(whole, word)
            if first is not word:
                text = f'"{word.text}" is bound twice; the first is in {first.path}:{first.line}'
                problems.append(one.section.problem(word.line, text, option))
            elif other and other is not word:
                text = f'"{word.text}" and "{other.text}" in {other.path}:{other.line} cannot both be had; '
                text += "one of them is every address of the port"
                problems.append(one.section.problem(word.line, text, option))


def _binds(one: _Judged) -> Iterator[tuple[str, Word, Bind]]:
    """The option, word and value of each bind in a section."""
    values, entries = one.values, one.entries
    if one.section.kind in ("listener", "acme") and "bind" in values:
        yield from (("bind", word, bind) for word, bind in zip(entries["bind"].words, values["bind"]))
    elif one.section.kind == "proxyd":
        for option in ("admin", "metrics"):
            if option in values:
                yield option, entries[option].words[0], values[option]
    elif one.section.kind == "demo":
        for name, bind in values.get("server", {}).items():
            title = f"server {name}"
            yield title, entries[title].words[0], bind


def _place(bind: Bind) -> tuple[object, object]:
    """What is the same for binds that cannot be had together: the place, and the whole that it is part of."""
    place: object
    if isinstance(bind, TcpBind):
        return (bind.host, bind.port), ("::" if ":" in bind.host else "0.0.0.0", bind.port)
    if isinstance(bind, UnixBind):
        place = bind.path
    elif isinstance(bind, EndpointBind):
        place = bind.text
    else:
        place = evolve(bind, text="")
    return place, place


def _build(judged: list[_Judged]) -> Config:
    """The values of all sections, put together; called only when nothing is wrong."""
    inherited: dict[str, Any] = {}
    daemon_values: dict[str, Any] = {}
    for one in judged:
        if one.section.kind == "proxyd":
            inherited = {name: value for name, value in one.values.items() if name in _INHERITED}
            daemon_values = {name: value for name, value in one.values.items() if name not in _INHERITED}
    routes: dict[str, list[RouteSpec]] = {}
    for spec in (route.make(one.section.name, one.values) for one in judged if one.section.kind == "route"):
        for name in spec.listeners:
            routes.setdefault(name, []).append(spec)
    listeners, pools, list_specs, counted, authorities, demo_spec = [], [], [], [], [], None
    caches = []
    for one in judged:
        name, given = one.section.name, dict(one.values)
        if one.section.kind == "listener":
            given = {**inherited, **given, "routes": tuple(routes.get(name, ()))}
            if isinstance(given.get("tls"), TlsSpec):
                given["tls"] = _with_folders(given["tls"], daemon_values.get("state", ""))
            listeners.append(
                ListenerSpec(
                    name,
                    binds=given.pop("bind"),
                    tcp=TcpSpec(**asked(given)),
                    http=HttpSpec(**http.asked(given)),
                    **given,
                )
            )
        elif one.section.kind == "pool":
            servers = _servers(given.pop("server"), asked(given), given.pop("tls", None))
            checks = tuple(evolve(check, name=title) for title, check in given.pop("check", {}).items())
            wanted = given.pop("checks", None)
            pools.append(PoolSpec(name, servers, checks=checks, combination=wanted, **given))
        elif one.section.kind == "list":
            list_specs.append(ListSpec(name, **given))
        elif one.section.kind == "counters":
            rules = tuple(evolve(rule, name=title) for title, rule in given.pop("rule", {}).items())
            counted.append(CountersSpec(name, rules=rules, **given))
        elif one.section.kind == "acme":
            authorities.append(_authority(name, given))
        elif one.section.kind == "cache":
            caches.append(CacheSpec(name, **given))
        elif one.section.kind == "demo":
            demo_spec = DemoSpec(
                tuple(DemoServerSpec(title, bind) for title, bind in given["server"].items())
            )
    return Config(
        DaemonSpec(**daemon_values),
        tuple(listeners),
        tuple(pools),
        tuple(list_specs),
        tuple(counted),
        tuple(authorities),
        tuple(caches),
        demo_spec,
    )


def _with_folders(spec: TlsSpec, state: str) -> TlsSpec:
    """TLS with the folders of those authorities that its certificates come from; these renew what expires."""
    if not spec.acme:
        return spec
    folders = tuple(acme.certificates_folder(state, name) for name in spec.acme)
    return evolve(spec, certificates=(*spec.certificates, *folders), serve_expired=True)


def _authority(name: str, given: dict[str, Any]) -> AcmeSpec:
    certificates = [evolve(spec, name=title) for title, spec in given.pop("certificate").items()]
    given.pop("agree_to_terms")  # with a no there would be no configuration
    return AcmeSpec(name, certificates=tuple(certificates), binds=given.pop("bind", ()), **given)


def _servers(
    given: Mapping[str, Any], pools: Mapping[str, Any], pools_tls: Optional[ServerTlsSpec]
) -> tuple[ServerSpec, ...]:
    """The servers of a pool, each with what the pool and it itself ask of TCP and of TLS."""
    servers = []
    for title, value in given.items():
        own = dict(value)
        tcp = {**pools, **asked(own)}
        tls = servertls.asked(own, pools_tls)
        servers.append(ServerSpec(title, **own, tcp=TcpSpec(**tcp) if tcp else None, tls=tls))
    return tuple(servers)
