"""Which way would this client take, and why?  ``proxyctl explain``."""

from __future__ import annotations

import ipaddress
import json
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any, Iterator, NoReturn

from attrs import evolve

from proxyd.cli.command import Command, misused, read_config, takes_file
from proxyd.cli.table import aligned
from proxyd.config.document import Config
from proxyd.config.http import HTTP
from proxyd.config.listener import ListenerSpec
from proxyd.config.options import Choice, Count, OneWord, unknown
from proxyd.config.pool import HEAVIEST
from proxyd.config.reader import Word
from proxyd.config.route import SPEAKS
from proxyd.config.words import Invalid, printable, quoted
from proxyd.errors import Malformed, Problem

if TYPE_CHECKING:
    from proxyd.policy.admission import Admission
    from proxyd.policy.explain import Explanation, Supposed
    from proxyd.policy.explainrequest import SupposedRequest
    from proxyd.policy.lists import Lists

_CLIENT = ("listener", "client", "sni", "alpn", "speaks", "remembered")
_REQUEST = ("host", "path", "method", "scheme")
_SCHEMES = ("http", "https")
_STATES = ("up", "down", "checking", "draining", "maintenance", "ejected")
_HEADER = "header"
_COOKIE = "header.cookie"
_NUMBERS = {"weight": Count(0, HEAVIEST), "open": Count(0, 1_000_000)}
_WIDTH = 14  # of the words on the left


def explain(arguments: Namespace) -> int:
    """Say what becomes of a client, and what each step decides."""
    config = read_config(arguments.file)
    from random import Random

    from proxyd.cli.live import as_it_is
    from proxyd.policy.explain import NotSupposed
    from proxyd.policy.explain import explain as explained
    from proxyd.policy.lists import Lists

    given = _given(arguments.suppose)
    listener = _listener(config, given.pop("listener", ""))
    pools = {pool.name: pool for pool in config.pools}
    try:
        lists = Lists(config.lists)
        admission, supposed = _admission(config, listener, lists), _supposed(given, listener)
        if any(name.lower() == _COOKIE for name in given):
            supposed = evolve(supposed, secrets=_secrets(config))
        if listener.access and "client" not in given:
            _wrong(f"client= is missing; listener {listener.name} has allow or deny, which go by it")
        if arguments.live:
            # The servers that there are in the daemon may be others, so the pool is found without them.
            nobody = evolve(supposed, states={}, weights={}, open={}, remembered="")
            found = explained(listener, admission, pools, nobody, Random(arguments.seed).random, lists)
            if found.pool:
                pool, supposed = as_it_is(arguments.file, pools[found.pool], supposed)
                pools[found.pool] = pool
        found = explained(listener, admission, pools, supposed, Random(arguments.seed).random, lists)
    except NotSupposed as why:
        _wrong(str(why))
    print(json.dumps(as_json(found), indent=2) if arguments.json else "\n".join(as_text(found)))
    return 0


def _wrong(text: str) -> NoReturn:
    misused("explain", text)


def _given(words: list[str]) -> dict[str, str]:
    """The ``name=value`` words by their names."""
    given: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        known = [
            *_CLIENT,
            *_STATES,
            *(f"{number}.SERVER" for number in _NUMBERS),
            *_REQUEST,
            f"{_HEADER}.NAME",
        ]
        kind, dot, server = name.partition(".")
        if name not in known and not (dot and server and kind in (*_NUMBERS, _HEADER)):
            _wrong(unknown(name, known))
        if not equals or not value:
            _wrong(f"{name} has no value; write {name}=..., with no blank around the =")
        if name in given:
            _wrong(f"{name} is given twice")
        given[name] = value
    return given


def _listener(config: Config, name: str) -> ListenerSpec:
    """The listener that is meant: the only one, if none is named."""
    listeners = {listener.name: listener for listener in config.listeners}
    if not listeners:
        _wrong("the configuration has no listener, so no client can come")
    if not name and len(listeners) > 1:
        _wrong(f"there are several listeners; add listener= and one of {', '.join(listeners)}")
    if name and name not in listeners:
        _wrong(f"listener: {unknown(name, listeners)}")
    return listeners[name] if name else config.listeners[0]


