"""Do clients get what the authority says of a certificate, for as long as it holds and no longer?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Mapping, Optional

from cryptography.x509 import ocsp
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

import proxyd.upkeep.ocsp
from proxyd.relay.tls.certificate import Certificate
from proxyd.upkeep.fetch import Fetched, FetchFailed
from proxyd.upkeep.ocsp import AT_ONCE, LOOK_SECONDS, MARGIN_SECONDS, OcspResponses
from proxyd.upkeep.statefile import StateFolder
from tests.relay.tls.folder import BETWEEN, FolderCase
from tests.support.authority import DAY, NOW, Issued
from tests.support.walltime import SetTime
from tests.upkeep.acme.stage import in_thread

URL = "http://ocsp.example/"
HOUR = 3600.0


class OcspTests(FolderCase):
    """Certificates of `BETWEEN`, and its responder, which says what a test wants."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.wall = SetTime(self.clock.seconds, int(NOW.timestamp()))
        self.state = os.path.join(self.folder, "state")
        os.mkdir(self.state)
        self.issued: dict[int, Issued] = {}
        self.status = ocsp.OCSPCertStatus.GOOD
        self.days = 4.0
        self.trouble = ""
        self.answer: Optional[Fetched] = None
        self.asked: list[str] = []
        self.waiting: list[Deferred[None]] = []
        self.slow = False
        self.use: list[Certificate] = []
        self.patch(proxyd.upkeep.ocsp, "fetch", self.fetch)
        self.patch(os, "fsync", lambda fd: None)  # all state is written each minute, for days

    async def fetch(
        self, reactor: Any, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Fetched:
        """The responder."""
        self.assertEqual((method, headers["Content-Type"]), ("POST", "application/ocsp-request"))
        request = ocsp.load_der_ocsp_request(body)
        self.asked.append(url)
        if self.slow:
            self.waiting.append(Deferred())
            await self.waiting[-1]
        if self.trouble:
            raise FetchFailed(self.trouble)
        if self.answer is not None:
            return self.answer
        now = NOW + (self.wall.now() - int(NOW.timestamp())) / 86400 * DAY
        issued = self.issued[request.serial_number]
        return Fetched(200, {}, BETWEEN.vouch(issued, self.status, since=now, until=now + self.days * DAY))

    def certificate(self, name: str = "a.example", url: str = URL) -> Certificate:
        """A certificate in use, as a listener has it."""
        issued = BETWEEN.issue(name, responder_url=url, until=NOW + 90 * DAY)
        self.issued[issued.certificate.serial_number] = issued
        self.both(issued, f"{name}.pem")
        [found] = [one for one in self.begun().loaded.certificates if one.names == (name,)]
        self.use.append(found)
        return found

    def make(self) -> OcspResponses:
        self.kept = StateFolder(self.state, self.clock, in_thread, self.wall)
        return OcspResponses(self.clock, lambda: 0.5, lambda: self.use, self.kept, self.wall)

    def start(self) -> OcspResponses:
        """Have a process begin."""
        made = self.make()
        made.start()
        self.kept.start()
        self.addCleanup(self.stop, made)
        return made

    def stop(self, made: OcspResponses) -> None:
        """Have a process end."""
        self.successResultOf(made.stop())
        self.successResultOf(self.kept.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def passes(self, seconds: float) -> list[str]:
        """What is logged while time passes, in steps of a look, or of a minute if it is long."""
        step = LOOK_SECONDS if seconds < HOUR else 60.0
        with capturedLogs() as events:
            self.clock.pump([step] * int(seconds / step))
        return [self.local(formatEvent(event) or "") for event in events]

    def test_fetched(self) -> None:
        """A certificate that is new gets a response, and another halfway to the end of that."""
        certificate = self.certificate()
        made = self.start()
        lines = self.passes(2 * LOOK_SECONDS)
        self.assertEqual(
            lines, ["a.example.pem: its authority says that it is good, for 96.0 h; asked again in 48.0 h"]
        )
        first = certificate.staple
        assert first is not None
        self.assertEqual(self.asked, [URL])
        self.passes(47 * HOUR)
        self.assertEqual(self.asked, [URL])
        self.passes(2 * HOUR)
        self.assertEqual(self.asked, [URL, URL])
        assert certificate.staple is not None
        self.assertGreater(certificate.staple.until, first.until)
        [snapshot] = made.snapshots()
        self.assertEqual(
            (snapshot.until, snapshot.fetched, snapshot.failed), (certificate.staple.until, 2, 0)
        )

    def test_restart(self) -> None:
        """The next process sends what there is from its first handshake on, and asks when it is time."""
        certificate = self.certificate()
        made = self.start()
        self.passes(2 * LOOK_SECONDS)
        before = certificate.staple
        self.stop(made)
        certificate.staple = None
        made = self.start()
        self.assertEqual(certificate.staple, before)
        self.passes(HOUR)
        self.assertEqual(self.asked, [URL])
        self.stop(made)
        certificate.staple = None
        self.clock.advance(4 * 86400)
        self.start()
        self.assertIsNone(certificate.staple)
        self.passes(2 * LOOK_SECONDS)
        self.assertEqual(self.asked, [URL, URL])

    def test_failures(self) -> None:
        """What was had before is sent for as long as it holds; each trouble is told once."""
        certificate = self.certificate()
        made = self.start()
        self.passes(2 * LOOK_SECONDS)
        self.trouble = "ocsp.example has not answered within 30 s"
        lines = self.passes(49 * HOUR)
        self.assertEqual(
            lines,
            [
                f"a.example.pem: {URL}: {self.trouble}; asked again in 60 s, the response before holds for "
                "48.0 h"
            ],
        )
        assert certificate.staple is not None
        self.assertLess(len(self.asked), 10)
        self.passes(46 * HOUR)
        while self.wall.now() + MARGIN_SECONDS + LOOK_SECONDS < certificate.staple.until:
            self.passes(LOOK_SECONDS)
        self.assertGreater(certificate.staple.until, self.wall.now())
        self.passes(2 * LOOK_SECONDS)
        self.assertIsNone(certificate.staple)
        [snapshot] = made.snapshots()
        self.assertEqual((snapshot.until, snapshot.trouble), (0.0, self.trouble))
        self.trouble = ""
        self.passes(7 * HOUR)
        self.assertIsNotNone(certificate.staple)

    def test_set(self) -> None:
        """A response is due by what it says, and the pause after a failure goes by no clock that is set."""
        self.certificate()
        self.start()
        self.passes(2 * LOOK_SECONDS)
        self.trouble = "ocsp.example has not answered within 30 s"
        self.wall.set(49 * HOUR)
        self.passes(2 * LOOK_SECONDS)
        self.assertEqual(len(self.asked), 2)
        self.trouble = ""
        self.wall.set(-HOUR)
        self.passes(50.0)
        self.assertEqual(len(self.asked), 2)
        self.passes(60.0)
        self.assertEqual(len(self.asked), 3)

    def test_rubbish(self) -> None:
        """What clients would not believe is not sent; why is told."""
        certificate = self.certificate()
        other = BETWEEN.issue("b.example")
        for answer, why in (
            (Fetched(503, {}, b""), "its answer has status 503"),
            (Fetched(200, {}, b"<html>"), "its answer is no OCSP response in DER"),
            (Fetched(200, {}, BETWEEN.vouch(other)), "its answer is about another certificate"),
            (Fetched(200, {}, b"x" * 70_000), "its answer has more than 64 KiB"),
        ):
            self.answer = answer
            made = self.start()
            [line] = self.passes(2 * LOOK_SECONDS)
            self.assertEqual(line, f"a.example.pem: {URL}: {why}; asked again in 60 s, none is sent")
            self.assertIsNone(certificate.staple)
            self.stop(made)
        self.status, self.answer = ocsp.OCSPCertStatus.UNKNOWN, None
        self.start()
        [line] = self.passes(2 * LOOK_SECONDS)
        self.assertIn("its answer says that the certificate is unknown", line)

    def test_revoked(self) -> None:
        """One that is revoked is told of as loudly as can be, and what was said before is sent no more."""
        certificate = self.certificate()
        self.start()
        self.passes(2 * LOOK_SECONDS)
        self.assertIsNotNone(certificate.staple)
        self.status = ocsp.OCSPCertStatus.REVOKED
        with capturedLogs() as events:
            self.passes(49 * HOUR)
        self.assertIsNone(certificate.staple)
        loud = [event for event in events if event["log_level"].name == "critical"]
        self.assertIn("ITS AUTHORITY SAYS THAT IT IS REVOKED", formatEvent(loud[0]) or "")

    def test_forged_revocation(self) -> None:
        """Whoever sits between us and the responder cannot revoke: it has to be signed."""
        certificate = self.certificate()
        self.start()
        self.passes(2 * LOOK_SECONDS)
        before = certificate.staple
        forged = bytearray(
            BETWEEN.vouch(self.issued[certificate.leaf.serial_number], ocsp.OCSPCertStatus.REVOKED)
        )
        forged[-1] ^= 1
        self.answer = Fetched(200, {}, bytes(forged))
        self.passes(49 * HOUR)
        self.assertIs(certificate.staple, before)

    def test_nobody_to_ask(self) -> None:
        """A certificate that names no responder of HTTP is left alone."""
        for name, url in (("a.example", ""), ("b.example", "ldap://ocsp.example/")):
            self.certificate(name, url)
        self.certificate("c.example").issuer = None
        made = self.start()
        self.passes(HOUR)
        self.assertEqual(self.asked, [])
        self.assertEqual(
            [snapshot.trouble for snapshot in made.snapshots()],
            [
                "names nobody who could be asked",
                "names nobody who could be asked",
                "can be asked for only if its issuer's certificate is appended",
            ],
        )

    def test_new_and_gone(self) -> None:
        """One that takes the place of another is asked for at once, and the other no more."""
        self.certificate("a.example")
        made = self.start()
        self.passes(2 * LOOK_SECONDS)
        self.use.clear()
        self.certificate("b.example")
        self.passes(2 * LOOK_SECONDS)
        self.assertEqual(self.asked, [URL, URL])
        self.assertEqual([Path(one.file).name for one in made.snapshots()], ["b.example.pem"])

    def test_two_listeners(self) -> None:
        """What two listeners have is asked for once."""
        first = self.certificate()
        [second] = self.begun().loaded.certificates
        self.use.append(second)
        self.start()
        self.passes(2 * LOOK_SECONDS)
        self.assertEqual(self.asked, [URL])
        self.assertIsNotNone(first.staple)
        self.assertIs(first.staple, second.staple)

    def test_bounded(self) -> None:
        """Only so many are asked at a time, and all are given up at the stop."""
        self.slow = True
        for number in range(AT_ONCE + 2):
            self.certificate(f"a{number}.example")
        made = self.start()
        self.passes(2 * LOOK_SECONDS)
        self.assertEqual(len(self.asked), AT_ONCE)
        self.waiting[0].callback(None)
        self.assertEqual(len(self.asked), AT_ONCE + 1)
        self.stop(made)

    def test_a_fault_of_ours(self) -> None:
        """What nobody has thought of is logged, and does not end the asking."""
        certificate = self.certificate()
        issued = self.issued.pop(certificate.leaf.serial_number)
        self.start()
        self.passes(2 * LOOK_SECONDS)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.issued[certificate.leaf.serial_number] = issued
        self.passes(2 * 60.0)
        self.assertIsNotNone(certificate.staple)

    def test_unfit_memory(self) -> None:
        """What is no memory of responses is left out."""
        contents: list[Any] = [7, [1], {"a": 7}, {"a": "\xe4"}]
        certificate = self.certificate()
        for content in contents:
            self.make()
            self.kept.keep("ocsp", lambda: content)  # noqa: B023 - it is called before the next
            self.kept.start()
            self.successResultOf(self.kept.stop())
            with capturedLogs() as events:
                self.stop(self.start())
            self.assertIn("ocsp.json is left out: it is no table of responses", formatEvent(events[0]) or "")
        self.assertIsNone(certificate.staple)

    def test_none(self) -> None:
        """Without such certificates nothing is looked at."""
        self.stop(self.start())
        self.assertEqual(os.listdir(self.state), [])
