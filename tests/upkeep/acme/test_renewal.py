"""Is there always a certificate, had when it is due and no more often than that?"""

from __future__ import annotations

import os
from copy import deepcopy
from functools import partial
from typing import Any, Optional, Sequence

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

import proxyd.upkeep.acme.renewal
from proxyd.config.acme import AcmeSpec, CertificateSpec, ExternalAccount
from proxyd.snapshots import AcmeSnapshot
from proxyd.upkeep.acme.folder import AcmeFolder
from proxyd.upkeep.acme.renewal import (
    AGAIN_SECONDS,
    SECTION,
    SLEEP_SECONDS,
    START_SECONDS,
    AcmeCertificates,
)
from proxyd.upkeep.fetch import Fetched
from proxyd.upkeep.statefile import StateFolder
from tests.upkeep.acme.stage import DAY, NOW, SPEC, WWW, AcmeCase, in_thread

HOUR = 3600.0
API = CertificateSpec("api", ("api.example",))


class RenewalTests(AcmeCase):
    def setUp(self) -> None:
        super().setUp()
        self.chance = 0.5

        async def fetch(
            reactor: Any, method: str, url: str, headers: Any, body: Optional[bytes], ca: str
        ) -> Fetched:
            return await self.authority.fetch(method, url, headers, body)

        self.patch(proxyd.upkeep.acme.renewal, "fetch", fetch)

    def make(self, *specs: AcmeSpec) -> AcmeCertificates:
        """The certificates of these authorities, as a process has them that begins now."""
        kept = StateFolder(self.state, self.clock, in_thread, self.wall)
        made = AcmeCertificates(
            self.clock, lambda: self.chance, specs or (SPEC,), self.state, kept, in_thread, self.wall
        )
        self.kept = kept
        return made

    def start(self, *specs: AcmeSpec) -> AcmeCertificates:
        """Have a process begin."""
        made = self.make(*specs)
        self.assertEqual(made.prepare(), [])
        made.start()
        self.kept.start()
        self.addCleanup(self.stop, made)
        return made

    def stop(self, made: AcmeCertificates) -> None:
        """Have a process end."""
        self.successResultOf(made.stop())
        self.successResultOf(self.kept.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def passes(self, seconds: float, step: float = HOUR) -> list[str]:
        """What is logged while time passes."""
        with capturedLogs() as events:
            self.clock.pump([step] * int(seconds / step))
            self.clock.advance(seconds % step)
        return self.lines(events)

    def lines(self, events: Sequence[Any]) -> list[str]:
        return [formatEvent(event) or "" for event in events]

    def orders(self) -> int:
        return len(self.authority.orders)

    def one(self, made: AcmeCertificates) -> AcmeSnapshot:
        [snapshot] = made.snapshots()
        return snapshot

    def test_first(self) -> None:
        """Without a certificate one is had at once; it is told of, and where it will be renewed."""
        with capturedLogs() as events:
            made = self.start()
        self.assertEqual(self.orders(), 1)
        self.assertEqual(
            self.lines(events)[0],
            "[acme ca] certificate www is yet to be had; a placeholder serves that nobody trusts",
        )
        self.assertEqual(
            self.lines(events)[-1],
            "[acme ca] certificate www for www.example example.org is there, good for 90.0 days; it is "
            "renewed in 60.0",
        )
        held = AcmeFolder(self.state, SPEC).held(WWW)
        self.assertTrue(held is not None and not held.placeholder)
        names = ("www.example", "example.org")
        path = os.path.join(self.state, "acme", "ca", "certificates", "www.pem")
        self.assertEqual(
            self.one(made),
            AcmeSnapshot("ca", "www", path, names, NOW + 90 * DAY, NOW + 60 * DAY, 1, 0, 0, ""),
        )

    def test_renewed(self) -> None:
        """It is renewed after two thirds of its life, again and again, and never before."""
        self.start()
        self.passes(60 * DAY - HOUR)
        self.assertEqual(self.orders(), 1)
        self.passes(2 * HOUR)
        self.assertEqual(self.orders(), 2)
        self.passes(60 * DAY)
        self.assertEqual(self.orders(), 3)

    def test_restart(self) -> None:
        """A process that begins with one that is good has none made; one that is due waits a moment."""
        self.stop(self.start())
        made = self.start()
        self.passes(DAY)
        self.assertEqual(self.orders(), 1)
        self.stop(made)
        self.clock.advance(65 * DAY)
        made = self.start()
        self.passes(START_SECONDS / 2 - 1, step=1.0)
        self.assertEqual(self.orders(), 1)
        self.passes(2.0, step=1.0)
        self.assertEqual(self.orders(), 2)
        self.stop(made)
        self.clock.advance(89 * DAY)
        self.start()
        self.assertEqual(self.orders(), 3)

    def test_other_wishes(self) -> None:
        """Another name or another kind of key is had at once; one name less waits for the renewal."""
        for wanted, count in (
            (WWW, 1),
            (evolve(WWW, names=(*WWW.names, "new.example")), 2),
            (WWW, 2),
            (evolve(WWW, key="rsa"), 3),
            (evolve(WWW, key="rsa"), 3),
        ):
            self.stop(self.start(evolve(SPEC, certificates=(wanted,))))
            self.assertEqual(self.orders(), count, wanted)

    def test_failures(self) -> None:
        """After a failure it is tried again, each time later; what there is serves, and this is told."""
        self.authority.down = True
        with capturedLogs() as events:
            made = self.start()
        why = "ca.example cannot be reached: Connection refused"
        self.assertEqual(
            self.lines(events)[1:],
            [
                f"[acme ca] certificate www could not be had: {why}; it is tried again in 60 s, until then "
                "a placeholder serves that nobody trusts"
            ],
        )
        self.assertEqual(self.one(made).trouble, why)
        self.assertEqual((self.one(made).failed, self.one(made).next_at), (1, NOW + 60))
        self.passes(59.0, step=1.0)
        self.assertEqual(self.one(made).failed, 1)
        self.passes(1.0 + 119.0, step=1.0)
        self.assertEqual(self.one(made).failed, 2)
        self.authority.down = False
        self.passes(1.0, step=1.0)
        self.assertEqual((self.one(made).renewed, self.one(made).failures), (1, 0))
        self.assertEqual(self.one(made).trouble, "")

    def test_set(self) -> None:
        """A renewal is due by the dates of the certificate, and again after a pause that nobody sets."""
        made = self.start()
        self.wall.set(61 * DAY)
        self.authority.down = True
        self.passes(SLEEP_SECONDS)
        self.assertEqual(self.one(made).failures, 1)
        self.authority.down = False
        self.wall.set(-30 * DAY)
        self.passes(AGAIN_SECONDS)
        self.assertEqual((self.orders(), self.one(made).failures), (1, 1))
        self.wall.set(30 * DAY)
        self.passes(SLEEP_SECONDS)
        self.assertEqual((self.orders(), self.one(made).failures), (2, 0))

    def test_failed_renewals(self) -> None:
        """The certificate before serves on, even when it has expired; the log becomes louder."""
        made = self.start()
        self.passes(59 * DAY)
        self.authority.down = True
        served = [line.rpartition("until then ")[2] for line in self.passes(35 * DAY) if "until" in line]
        self.assertRegex(served[0], r"^the one before serves, which expires in (29|30)\.\d days$")
        soon = [line for line in served if line.endswith("which is soon")]
        self.assertRegex(soon[0], r"^the one before serves, which expires in 9\.\d days, which is soon$")
        self.assertRegex(served[-1], r"^one serves that HAS EXPIRED [34]\.\d days ago$")
        held = AcmeFolder(self.state, SPEC).held(WWW)
        self.assertEqual(held and held.not_after, NOW + 90 * DAY)
        self.assertEqual(self.one(made).not_after, NOW + 90 * DAY)
        self.authority.down = False
        self.passes(DAY)
        self.assertEqual(self.one(made).renewed, 2)

    def test_left_alone(self) -> None:
        """An authority that wants to be left alone is, and by the next process, too."""
        limited = self.authority.refusal("rateLimited", "too many", 429, retry_after="86400")
        self.authority.wrong = [("/new", limited)]
        self.stop(self.start())
        made = self.start()
        self.assertEqual(self.one(made).failures, 1)
        self.passes(DAY - HOUR)
        self.assertEqual(self.orders(), 0)
        self.passes(2 * HOUR)
        self.assertEqual(self.orders(), 1)

    def test_mended(self) -> None:
        """Whoever mends something and starts again waits a minute at most; other names wait for nothing."""
        self.authority.down = True
        made = self.start()
        self.passes(DAY)
        self.assertGreater(self.one(made).failures, 5)
        self.stop(made)
        self.authority.down = False
        made = self.start()
        self.assertGreater(self.one(made).failures, 5)
        self.passes(61.0, step=1.0)
        self.assertEqual(self.orders(), 1)
        self.stop(made)
        self.authority.down = True
        self.stop(self.start(evolve(SPEC, certificates=(API,))))
        self.authority.down = False
        self.stop(self.start(evolve(SPEC, certificates=(evolve(API, names=("new.example",)),))))
        self.assertEqual(self.orders(), 2)

    def test_unfit_memory(self) -> None:
        """What is no memory of tries is left out."""
        contents: list[Any] = [7, [7], [{}], [{"authority": "ca"}]]
        for content in contents:
            self.make()
            self.kept.keep(SECTION, partial(deepcopy, content))
            self.kept.start()
            self.successResultOf(self.kept.stop())
            with capturedLogs() as events:
                self.stop(self.start())
            self.assertIn("acme.json is left out: it is no list of tries", self.lines(events)[0])

    def test_unfit_times(self) -> None:
        """Nor is one taken that would wait for ever."""
        self.make()
        entry = {"authority": "ca", "certificate": "www", "names": list(WWW.names), "failures": 1, "why": "x"}
        self.kept.keep(SECTION, lambda: [{**entry, "not_before": 1e300, "asked": 0}])
        self.kept.start()
        self.successResultOf(self.kept.stop())
        self.start()
        self.assertEqual(self.orders(), 1)

    def test_one_by_one(self) -> None:
        """Of one authority only one is made at a time."""
        self.authority.looks = 3
        self.start(evolve(SPEC, certificates=(WWW, API)))
        self.assertEqual(self.orders(), 1)
        self.passes(60.0, step=1.0)
        self.assertEqual(self.orders(), 2)

    def test_advice(self) -> None:
        """When the authority says when to renew, that is heeded, at a moment of chance."""
        self.authority.window = ("2001-09-19T01:46:40Z", "2001-09-29T01:46:40Z")  # the 10th to the 20th day
        made = self.start()
        self.assertEqual(self.one(made).next_at, NOW + 60 * DAY)
        self.passes(DAY)
        self.assertEqual(self.one(made).next_at, NOW + 15 * DAY)
        self.chance = 0.9
        self.passes(DAY)
        self.assertEqual(self.one(made).next_at, NOW + 15 * DAY)
        self.authority.window = ("2001-09-11T01:46:40Z", "2001-09-11T01:46:40Z")  # now: it is to be revoked
        self.passes(7 * HOUR)
        self.assertEqual(self.orders(), 2)
        self.assertIsNotNone(self.authority.orders[1]["replaces"])
        asked = [line for line in self.authority.asked if line.startswith("GET /window/")]
        self.assertTrue(4 <= len(asked) <= 12, asked)

    def test_no_advice(self) -> None:
        """Where it cannot be had, what was advised before holds, or two thirds of the life."""
        self.authority.window = ("2001-09-19T01:46:40Z", "2001-09-29T01:46:40Z")
        made = self.start()
        self.passes(DAY)
        self.authority.down = True
        lines = self.passes(DAY)
        self.assertIn("[acme ca] has no advice when to renew: ca.example cannot be reached", lines[0])
        self.assertEqual(self.one(made).next_at, NOW + 15 * DAY)
        self.authority.down, self.authority.window = False, None
        self.passes(DAY)
        self.assertEqual(self.one(made).next_at, NOW + 60 * DAY)

    def test_wrong_advice(self) -> None:
        """However wrong the advice, there is an hour between two renewals."""
        self.authority.window = ("2001-01-01T00:00:00Z", "2001-01-02T00:00:00Z")
        self.start()
        self.passes(DAY, step=60.0)
        self.assertTrue(2 <= self.orders() <= 5, self.orders())

    def test_short_life(self) -> None:
        """One of a few minutes is renewed in time as well."""
        self.authority.days = 6 / (24 * 60)
        self.start()
        self.passes(HOUR, step=1.0)
        self.assertTrue(14 <= self.orders() <= 16, self.orders())

    def test_a_fault_of_ours(self) -> None:
        """What nobody has thought of is logged, and does not end the trying."""

        def broken(*_: Any) -> Any:
            raise RuntimeError("oops")

        real = self.authority._new
        self.authority._new = broken  # type: ignore[assignment,method-assign]
        made = self.start()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.one(made).trouble, "RuntimeError: oops")
        self.authority._new = real  # type: ignore[method-assign]
        self.passes(61.0, step=1.0)
        self.assertEqual(self.orders(), 1)
        self.authority.window = ("2001-09-19T01:46:40Z", "2001-09-29T01:46:40Z")
        self.authority._window = broken  # type: ignore[assignment,method-assign]
        self.passes(61 * DAY)
        self.assertGreater(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.orders(), 2)

    def test_stopped(self) -> None:
        """What is under way is given up at the stop, and gone on with at the start."""
        self.authority.looks = 5
        self.stop(self.start())
        made = self.start()
        self.passes(60.0, step=1.0)
        self.assertEqual((self.orders(), self.one(made).renewed), (1, 1))

    def test_files(self) -> None:
        """A key or authorities that cannot be read fail the start, each with its file."""
        missing, wrong = os.path.join(self.state, "missing"), os.path.join(self.state, "wrong")
        with open(wrong, "w") as file:
            file.write("no key!")
        for spec, line in (
            (
                evolve(SPEC, external_account=ExternalAccount("kid", missing)),
                f"[acme ca] external_account: {missing}: No such file or directory",
            ),
            (
                evolve(SPEC, external_account=ExternalAccount("kid", wrong)),
                f"[acme ca] external_account: {wrong}: is no key in base64url",
            ),
            (evolve(SPEC, ca=missing), f"[acme ca] ca: {missing}: cannot be read: No such file or directory"),
            (
                evolve(SPEC, ca=wrong),
                f"[acme ca] ca: {wrong}: has no certificate in PEM (-----BEGIN CERTIFICATE-----)",
            ),
        ):
            self.assertEqual(self.make(spec).prepare(), [line])

    def test_none(self) -> None:
        """Without an authority nothing is looked at or kept."""
        kept = StateFolder("", self.clock, in_thread, self.wall)
        made = AcmeCertificates(self.clock, lambda: 0.5, (), "", kept, in_thread, self.wall)
        self.assertEqual(made.prepare(), [])
        made.start()
        self.assertEqual(made.snapshots(), ())
        self.successResultOf(Deferred.fromCoroutine(made.stop()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_ours(self) -> None:
        """A folder that the daemon's user may not write is told of at the start."""
        self.patch(os, "access", lambda path, mode: False)
        with capturedLogs() as events:
            made = self.start()
        path = os.path.join(self.state, "acme", "ca")
        self.assertEqual(
            self.lines(events)[0],
            f"[acme ca] {path} cannot be written by the user that proxyd runs as; let [proxyd] state belong "
            "to it",
        )
        self.assertEqual(self.one(made).failures, 0)