def _admission(config: Config, listener: ListenerSpec, lists: Lists) -> Admission:
    """Who may come in at the listener; leaves with status 1 if a file of networks cannot be used."""
    from proxyd.config.lists import read_slices
    from proxyd.policy.admission import Admission
    from proxyd.policy.bans import Bans
    from proxyd.policy.lists import gather

    admission = Admission(listener.access, lists, Bans(1))
    routes = [route for route in listener.routes if route.condition.client is not None]
    for route in routes:
        assert route.condition.client is not None
        lists.members(route.condition.client, route.name)
    closed = [pool for pool in config.pools if pool.name in listener.pools and pool.maintenance]
    for pool in closed:
        lists.members(pool.maintenance_allow, pool.name)
    for path, listed in lists.files.items() if listener.access or routes or closed else ():
        problems: list[Problem] = []
        for networks in gather(read_slices(path, problems)):
            listed.networks = networks or listed.networks
        if problems:
            print(*problems, sep="\n", file=sys.stderr)
            raise SystemExit(1)
    return admission


def _secrets(config: Config) -> dict[str, bytes]:
    """What the cookies of pools are sealed with; leaves with status 1 if a file cannot be used."""
    from proxyd.config.affinity import read_secret

    problems: list[Problem] = []
    secrets = {}
    for pool in config.pools:
        cookie = pool.affinity.cookie if pool.affinity is not None else None
        if cookie is not None:
            text = cookie.secret.encode("utf-8")
            secrets[pool.name] = read_secret(cookie.secret_path, problems) if cookie.secret_path else text
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
        raise SystemExit(1)
    return secrets


def _supposed(given: dict[str, str], listener: ListenerSpec) -> Supposed:
    from proxyd.policy.explain import Supposed
    from proxyd.policy.state import State

    states: dict[str, State] = {}
    for state in State:
        for server in given.get(state.value, "").split(","):
            if server in states:
                _wrong(f"server {quoted(server)} cannot be both {states[server].value} and {state.value}")
            if server:
                states[server] = state
    numbers: dict[str, dict[str, int]] = {kind: {} for kind in _NUMBERS}
    for name, value in given.items():
        kind, dot, server = name.partition(".")
        if dot and kind in numbers:
            numbers[kind][server] = _read(name, _NUMBERS[kind], value)
    if "speaks" in given:
        _read("speaks", Choice(SPEAKS), given["speaks"])
    return Supposed(
        arrival=_arrival(given.get("client", ""), given.get("sni", "")),
        speaks=given.get("speaks", ""),
        alpn=tuple(protocol.encode() for protocol in given.get("alpn", "").split(",") if protocol),
        states=states,
        weights=numbers["weight"],
        open=numbers["open"],
        remembered=given.get("remembered", ""),
        request=_request(given, listener),
    )


def _request(given: dict[str, str], listener: ListenerSpec) -> SupposedRequest:
    """What the client asks for."""
    from proxyd.policy.explainrequest import supposed_request

    lines = [
        f"{name.partition('.')[2]}: {text}" for name, text in given.items() if name.startswith(f"{_HEADER}.")
    ]
    asked = [name for name in given if name in _REQUEST or name.startswith(f"{_HEADER}.")]
    if asked and listener.protocol != HTTP:
        _wrong(f"{asked[0]}: listener {listener.name} does not speak HTTP")
    secure = _read("scheme", Choice(_SCHEMES), given.get("scheme", "http")) == "https"
    method, host, path = given.get("method", "GET"), given.get("host", ""), given.get("path", "/")
    try:
        return supposed_request(method, host or "localhost", path, lines, secure)
    except Malformed as why:
        _wrong(f"that is no request: {why}")


def _read(name: str, form: OneWord, text: str) -> Any:
    try:
        return form.read(Word(text, "", 0))
    except Invalid as why:
        _wrong(f"{name}: {why}")


def _arrival(client: str, sni: str) -> Any:
    """The client: an address, with its port if that matters; nothing is one that comes by a unix socket."""
    from proxyd.policy.arrival import Arrival

    host, port = client, ""
    if client.startswith("[") or client.count(":") == 1:
        host, _, port = client.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        source = str(ipaddress.ip_address(host)) if client else ""
    except ValueError:
        _wrong(
            f"client: {quoted(client)} is no address; write 10.1.2.3, 10.1.2.3:40312 or [2001:db8::1]:40312"
        )
    return Arrival(source, _read("client", Count(0, 65535), port) if port else 0, sni)


