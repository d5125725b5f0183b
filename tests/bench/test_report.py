"""Are medians, ratios and verdicts what they are called?"""

from __future__ import annotations

from typing import Mapping

from bench.report import Line, lines, number, page, terminal
from bench.rows import Figure, Row, cost, latency, rate, to_the_other
from tests.support.case import Case

MORE = Figure("exchanges", "/s", rate("exchanges"), 0.75)
LESS = latency("p50", 0.8)
ROW = Row("one", "exchanges on 1 connection", (MORE, LESS), {"exchangers": 1})


def line(figure: Figure, **medians: float) -> Line:
    """A figure with these medians."""
    return Line(ROW, figure, medians)


def result(exchanges: float, p50: float) -> Mapping[str, float]:
    """What the load generator says of two seconds."""
    return {"seconds": 2.0, "cpu": 1.0, "exchanges": exchanges, "p50": p50}


class Ratios(Case):
    """How ours compares with the better peer."""

    def test_more_is_better(self) -> None:
        """Of a rate the peer with more of it counts, and the ratio is ours to theirs."""
        self.assertEqual(line(MORE, proxyd=30, stock=90, haproxy=40, nginx=20).ratio("proxyd"), 0.75)

    def test_less_is_better(self) -> None:
        """Of a latency the peer with less of it counts, and the ratio is theirs to ours."""
        self.assertEqual(line(LESS, proxyd=50, stock=9, haproxy=40, nginx=80).ratio("proxyd"), 0.8)

    def test_verdict(self) -> None:
        """The target itself reaches the target."""
        self.assertEqual(line(MORE, proxyd=75, nginx=100).verdict("proxyd"), "yes")
        self.assertEqual(line(MORE, proxyd=74, nginx=100).verdict("proxyd"), "NO")
        self.assertEqual(line(latency("p99"), proxyd=74, nginx=100).verdict("proxyd"), "")

    def test_each_build(self) -> None:
        """The pure build and the compiled one are compared and judged each by itself."""
        both = line(MORE, proxyd=74, compiled=80, nginx=100)
        self.assertEqual((both.ratio("proxyd"), both.ratio("compiled")), (0.74, 0.8))
        self.assertEqual((both.verdict("proxyd"), both.verdict("compiled")), ("NO", "yes"))

    def test_a_ratio_itself(self) -> None:
        """Where the figure is a ratio, ours shall reach the target, whatever the peers have."""
        share = Figure("to that without TLS", "ratio", to_the_other("exchanges"), 0.95, itself_a_ratio=True)
        self.assertEqual(share.read({**result(95, 1), "beside": result(100, 1)}), 0.95)
        self.assertEqual(share.read({**result(95, 1), "beside": result(0, 1)}), 0)
        self.assertEqual(line(share, proxyd=0.95, nginx=1.5).verdict("proxyd"), "yes")
        self.assertEqual(line(share, proxyd=0.94, nginx=0.5).verdict("proxyd"), "NO")
        self.assertEqual(line(share, nginx=0.5).verdict("proxyd"), "")

    def test_nothing_to_compare_with(self) -> None:
        """Without a peer, or without us, there is no ratio and no verdict."""
        for alone in (line(MORE, proxyd=75, stock=1), line(MORE, nginx=100), line(MORE, proxyd=75, nginx=0)):
            self.assertIsNone(alone.ratio("proxyd"))
            self.assertEqual(alone.verdict("proxyd"), "")

    def test_medians(self) -> None:
        """Of several rounds the one in the middle counts, for each figure by itself."""
        rounds = [result(20, 9), result(200, 1), result(40, 5)]
        rated, delayed = lines(ROW, {"proxyd": rounds, "nginx": []})
        self.assertEqual(rated.medians, {"proxyd": 20.0})
        self.assertEqual(delayed.medians, {"proxyd": 5.0})

    def test_costs(self) -> None:
        """Processor time is told in microseconds for each, and is 0 where nothing was done."""
        self.assertEqual(cost("exchanges")(result(50_000, 0)), 20.0)
        self.assertEqual(cost("exchanges")(result(0, 0)), 0.0)


class Tables(Case):
    """What is printed and recorded."""

    everything = [line(MORE, proxyd=75_000, nginx=100_000), line(LESS, proxyd=50, nginx=8.125)]

    def test_numbers(self) -> None:
        """A number has the digits that mean something."""
        for value, text in (
            (66_123.4, "66,123"),
            (100.0, "100"),
            (99.96, "100.0"),
            (8.126, "8.13"),
            (None, "-"),
        ):
            self.assertEqual(number(value), text)

    def test_terminal(self) -> None:
        """The figures of a row stand below its name, in columns."""
        self.assertEqual(
            terminal(self.everything, ["proxyd", "nginx"]).splitlines(),
            [
                "  figure         proxyd    nginx  proxyd's ratio  target  proxyd reaches it",
                "one: exchanges on 1 connection",
                "  exchanges, /s  75,000  100,000            0.75    0.75                yes",
                "  p50, µs          50.0     8.12            0.16     0.8                 NO",
            ],
        )

    def test_page(self) -> None:
        """The page has the facts, and a table with as many cells in each line."""
        text = page(self.everything, ["proxyd", "nginx"], {"machine": "two cores"})
        self.assertIn("- machine: two cores\n", text)
        table = [row for row in text.splitlines() if row.startswith("|")]
        self.assertEqual({row.count("|") for row in table}, {8})
        self.assertEqual(table[-1], "| exchanges on 1 connection | p50, µs | 50.0 | 8.12 | 0.16 | 0.8 | NO |")
        both = [line(MORE, proxyd=74, compiled=80, nginx=100)]
        last = page(both, ["proxyd", "compiled", "nginx"], {}).splitlines()[-1]
        self.assertTrue(last.endswith("| 74.0 | 80.0 | 100 | 0.74 | 0.80 | 0.75 | NO | yes |"), last)
