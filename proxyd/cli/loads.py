"""How does one read what a simulation has found: of one way to balance, or of several beside each other?"""

from __future__ import annotations

from typing import Any, Callable, Iterator, Mapping, Sequence

from proxyd.cli.table import aligned
from proxyd.policy.simulate import Load, Outcome

_MOST_COLUMNS = 10  # servers that are put side by side

_MEASURES: dict[str, Callable[[Load], float]] = {
    "connections": lambda load: load.connections,
    "open": lambda load: load.open_seconds,
    "bytes": lambda load: load.bytes_in + load.bytes_out,
}


def as_text(pool: str, outcomes: Mapping[str, Outcome]) -> str:
    """What has become of the clients, by the name of each way to balance."""
    [first, *others] = outcomes.values()
    paragraphs = [f"{first.arrivals:,} clients in {_time(first.seconds)}, to pool {pool}"]
    if others:
        paragraphs.append(_compared(outcomes))
        if len(first.loads) <= _MOST_COLUMNS:
            paragraphs.append("connections of each server\n" + _shares(outcomes))
    else:
        [name] = outcomes
        paragraphs += [f"balance {name}\n" + _one(first), *_ends(first)]
    return "\n\n".join(paragraphs)


def _one(outcome: Outcome) -> str:
    heading = ["SERVER", "WEIGHT", "CONNECTIONS", "SHARE", "PEAK OPEN", "MEAN OPEN", "IN", "OUT"]
    lost = any(load.failed or load.cut for load in outcome.loads)
    rows = [[*heading, "FAILED", "CUT"] if lost else heading]
    for load in outcome.loads:
        row = [
            load.server.name,
            str(load.server.weight),
            f"{load.connections:,}",
            f"{_share(load, outcome):.1%}",
            f"{load.peak:,}",
            f"{_mean_open(load, outcome):,.1f}",
            _bytes(load.bytes_in),
            _bytes(load.bytes_out),
        ]
        rows.append([*row, f"{load.failed:,}", f"{load.cut:,}"] if lost else row)
    return _table(rows)


def _ends(outcome: Outcome) -> Iterator[str]:
    words = []
    for name, measure in _MEASURES.items():
        found = outcome.imbalance(measure)
        words.append(f"{name} {found.worst:.3f} (deviation {found.variation:.1%})")
    yield f"the highest for its weight, as a multiple of the mean: {', '.join(words)}"
    waiting = outcome.waiting
    if waiting.clients:
        yield (
            f"waited in the queue: {waiting.clients:,} clients ({waiting.clients / outcome.arrivals:.1%}), "
            f"for {waiting.seconds / waiting.clients:.3f} s on average and {waiting.longest:.3f} s at most; "
            f"half of them for {waiting.within(0.5):.3f} s at most, 99% for {waiting.within(0.99):.3f} s"
        )
    if outcome.retries or outcome.unserved:
        yield (
            f"retries {outcome.retries:,}; clients that got no server: {outcome.no_server:,} none was up, "
            f"{outcome.unreachable:,} none could be reached, {waiting.refused:,} the queue was full, "
            f"{waiting.evicted:,} made room for others, {waiting.timed_out:,} waited in vain"
        )


def _compared(outcomes: Mapping[str, Outcome]) -> str:
    rows = [
        ["BALANCE", *map(str.upper, _MEASURES), "PEAK OPEN", "WAITED", "MEAN WAIT", "RETRIES", "NO SERVER"]
    ]
    for name, outcome in outcomes.items():
        rows.append(
            [
                name,
                *(f"{outcome.imbalance(measure).worst:.3f}" for measure in _MEASURES.values()),
                f"{max(load.peak for load in outcome.loads):,}",
                f"{outcome.waiting.clients:,}",
                f"{outcome.waiting.seconds / (outcome.waiting.clients or 1):.3f} s",
                f"{outcome.retries:,}",
                f"{outcome.unserved:,}",
            ]
        )
    return "the highest of a server for its weight, as a multiple of the mean: 1 is even\n" + _table(rows)


def _shares(outcomes: Mapping[str, Outcome]) -> str:
    [first, *_] = outcomes.values()
    rows = [["BALANCE", *(load.server.name for load in first.loads)]]
    for name, outcome in outcomes.items():
        rows.append([name, *(f"{_share(load, outcome):.1%}" for load in outcome.loads)])
    return _table(rows)


def as_json(pool: str, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """The same for programs; times are seconds."""
    return {
        "pool": pool,
        "simulations": [
            {
                "balance": name,
                "clients": outcome.arrivals,
                "seconds": round(outcome.seconds, 6),
                "retries": outcome.retries,
                "no_server": outcome.no_server,
                "unreachable": outcome.unreachable,
                "queue": {
                    "clients": outcome.waiting.clients,
                    "seconds": round(outcome.waiting.seconds, 6),
                    "mean": round(outcome.waiting.seconds / (outcome.waiting.clients or 1), 6),
                    "p50": round(outcome.waiting.within(0.5), 6),
                    "p99": round(outcome.waiting.within(0.99), 6),
                    "longest": round(outcome.waiting.longest, 6),
                    "refused": outcome.waiting.refused,
                    "evicted": outcome.waiting.evicted,
                    "timed_out": outcome.waiting.timed_out,
                },
                "imbalance": {
                    measured: {
                        "worst": round(outcome.imbalance(measure).worst, 6),
                        "variation": round(outcome.imbalance(measure).variation, 6),
                    }
                    for measured, measure in _MEASURES.items()
                },
                "servers": [
                    {
                        "server": load.server.name,
                        "weight": load.server.weight,
                        "connections": load.connections,
                        "share": round(_share(load, outcome), 6),
                        "peak_open": load.peak,
                        "mean_open": round(_mean_open(load, outcome), 6),
                        "bytes_in": load.bytes_in,
                        "bytes_out": load.bytes_out,
                        "failed": load.failed,
                        "cut": load.cut,
                    }
                    for load in outcome.loads
                ],
            }
            for name, outcome in outcomes.items()
        ],
    }


def _table(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column has names, and all others numbers."""
    return "\n".join(aligned(rows, [place > 0 for place in range(len(rows[0]))]))


def _share(load: Load, outcome: Outcome) -> float:
    return load.connections / (sum(one.connections for one in outcome.loads) or 1)


def _mean_open(load: Load, outcome: Outcome) -> float:
    return load.open_seconds / outcome.seconds if outcome.seconds else 0.0


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _bytes(count: float) -> str:
    if count < 1000:
        return f"{count} B"
    units = ["kB", "MB", "GB", "TB"]
    while count >= 999_950 and len(units) > 1:
        count /= 1000
        del units[0]
    return f"{count / 1000:.1f} {units[0]}"