def as_text(found: Explanation) -> Iterator[str]:
    """The steps for people, a line or a table for each."""
    yield _line("listener", found.listener)
    if found.admission:
        yield _line("admission", found.admission)
    if found.opening:
        yield _line("opening", found.opening)
    for step in found.routes:
        led = f", to pool {step.pool}" if step.pool else ""
        verdict = f"taken{led}: " if step.taken else "not taken: "
        yield _line("route", f"{step.route} {verdict}{step.why}")
    for action in found.actions:
        yield _line("action", action)
    if found.pool:
        led = "" if any(step.taken for step in found.routes) else ", the listener's"
        yield _line("pool", found.pool + led)
    if found.servers:
        yield ""
        yield from aligned([_TITLES, *map(_row, found.servers)], _RIGHT)
        yield ""
        if found.panic:
            yield _line("panic", "fewer are up than panic_threshold, so all get clients")
        yield _line("balance", found.balance + (f", by {printable(found.key)}" if found.key else ""))
        if found.affinity:
            had = (
                f"this client had {found.remembered}" if found.remembered else "this client is not remembered"
            )
            yield _line("affinity", f"by {found.affinity}; {had}")
    if found.chosen:
        yield _line("chosen", found.chosen + _odds(found))
        if found.retries:
            yield _line("if it fails", f"{', then '.join(found.retries)}; then the client is closed")
        else:
            yield _line("if it fails", "the client is closed")
    if found.reason is not None:
        yield _line("closed", f"{found.reason.code}: {found.detail}")
    elif found.detail:
        yield _line("waits", found.detail)


_TITLES = ["SERVER", "STATE", "WEIGHT", "OPEN", "TIER", "ADDRESS", "WHY"]
_RIGHT = [False, False, True, True, True, False, False]


def _row(step: Any) -> list[str]:
    tier = str(step.tier) if step.tier else "-"
    return [step.server, step.state, f"{step.weight:g}", str(step.open), tier, step.address, step.why]


def _odds(found: Explanation) -> str:
    if len(found.likely) < 2:
        return ""
    shares = [f"{server} {share:.0%}" for server, share in found.likely.items()]
    return f" this time; of many such clients {', '.join(shares)}"


_WORDS = ("listener", "admission", "opening", "pool", "balance", "panic", "key", "affinity", "remembered")


def _line(word: str, text: str) -> str:
    return f"{word:<{_WIDTH}}{text}"


def as_json(found: Explanation) -> dict[str, Any]:
    """The same for programs."""
    from attrs import asdict

    return {
        **{name: getattr(found, name) for name in _WORDS},
        "routes": [asdict(step) for step in found.routes],
        "actions": list(found.actions),
        "servers": [asdict(step) for step in found.servers],
        "chosen": found.chosen,
        "retries": list(found.retries),
        "likely": dict(found.likely),
        "reason": found.reason.code if found.reason is not None else "",
        "detail": found.detail,
    }


def _arguments(parser: ArgumentParser) -> None:
    takes_file(parser)
    parser.add_argument(
        "suppose",
        metavar="NAME=VALUE",
        nargs="*",
        help="who comes: listener=NAME client=ADDRESS[:PORT] sni=NAME alpn=h2,http/1.1 "
        f"speaks={'|'.join(SPEAKS)} remembered=SERVER, which it had before; what it asks for over "
        "HTTP: host=NAME path=/A?B method=GET scheme=http|https header.NAME=VALUE (the cookie of an affinity "
        "is read); and how the servers are, "
        f"those that are not named being up: {'= '.join(_STATES[1:])}= and names with commas between, "
        "weight.SERVER=N, open.SERVER=N",
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="ask the running daemon, by the admin socket of FILE, how the pool and its servers are (but for "
        "slow start), and which server it remembers of the client; what is supposed comes before that",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        default=1,
        help="what all chance follows from; another number is another throw of the dice (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="say it in JSON")
    parser.set_defaults(words="suppose")


COMMANDS = (
    Command(
        "explain",
        help="say which server a client would get, and why",
        description="Send a client that is only supposed through the routes, the pool and the balancer of a "
        "configuration, and say what each decides, and why. What decides is what decides in the daemon. "
        "Nothing is connected to, but for the daemon with --live.",
        example="proxyctl explain proxy.ini listener=db client=10.1.2.3 down=a,b weight.c=0",
        arguments=_arguments,
        run=explain,
    ),
)
