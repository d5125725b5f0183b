"""Does proxyctl ask for the bans that were meant, and show and move them as text?"""

from __future__ import annotations

import json
import os
from typing import Any, Optional

from tests.cli.daemon import AskingCase


def row(network: str, seconds: Optional[float] = 600.0, reason: str = "") -> dict[str, Any]:
    """A ban as the daemon tells it."""
    return {
        "network": network,
        "until": None if seconds is None else 1000 + seconds,
        "for_seconds": seconds,
        "reason": reason,
        "line": f"{network} {'never' if seconds is None else int(1000 + seconds)} {reason}".rstrip(),
    }


BANS = {"bans": [row("10.0.0.0/8", reason="too loud"), row("::1", None)], "next": None}


class BansTests(AskingCase):
    def test_list(self) -> None:
        """Bans are a table, for how much longer they hold and why."""
        self.answering(BANS)
        status, out, err = self.run_it("bans", "list")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(
            out, "NETWORK        FOR  REASON\n10.0.0.0/8  10m00s  too loud\n::1           ever  -\n"
        )
        self.assertEqual(self.asked, [{"command": "bans list", "skip": 0}])

    def test_export(self) -> None:
        """They are exported as lines that can be imported; as JSON they are listed whole."""
        self.answering(BANS)
        self.assertEqual(self.run_it("bans", "export"), (0, "10.0.0.0/8 1600 too loud\n::1 never\n", ""))
        self.answering(BANS)
        _, out, _ = self.run_it("bans", "list", "--json")
        self.assertEqual(json.loads(out), {"bans": BANS["bans"]})

    def test_add(self) -> None:
        """A ban is asked for with its reason, and what came of it is said."""
        self.answering({"ban": row("10.0.0.1"), "cut": 3, "notes": ["it is full"]})
        self.assertEqual(
            self.run_it("bans", "add", "10.0.0.1", "10m", "--reason", "too loud", "--cut"),
            (0, "10.0.0.1 is banned for 10m00s; connections cut: 3\n", "note: it is full\n"),
        )
        wanted = {"command": "bans add", "network": "10.0.0.1", "until": "10m", "reason": "too loud"}
        self.assertEqual(self.asked, [{**wanted, "cut": True}])
        self.answering({"ban": row("10.0.0.1", None), "cut": 0, "notes": []})
        self.assertEqual(
            self.run_it("bans", "add", "10.0.0.1", "never"), (0, "10.0.0.1 is banned for ever\n", "")
        )
        self.assertEqual(self.asked[1], {"command": "bans add", "network": "10.0.0.1", "until": "never"})

    def test_remove(self) -> None:
        """Who is let in again is said."""
        self.answering({"network": "10.0.0.1"})
        self.assertEqual(self.run_it("bans", "remove", "10.0.0.1"), (0, "10.0.0.1 is let in again\n", ""))

    def test_import(self) -> None:
        """A file is sent in a piece, if it is short, and wrong lines are told by their number in it."""
        path = os.path.join(self.folder, "bans.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write("# all\n10.0.0.1 10m too loud\nten 10m\n")
        self.answering({"added": 1, "wrong": [{"line": 3, "why": "no network"}], "notes": []})
        self.assertEqual(
            self.run_it("bans", "import", path), (1, "bans added: 1\n", f"{path}:3: no network\n")
        )
        self.assertEqual(
            self.asked, [{"command": "bans import", "lines": "# all\n10.0.0.1 10m too loud\nten 10m\n"}]
        )

    def test_no_file(self) -> None:
        """A file that cannot be read is told, and the daemon is not asked."""
        path = os.path.join(self.folder, "gone.txt")
        self.assertEqual(
            self.run_it("bans", "import", path), (1, "", f"proxyctl: {path}: No such file or directory\n")
        )
