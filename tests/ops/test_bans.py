"""Do the admin socket's commands ban whom they name, and say who is banned?"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from twisted.logger import capturedLogs, formatEvent

from proxyd.ops.bans import ROWS
from proxyd.ops.command import Caller, Declined, Steered
from proxyd.ops.commands import COMMANDS
from proxyd.policy.bans import Ban, Bans
from tests.support.case import Case
from tests.support.walltime import SetTime

ROOT = Caller(0, 99)


class BanCommandTests(Case):
    def setUp(self) -> None:
        self.now = 1000.0
        self.cut: list[Ban] = []
        self.steered = Steered({}, lambda: self.now, SetTime(lambda: self.now), bans=Bans(3), cut=self.cuts)

    def cuts(self, ban: Ban) -> int:
        self.cut.append(ban)
        return 7

    def do(self, name: str, **given: Any) -> dict[str, Any]:
        command = COMMANDS[name]
        return command.run(self.steered, command.given(given), ROOT)

    def listed(self) -> list[str]:
        return [row["line"] for row in self.do("bans list")["bans"]]

    def test_add(self) -> None:
        """A ban holds at once, and who made it is in the log."""
        with capturedLogs() as events:
            answer = self.do("bans add", network="2001:db8::1/64", until="10m", reason="too loud")
        row = {
            "network": "2001:db8::/64", "until": 1600.0, "for_seconds": 600.0, "reason": "too loud",
            "line": "2001:db8::/64 1600 too loud",
        }  # fmt: skip
        self.assertEqual(answer, {"ban": row, "cut": 0, "notes": []})
        self.assertEqual(
            [formatEvent(event) for event in events],
            ["admin: uid 0 (pid 99) has banned 2001:db8::/64 1600 too loud"],
        )
        self.assertEqual(self.do("bans list"), {"bans": [row], "next": None})
        self.assertEqual(self.cut, [])

    def test_cut(self) -> None:
        """Open connections are ended only if that is asked for."""
        self.assertEqual(self.do("bans add", network="10.0.0.1", until="never", cut=True)["cut"], 7)
        self.assertEqual([str(ban) for ban in self.cut], ["10.0.0.1 never"])

    def test_remove(self) -> None:
        """A ban is ended by the network that it is of."""
        self.do("bans add", network="10.0.0.0/8", until="1h")
        declined = self.assertRaises(Declined, self.do, "bans remove", network="10.0.0.1")
        self.assertEqual((declined.code, str(declined)), ("unknown_ban", "network: 10.0.0.1 is not banned"))
        self.assertEqual(self.do("bans remove", network="10.0.0.0/8"), {"network": "10.0.0.0/8"})
        self.assertEqual(self.listed(), [])

    def test_declined(self) -> None:
        """What is no network, or is over before it begins, is refused."""
        for network, until, why in [
            ("ten", "10m", '"ten" is neither a network nor an address; write 192.0.2.7, for example'),
            ("10.0.0.1", "999", "until: 999 is over"),
            (
                "10.0.0.1",
                "soon",
                '"soon" is no end of a ban; write 10m, for example, seconds since the epoch, or never',
            ),
        ]:
            declined = self.assertRaises(Declined, self.do, "bans add", network=network, until=until)
            self.assertEqual((declined.code, str(declined)), ("bad_parameter", why))
        self.assertRaises(Declined, self.do, "bans remove", network="ten")

    def test_import(self) -> None:
        """What is listed can be imported; a wrong line keeps no other from it."""
        self.do("bans add", network="10.0.0.0/8", until="1h", reason="two words")
        self.do("bans add", network="10.0.0.1", until="never")
        lines = self.listed()
        self.steered.bans.remove(ip_network("10.0.0.1"))
        answer = self.do("bans import", lines="\n".join(["# bans", *lines, "ten 10m"]))
        self.assertEqual((answer["added"], answer["notes"]), (2, []))
        self.assertEqual([one["line"] for one in answer["wrong"]], [4])
        self.assertEqual(self.listed(), lines)

    def test_full(self) -> None:
        """A full table makes room, and says so."""
        answer = self.do("bans import", lines="\n".join(f"10.0.0.{n} {n + 1}m" for n in range(5)))
        self.assertEqual(
            answer["notes"], ["max_bans: there are 3; bans that would have ended first were dropped: 2"]
        )
        self.assertEqual(len(self.listed()), 3)

    def test_pieces(self) -> None:
        """Many bans are told in pieces, each of which says where the next one begins; ended ones are not."""
        self.steered = Steered({}, lambda: self.now, SetTime(lambda: self.now), bans=Bans(ROWS * 3))
        for number in range(ROWS + 5):
            self.steered.bans.add(Ban(ip_network((number, 32)), 1001.0 if number % 2 else 2000.0))
        self.assertEqual(self.do("bans list")["next"], ROWS)
        last = self.do("bans list", skip=ROWS)
        self.assertEqual((len(last["bans"]), last["next"]), (5, None))
        self.now = 1001.0
        self.assertEqual(len(self.do("bans list", skip=ROWS)["bans"]), 3)
