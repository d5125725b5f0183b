"""How are measurements told?  Medians, ratios to the better peer, and tables of them."""

from __future__ import annotations

from statistics import median
from typing import Mapping, Optional, Sequence

import attrs

from bench.load import Result
from bench.proxies import PEERS
from bench.rows import Figure, Row

OURS = ("proxyd", "compiled")  # the builds that are compared with the peers

Results = Mapping[str, Sequence[Result]]  # by proxy


@attrs.frozen
class Line:
    """One figure: the median for each proxy, and how ours compare."""

    row: Row
    figure: Figure
    medians: Mapping[str, float]

    def ratio(self, build: str) -> Optional[float]:
        """One of ours to the better peer, or what is a ratio itself; more is better; None without either."""
        peers = [self.medians[name] for name in PEERS if self.medians.get(name, 0) > 0]
        own = self.medians.get(build, 0)
        if self.figure.itself_a_ratio:
            return own or None
        if not peers or own <= 0 or not self.figure.compared:
            return None
        return min(peers) / own if self.figure.less_is_better else own / max(peers)

    def verdict(self, build: str) -> str:
        """Whether it reaches the target."""
        ratio = self.ratio(build)
        if ratio is None or self.figure.target is None:
            return ""
        return "yes" if ratio >= self.figure.target else "NO"


def lines(row: Row, results: Results) -> list[Line]:
    """The figures of a row."""
    return [
        Line(row, figure, {name: median(map(figure.read, these)) for name, these in results.items() if these})
        for figure in row.figures
    ]


def number(value: Optional[float]) -> str:
    """A number with three digits or so that mean something."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def builds(names: Sequence[str]) -> list[str]:
    """Those of ours that were measured."""
    return [build for build in OURS if build in names]


def cells(line: Line, names: Sequence[str]) -> list[str]:
    """A figure as the columns of a table."""
    target = line.figure.target
    ratios = [line.ratio(build) for build in builds(names)]
    return [
        f"{line.figure.name}, {line.figure.unit}",
        *(number(line.medians.get(name)) for name in names),
        *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
        "" if target is None else f"{target:g}",
        *(line.verdict(build) for build in builds(names)),
    ]


def headings(names: Sequence[str]) -> list[str]:
    """The heads of those columns."""
    ours = builds(names)
    return [
        *("figure", *names),
        *(f"{build}'s ratio" for build in ours),
        "target",
        *(f"{build} reaches it" for build in ours),
    ]


def terminal(everything: Sequence[Line], names: Sequence[str]) -> str:
    """All rows as a table for the terminal."""
    table = [headings(names), *(cells(line, names) for line in everything)]
    widths = [max(map(len, column)) for column in zip(*table)]
    out = [_aligned(table[0], widths)]
    last = None
    for line, texts in zip(everything, table[1:]):
        if line.row is not last:
            out.append(f"{line.row.name}: {line.row.text}")
            last = line.row
        out.append(_aligned(texts, widths))
    return "\n".join(out)


def _aligned(texts: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        text.rjust(width) if place else text.ljust(width)
        for place, (text, width) in enumerate(zip(texts, widths))
    )
    return "  ".join(["  " + first, *others]).rstrip()


def page(everything: Sequence[Line], names: Sequence[str], facts: Mapping[str, str]) -> str:
    """All rows as a page in Markdown, with where and how they were measured."""
    head = ["row", *headings(names)]
    body = [[line.row.text, *cells(line, names)] for line in everything]
    return "\n".join(
        [
            "# Results",
            "",
            "Medians of alternating rounds on one machine, each proxy on one core and the load on another.",
            "A ratio is ours to the better of HAProxy and nginx, such that more is better. `proxyd` is pure",
            "Python, `compiled` is proxyd built with `PROXYD_COMPILE=1`, and `stock` is `proxyd` with",
            "`datapath = stock`. How each proxy is configured is in `bench/proxies.py`.",
            "",
            *(f"- {name}: {text}" for name, text in facts.items()),
            "",
            _piped(head),
            _piped(["---", "---", *("---:" for _ in head[2:])]),
            *map(_piped, body),
            "",
        ]
    )


def _piped(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"
