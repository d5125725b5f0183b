"""Does proxyctl ask for the change that was meant, and say what came of it?"""

from __future__ import annotations

import json
from typing import Any

from proxyd.cli import steer
from tests.cli.daemon import AskingCase
from tests.cli.test_show import server


class SteerTests(AskingCase):
    def test_weight(self) -> None:
        """A weight is asked for, and what has become of the server is said."""
        self.answering({"server": server(weight=50, open=1), "notes": []})
        self.assertEqual(
            self.run_it("weight", "db/a", "50", "--reason", "less memory"),
            (0, "db/a is up, weight 50, with 1 open connection\n", ""),
        )
        self.assertEqual(
            self.asked, [{"command": "weight", "server": "db/a", "weight": 50, "reason": "less memory"}]
        )

    def test_states(self) -> None:
        """Drain, disable and enable ask for just that."""
        for command in ("drain", "disable", "enable"):
            self.asked.clear()
            self.answering({"server": server(state="draining", open=3), "notes": []})
            said = (0, "db/a is draining, weight 1, with 3 open connections\n", "")
            self.assertEqual(self.run_it(command, "db/a"), said)
            self.assertEqual(self.asked, [{"command": command, "server": "db/a"}])

    def drained(self, *rows: Any, look_seconds: float = 0.0) -> tuple[int, str, str]:
        """
        What `drain --wait 1s` says when the daemon, each time it is asked, has this of the server.

        A look takes so many seconds, beside the pause before it.
        """
        found, self.now = list(rows), 1000.0
        self.answering({"server": found.pop(0), "notes": []})

        def sleep(seconds: float) -> None:
            self.answering({"servers": found.pop(0)})
            self.now += seconds + look_seconds

        self.patch(steer, "monotonic", lambda: self.now)
        self.patch(steer, "sleep", sleep)
        said = self.run_it("drain", "db/a", "--wait", "1s")
        self.assertEqual(found, [])
        return said

    def test_wait(self) -> None:
        """With --wait it is waited until no connection is left, or the server is no more."""
        drains = server(state="draining", open=2)
        first = "db/a is draining, weight 1, with 2 open connections\n"
        for last in ([server(name="b", open=7), server(state="draining")], [server(name="b", open=7)]):
            self.assertEqual(
                self.drained(drains, [drains], last), (0, f"{first}db/a has no open connections\n", "")
            )
        self.assertEqual(self.asked[-1], {"command": "show servers", "pool": "db"})
        self.assertEqual(self.drained(server(state="draining"))[0], 0)

    def test_wait_in_vain(self) -> None:
        """Connections that are left when the time is over are status 1, and so is one who enables it."""
        drains = server(state="draining", open=2)
        late = "proxyctl: db/a still has 2 open connections after 1s\n"
        self.assertEqual(self.drained(drains, [drains], [drains])[::2], (1, late))
        self.assertEqual(self.drained(drains, [drains], look_seconds=0.5)[::2], (1, late))
        for state, what in (("up", "up"), ("maintenance", "in maintenance")):
            for count in (2, 0):
                said = self.drained(drains, [server(state=state, open=count)])
                self.assertEqual(said[::2], (1, f"proxyctl: db/a is {what} now\n"))
        for time in ("5", "0s", "soon"):
            status, out, err = self.run_it("drain", "db/a", "--wait", time)
            self.assertEqual((status, out, "argument --wait: " in err), (2, "", True))

    def test_wait_interrupted(self) -> None:
        """Who waits no longer is not shown where in the program that was."""
        self.answering({"server": server(state="draining", open=2), "notes": []})

        def interrupted(seconds: float) -> None:
            raise KeyboardInterrupt

        self.patch(steer, "sleep", interrupted)
        said = "db/a is draining, weight 1, with 2 open connections\n"
        self.assertEqual(self.run_it("drain", "db/a", "--wait", "1s"), (130, said, ""))

    def test_pools(self) -> None:
        """A pool as a whole is disabled and enabled."""
        for command, maintenance, what in (
            ("disable", "by uid 0: disk", "is in maintenance"),
            ("enable", None, "serves its clients"),
        ):
            self.asked.clear()
            self.answering({"pool": {"name": "db", "maintenance": maintenance, "open": 1}, "notes": []})
            said = (0, f"pool db {what}, with 1 open connection\n", "")
            self.assertEqual(self.run_it(command, "db", "--reason", "disk"), said)
            self.assertEqual(self.asked, [{"command": command, "server": "db", "reason": "disk"}])

    def test_notes(self) -> None:
        """What the daemon wants to be noticed is on standard error."""
        self.answering({"server": server(), "notes": ["nobody is left"]})
        self.assertEqual(self.run_it("drain", "db/a")[::2], (0, "note: nobody is left\n"))

    def test_json(self) -> None:
        """The answer is to be had as it is, for programs."""
        self.answering({"server": server(), "notes": ["n"]})
        status, out, _ = self.run_it("weight", "db/a", "1", "--json")
        self.assertEqual((status, json.loads(out)), (0, {"server": server(), "notes": ["n"]}))

    def test_refused(self) -> None:
        """What the daemon refuses is status 1, in the daemon's words."""
        self.answering(raw=b'{"error":"300 is no weight","code":"refused"}\n')
        self.assertEqual(self.run_it("weight", "db/a", "300"), (1, "", "proxyctl: 300 is no weight\n"))

    def test_usage(self) -> None:
        """A command line that is not understood does not reach the daemon."""
        for arguments in (
            ("weight",),
            ("weight", "db/a"),
            ("weight", "db/a", "much"),
            ("weight", "50", "db/a"),
        ):
            status, out, err = self.run_it(*arguments)
            self.assertEqual((status, out, "usage: proxyctl weight" in err), (2, "", True))
