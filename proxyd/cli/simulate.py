"""What if connections were spread otherwise?  ``proxyctl simulate``."""

from __future__ import annotations

import gc
import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, Optional, Sequence

from attrs import evolve

from proxyd.cli.command import Command, misused, read_config, takes_file
from proxyd.config.address import TcpAddress
from proxyd.config.balance import BALANCES, CONNECT, Balance, BalanceSpec, of_requests
from proxyd.config.document import Config
from proxyd.config.listener import ListenerSpec
from proxyd.config.options import Count, Duration, OneWord, unknown
from proxyd.config.pool import HEAVIEST, PoolSpec, ServerSpec
from proxyd.config.reader import Word
from proxyd.config.words import Invalid, quoted, split

if TYPE_CHECKING:
    from proxyd.policy.accesslog import Logged
    from proxyd.policy.simulate import Loss, Outcome
    from proxyd.policy.traffic import Traffic

MOST_SERVERS = 10_000
MOST_ARRIVALS = 1_000_000_000
ALL = "all"

_MADE_UP = ("rate", "lasts", "clients", "skew", "bytes")  # what only --arrivals heeds


def simulate(arguments: Namespace) -> int:
    """Replay the clients of a log, or made up ones, and say how the servers are loaded."""
    config = read_config(arguments.file)
    pool = _servers(arguments, _pool(config, arguments.pool))
    losses = _losses(arguments.lose, pool)
    ways = _ways(arguments.balance, pool)
    clients = _clients(arguments, pool)
    if clients is None:
        return 1
    pools = [evolve(pool, balance=way) for _, way in ways]
    listeners = {listener.name: listener for listener in config.listeners}
    outcomes = _run(clients, pools, losses, listeners, arguments.seed)
    named = {name: outcome for (name, _), outcome in zip(ways, outcomes)}
    from proxyd.cli import loads

    print(json.dumps(loads.as_json(pool.name, named)) if arguments.json else loads.as_text(pool.name, named))
    return 0


def _run(
    clients: Iterable[Logged],
    pools: Sequence[PoolSpec],
    losses: Sequence[Loss],
    listeners: Mapping[str, ListenerSpec],
    seed: int,
) -> list[Outcome]:
    """All pools at the same time, so that the clients need to be read only once; each has its own dice."""
    from random import Random

    from proxyd.cli.progress import Progress
    from proxyd.policy.simulate import Simulation

    simulations = [Simulation(pool, Random(seed).random, losses, listeners) for pool in pools]
    progress = Progress(sys.stderr, "clients simulated")
    gc.collect()
    gc.disable()  # nothing here makes cycles, and looking for them among all open connections takes long
    try:
        for number, logged in enumerate(clients, 1):
            for simulation in simulations:
                simulation.arrive(logged)
            progress.at(number)
    finally:
        gc.enable()
    progress.over()
    return [simulation.outcome() for simulation in simulations]


def _pool(config: Config, name: Optional[str]) -> PoolSpec:
    """The pool that is meant: the only one, if none is named."""
    pools = {pool.name: pool for pool in config.pools}
    if name is None and len(pools) > 1:
        misused("simulate", f"there are several pools; add --pool and one of {', '.join(pools)}")
    if name is not None and name not in pools:
        misused("simulate", f"--pool: {unknown(name, pools)}")
    return pools[name] if name is not None else config.pools[0]


def _servers(arguments: Namespace, pool: PoolSpec) -> PoolSpec:
    """The pool with other servers or weights."""
    if arguments.servers is not None:
        # Nobody connects to them; the addresses are those for documentation (RFC 5737).
        alike = evolve(pool.servers[0], weight=1, backup=False, priority=0)
        pool = evolve(
            pool,
            servers=tuple(
                evolve(alike, name=f"s{number}", address=TcpAddress("192.0.2.1", number))
                for number in range(1, arguments.servers + 1)
            ),
        )
    servers = {server.name: server for server in pool.servers}
    for text in arguments.weight:
        name, equals, weight = text.partition("=")
        if not equals:
            misused(
                "simulate", f"--weight: {quoted(text)} is not a server and a weight; write a=3, for example"
            )
        _known("--weight", name, servers)
        servers[name] = evolve(servers[name], weight=_read("--weight", Count(0, HEAVIEST), weight))
    return evolve(pool, servers=tuple(servers.values()))


