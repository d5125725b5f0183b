"""What does a ``[counters]`` mean, and which rules are none?"""

from __future__ import annotations

from proxyd.config.counters import CountersSpec, RuleSpec
from tests.config.ini import IniCase

REST = (
    "[pool p]\nserver a = h:1\n[listener l]\nbind = tcp:80\npool = p\ntrack = clients\n[counters clients]\n"
)


class CountersTests(IniCase):
    def test_read(self) -> None:
        """Counters have what they are told, and its rules in their order."""
        config = self.load(
            REST + "size = 1000\nttl = 1h\nprefix4 = 24\n"
            "rule flood = ban 10m when connection_rate > 100/10s\n"
            "rule many = deny when open > 50\n"
            "rule big = log when bytes_in > 10M/1m\n"
        )
        self.assertEqual(config.listeners[0].track, ("clients",))
        rules = (
            RuleSpec("flood", "ban", "connection_rate", 100, 10.0, 600.0),
            RuleSpec("many", "deny", "open", 50),
            RuleSpec("big", "log", "bytes_in", 10 << 20, 60.0),
        )
        self.assertEqual(config.counters, (CountersSpec("clients", "source", 1000, 3600.0, 24, 64, rules),))
        self.assertEqual(str(rules[0]), "ban 600s when connection_rate > 100/10s")

    def test_refused(self) -> None:
        """A rule that is none is refused with what would be right."""
        for text, problem in (
            ("bann 10m when open > 5", '"bann" is not known; did you mean "ban"?'),
            ("ban when open > 5", '"when" is not a duration; write a whole number and ms, s, m, h or d'),
            ("ban 10m", "ends too soon; when is missing"),
            ("log if open > 5", '"if" stands where "when" must be'),
            ("log when opened > 5", '"opened" is not known; did you mean "open"?'),
            ("log when open = 5", '"=" stands where ">" must be'),
            ("log when open > many", '"many" is no number, such as 100, 10M or 100/10s'),
            ("log when open > 5/10s", "open is what is open now; write open > 5"),
            (
                "log when connection_rate > 5",
                "a rate is of a time; write connection_rate > 5/10s, for example",
            ),
            ("log when errors > 5 and open > 1", '"and" is one word too many; a rule has one condition'),
        ):
            expected = [f"proxy.ini:8: [counters clients] rule r: {problem}"]
            self.assertEqual(self.problems(f"{REST}rule r = {text}\n"), expected)

    def test_contradictions(self) -> None:
        """Counters of names know no addresses."""
        self.assertEqual(
            self.problems(f"{REST}key = sni\nprefix6 = 56\nrule r = ban 10m when open > 5\n"),
            [
                "proxy.ini:9: [counters clients] prefix6: "
                "is of addresses, and key = sni does not go by these",
                "proxy.ini:10: [counters clients] rule r: "
                "addresses are banned, and key = sni knows none; write deny",
            ],
        )

    def test_references(self) -> None:
        """Counters that are tracked must be there."""
        text = REST.replace("track = clients", "track = client")
        self.assertEqual(
            self.problems(text),
            ['proxy.ini:6: [listener l] track: "client" is not known; did you mean "clients"?'],
        )
