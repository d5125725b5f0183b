"""What do the limits of a listener mean?"""

from __future__ import annotations

from proxyd.config.limits import RateSpec
from tests.config.ini import IniCase

POOL = "[pool p]\nserver a = h:1\n[listener l]\nbind = tcp:80\npool = p\n"


class LimitsTests(IniCase):
    def test_rates(self) -> None:
        """A rate is a number and a time, which is a second if it has no number of its own."""
        for text, expected in (
            ("50/s", RateSpec(50, 1.0)),
            ("100/10s", RateSpec(100, 10.0)),
            ("600/1m", RateSpec(600, 60.0)),
            ("5/500ms", RateSpec(5, 0.5)),
            ("1/d", RateSpec(1, 86400.0)),
        ):
            listener = self.load(f"{POOL}connection_rate_per_client = {text}\n").listeners[0]
            self.assertEqual(listener.connection_rate_per_client, expected)

    def test_refused(self) -> None:
        """What is no rate is refused with one that is."""
        shape = "is not a rate; write a number, / and a time, such as 100/10s"
        for text, problem in (
            ("100", f'"100" {shape}'),
            ("100/10", f'"100/10" {shape}'),
            ("fast", f'"fast" {shape}'),
            ("1/2weeks", f'"1/2weeks" {shape}'),
            ("0/s", '"0/s": a rate is of 1 to 10000000'),
            ("1/0s", '"1/0s": the time of a rate is at most a day'),
            ("1/2d", '"1/2d": the time of a rate is at most a day'),
        ):
            expected = [f"proxy.ini:6: [listener l] connection_rate: {problem}"]
            self.assertEqual(self.problems(f"{POOL}connection_rate = {text}\n"), expected)

    def test_counts(self) -> None:
        """The others are plain numbers and times."""
        listener = self.load(
            f"{POOL}max_connections = 9\nmax_connections_per_client = 3\nmax_handshakes = 2\n"
            "max_lifetime = 8h\nclient_prefix4 = 24\nclient_prefix6 = 56\n"
        ).listeners[0]
        self.assertEqual(
            (listener.max_connections, listener.max_connections_per_client, listener.max_handshakes),
            (9, 3, 2),
        )
        self.assertEqual(
            (listener.max_lifetime, listener.client_prefix4, listener.client_prefix6), (28800.0, 24, 56)
        )