def _known(argument: str, name: str, servers: Mapping[str, ServerSpec]) -> None:
    if name not in servers:
        misused("simulate", f"{argument}: {unknown(name, servers)}")


def _read(argument: str, form: OneWord, text: str) -> Any:
    """A value as it is written in the configuration, too."""
    try:
        return form.read(Word(text, "", 0))
    except Invalid as why:
        misused("simulate", f"{argument}: {why}")


def _losses(texts: Sequence[str], pool: PoolSpec) -> list[Loss]:
    from proxyd.policy.simulate import Loss

    losses = []
    for text in texts:
        name, at, times = text.rpartition("@")
        if not at:
            misused("simulate", f"--lose: {quoted(text)} does not say when; write a@10m or a@10m-20m")
        _known("--lose", name, {server.name: server for server in pool.servers})
        away, dash, back = times.partition("-")
        moments = [
            _read("--lose", Duration(may_be_zero=True), one) for one in ((away, back) if dash else (away,))
        ]
        if dash and moments[0] >= moments[1]:
            misused("simulate", f"--lose: {quoted(text)} comes back before it goes")
        losses.append(Loss(name, *moments))
    return losses


def _ways(texts: Sequence[str], pool: PoolSpec) -> list[tuple[str, BalanceSpec]]:
    """The ways to balance that are compared, each with what it is called; at least the configured one."""
    asked = [one for text in texts for one in (BALANCES if text == ALL else (text,))]
    ways = [(one, _way(one)) for one in dict.fromkeys(asked)] or [(pool.balance.name, pool.balance)]
    for _, way in ways:
        if of_requests(way.key):
            what = f"{way.name} key={way.key} goes by what is in requests, and clients make none here"
            misused("simulate", f"{what}; write --balance and another way")
        if way.measure != CONNECT:
            what = f"{way.name} measure={way.measure} goes by what no log has"
            print(f"note: {what}; the time to connect stands for it", file=sys.stderr)
    return ways


def _way(text: str) -> BalanceSpec:
    wrong: list[str] = []
    try:
        words = [Word(word, "", 0) for word in split(text, {})]
    except Invalid as why:
        misused("simulate", f"--balance: {why}")
    found = Balance().parse(words, lambda _, why: wrong.append(why)) if words else None
    if wrong or found is None:
        misused("simulate", f"--balance: {'; '.join(wrong) or 'has no value'}")
    return found


