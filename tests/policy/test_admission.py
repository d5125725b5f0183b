"""Who may come in, by bans and by the lines of allow and deny, and what is a client told who may not?"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from proxyd.config.lists import Clients, ListSpec, Rule
from proxyd.errors import Reason
from proxyd.policy.admission import Admission, Refusal
from proxyd.policy.bans import Ban, Bans
from proxyd.policy.lists import Lists
from tests.support.admission import admission
from tests.support.case import Case

NOW = 1000.0


def client(text: str) -> bytes:
    """The client with this address; "unix" has none."""
    return b"" if text == "unix" else ip_address(text).packed


class AdmissionTests(Case):
    def told(self, one: Admission, address: str) -> str:
        """What the client is told; "" if it may come in."""
        refusal = one.refusal(client(address), NOW)
        assert refusal is None or refusal.reason is Reason.DENIED
        return refusal.detail if refusal is not None else ""

    def test_lines(self) -> None:
        """The first line that names a client decides; whom none names gets the opposite of the last."""
        own, no = "deny: its networks", "no allow names it"
        for lines, answers in [
            ((), {"10.0.0.1": "", "::1": "", "unix": ""}),
            (("allow 10.0.0.0/8",), {"10.0.0.1": "", "11.0.0.1": no, "unix": no}),
            (("deny 10.0.0.0/8",), {"10.0.0.1": own, "11.0.0.1": "", "unix": ""}),
            (("deny 10.1.0.0/16", "allow 10.0.0.0/8"), {"10.1.0.1": own, "10.2.0.1": "", "::1": no}),
            (("allow 10.1.0.0/16", "deny 10.0.0.0/8"), {"10.1.0.1": "", "10.2.0.1": own, "::1": ""}),
            (("allow 10.0.0.0/8", "deny 10.0.0.0/8", "allow ::/0"), {"10.0.0.1": "", "9.0.0.1": no}),
            (("allow unix ::1", "deny all"), {"unix": "", "::1": "", "10.0.0.1": "deny all"}),
            (("deny unix", "allow all"), {"unix": own, "::1": ""}),
        ]:  # fmt: skip
            one = admission(*lines)
            for address, detail in answers.items():
                self.assertEqual(self.told(one, address), detail, (lines, address))

    def test_lists(self) -> None:
        """The record says which list it was."""
        lists = Lists([ListSpec("bad", Clients((ip_network("192.0.2.0/24"),)))])
        one = Admission([Rule(False, Clients(lists=("bad",), paths=("/x",)))], lists, Bans(1))
        self.assertEqual(self.told(one, "192.0.2.1"), "deny: @bad")
        self.assertEqual(self.told(one, "192.0.3.1"), "")

    def test_bans(self) -> None:
        """A ban comes before every line, and the record has the ban in it."""
        bans = Bans(5)
        one = admission("allow 10.0.0.0/8", bans=bans)
        bans.add(Ban(ip_network("10.0.0.1/32"), NOW + 60, "too loud"))
        banned = Refusal(Reason.BANNED, "10.0.0.1 1060 too loud")
        self.assertEqual(one.refusal(client("10.0.0.1"), NOW), banned)
        self.assertEqual(one.banned(client("10.0.0.1"), NOW), banned)
        self.assertIs(one.refusal(client("10.0.0.2"), NOW), None)
        self.assertIs(one.banned(client("11.0.0.1"), NOW), None)
        self.assertIs(one.refusal(client("10.0.0.1"), NOW + 60), None)

    def test_open(self) -> None:
        """Where there is neither a line nor a ban, nobody is looked at."""
        bans = Bans(5)
        self.assertFalse(admission("deny 10.0.0.0/8").open)
        one = admission(bans=bans)
        self.assertTrue(one.open)
        bans.add(Ban(ip_network("10.0.0.1/32"), NOW + 60))
        self.assertFalse(one.open)
        bans.sweep(NOW + 60)
        self.assertTrue(one.open)
