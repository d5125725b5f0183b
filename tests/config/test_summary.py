"""Does the summary say, in a line each, what an operator has set up?"""

from __future__ import annotations

from proxyd.config.summary import summary
from tests.config.ini import MINIMAL, IniCase


class SummaryTests(IniCase):
    def test_least(self) -> None:
        self.assertEqual(
            summary(self.load(MINIMAL)),
            "listener l: tcp on tcp:80, to pool p\npool p: 1 server, balance p2c, check none",
        )

    def test_most(self) -> None:
        """Listeners, pools, demo servers, metrics and access log; and that a pool is not used."""
        text = (
            "[proxyd]\nmetrics = tcp:9901\naccess_log = /a.log format=json\n"
            "[listener l]\nbind = tcp:80\n  unix:/run/a.sock\npool = p\n"
            "[pool p]\nbalance = random\ncheck = tcp interval=2500ms\nserver a = h:1\nserver b = h:2 backup\n"
            "[pool q]\nserver a = h:1\n[demo]\nserver a = tcp:81\n"
        )
        self.assertEqual(
            summary(self.load(text)).split("\n"),
            [
                "listener l: tcp on tcp:80 unix:/run/a.sock, to pool p",
                "pool p: 2 servers (1 backup), balance random, check tcp every 2500ms",
                "pool q: 1 server, balance p2c, check none; no listener uses it",
                "demo server a: on tcp:81",
                "metrics: on tcp:9901",
                "access log: /a.log, as json",
            ],
        )

    def test_log_of_twistd(self) -> None:
        self.assertTrue(
            summary(self.load(f"{MINIMAL}[proxyd]\naccess_log = twistd\n")).endswith(
                "access log: the log of twistd, as text"
            )
        )