def _clients(arguments: Namespace, pool: PoolSpec) -> Optional[Iterable[Logged]]:
    """Those who come; None if there are none, and that has been said."""
    if arguments.arrivals is not None:
        from random import Random

        from proxyd.policy.traffic import arrivals

        return arrivals(_traffic(arguments), Random(f"traffic {arguments.seed}").random)
    for name in _MADE_UP:
        if getattr(arguments, name) is not None:
            misused("simulate", f"--{name} is of made up clients (--arrivals); a log has its own")
    from proxyd.cli.replay import read_logs

    try:
        found = read_logs(arguments.log, pool.name)
    except (OSError, EOFError) as error:
        name = getattr(error, "filename", None) or ", ".join(arguments.log)
        print(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return None
    left_out = [
        f"{count:,} {what}"
        for count, what in (
            (found.of_others, f"of other pools or of none ({', '.join(found.other_pools)})"),
            (found.unreadable, "that are no lines of an access log"),
        )
        if count
    ]
    if left_out:
        print(f"note: left out {' and '.join(left_out)}", file=sys.stderr)
    if not len(found.connections):
        print(f"no line of {', '.join(arguments.log)} is of pool {pool.name}", file=sys.stderr)
        return None
    return found.connections


def _traffic(arguments: Namespace) -> Traffic:
    from proxyd.policy.traffic import Lasting, Traffic

    given = {name: getattr(arguments, name) for name in _MADE_UP if getattr(arguments, name) is not None}
    lasts = given.pop("lasts", None)
    if lasts is not None:
        given["lasting"] = Lasting(*lasts)
    return Traffic(arguments.arrivals, **given)


def _number(low: float, high: float, whole: bool = True) -> Callable[[str], Any]:
    """What reads a number within bounds, both included."""

    def read(text: str) -> Any:
        try:
            found = int(text) if whole else float(text)
        except ValueError:
            found = None
        if found is None or not low <= found <= high:
            kind = "a whole number" if whole else "a number"
            raise ArgumentTypeError(f"{quoted(text)} is not {kind}, {low:g} to {high:g}")
        return found

    return read


def _lasts(text: str) -> tuple[str, float, float]:
    """``lognormal:2s:1.5``: a distribution, its mean, and its shape."""
    from proxyd.policy.traffic import PARETO, SHAPES

    kind, _, rest = text.partition(":")
    mean, _, shape = rest.partition(":")
    if kind not in SHAPES:
        raise ArgumentTypeError(unknown(kind, SHAPES))
    try:
        seconds = Duration().read(Word(mean, "", 0))
    except Invalid as why:
        raise ArgumentTypeError(str(why)) from None
    if shape and not SHAPES[kind]:
        raise ArgumentTypeError(f"{kind} has no shape; write {kind}:{mean}")
    least = 1.01 if kind == PARETO else 0.01
    return kind, seconds, _number(least, 10, whole=False)(shape) if shape else SHAPES[kind]


def _arguments(parser: ArgumentParser) -> None:
    takes_file(parser)
    clients = parser.add_argument_group("the clients, one of").add_mutually_exclusive_group(required=True)
    clients.add_argument(
        "--log",
        metavar="LOG",
        action="append",
        help="an access log, of text or JSON, also packed by gzip; several in any order; - is standard input",
    )
    clients.add_argument(
        "--arrivals", metavar="N", type=_number(1, MOST_ARRIVALS), help="so many made up clients"
    )
    made_up = parser.add_argument_group("made up clients")
    made_up.add_argument(
        "--rate", metavar="R", type=_number(0.001, 1e6, whole=False), help="so many a second (default: 100)"
    )
    made_up.add_argument(
        "--lasts",
        metavar="HOW",
        type=_lasts,
        help="how long they stay: fixed:2s, exponential:2s, lognormal:2s:1.5 or pareto:2s:1.5, which are the "
        "mean and the shape (default: exponential:1s)",
    )
    made_up.add_argument(
        "--clients",
        metavar="N",
        type=_number(1, 1_000_000),
        help="so many addresses that they come from (default: 10000)",
    )
    made_up.add_argument(
        "--skew",
        metavar="S",
        type=_number(0, 3, whole=False),
        help="how much more often some come than others: 0 not at all, 1 by Zipf's law (default: 0)",
    )
    made_up.add_argument(
        "--bytes", metavar="N", type=_number(0, 10**12), help="what each moves on average (default: 10000)"
    )
    what_if = parser.add_argument_group("what is different")
    what_if.add_argument("--pool", metavar="POOL", help="the pool, if there are several")
    what_if.add_argument(
        "--balance",
        metavar="HOW",
        action="append",
        default=[],
        help=f"another way to balance, as in the configuration; several are compared, {ALL} are all",
    )
    what_if.add_argument(
        "--weight", metavar="SERVER=N", action="append", default=[], help="another weight of a server"
    )
    what_if.add_argument(
        "--servers",
        metavar="N",
        type=_number(1, MOST_SERVERS),
        help="so many servers, all alike, in place of the configured ones; they are called s1, s2, ...",
    )
    what_if.add_argument(
        "--lose",
        metavar="SERVER@WHEN",
        action="append",
        default=[],
        help="a server that is lost so long after the first client: b@10m for good, b@10m-20m for a while",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=_number(0, 2**63),
        default=1,
        help="what all chance follows from; another number is another throw of the dice (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="say it in JSON")


COMMANDS = (
    Command(
        "simulate",
        help="replay an access log against other ways to balance, weights or servers",
        description="Replay the clients of an access log, or made up ones, on a clock that runs as fast as "
        "they can be counted, and say how the servers of a pool are loaded. What decides is what decides in "
        "the daemon, so this is what it would do. Connections last and move as they did in the log. Nothing "
        "is connected to.",
        example="proxyctl simulate proxy.ini --log access.log --balance leastconn --balance p2c --lose b@10m",
        arguments=_arguments,
        run=simulate,
    ),
)
