"""Are certificates read again when they have changed, and is said what came of it?"""

from __future__ import annotations

import os
from typing import Any, Callable

from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from proxyd.errors import StartError
from proxyd.snapshots import ReloadSnapshot
from proxyd.upkeep.certificates import LOOK_SECONDS, PATIENCE, CertificateFiles
from tests.relay.tls.folder import NOW_SECONDS, ROOT, Ends, FolderCase
from tests.support.authority import DAY, NOW
from tests.support.walltime import SetTime


def at_once(work: Callable[[], Any]) -> Deferred[Any]:
    """A thread that has done its work when it is asked."""
    return maybeDeferred(work)


class CertificateFilesTests(FolderCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.wall = SetTime(self.clock.seconds, NOW_SECONDS)
        self.both(ROOT.issue("a.example", until=NOW + 90 * DAY), "a.pem")
        self.write("root.crt", ROOT.pem)
        self.files = CertificateFiles(self.clock, lambda: 0.0, at_once, self.wall)

    def start(self, **given: Any) -> None:
        self.termination = self.files.load("listener front", self.spec(**given))
        self.files.start()
        self.addCleanup(self.files.stop)

    def looks(self, count: int = 2, after: float = 0.0) -> list[str]:
        """What is logged while the files are looked at so often, after so many seconds."""
        with capturedLogs() as events:
            self.clock.advance(after)
            self.clock.pump([LOOK_SECONDS / 8] * 8 * count)
        return [self.local(formatEvent(event)) for event in events]

    def got(self, name: bytes = b"a.example") -> int:
        ends = Ends(self.termination.front, name)
        certificate = ends.client.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        return certificate.serial_number

    def test_once_for_a_listener(self) -> None:
        """All addresses of a listener have the same certificates; another listener has its own."""
        one = self.files.load("listener front", self.spec())
        self.assertIs(self.files.load("listener front", self.spec()), one)
        self.assertIsNot(self.files.load("listener other", self.spec()), one)
        os.unlink(self.path("a.pem"))
        self.assertRaises(StartError, self.files.load, "listener third", self.spec())

    def test_renewed(self) -> None:
        """What has changed and is written no more is read, and served from then on."""
        self.start()
        self.assertEqual(self.looks(), [])
        before = self.got()
        self.both(ROOT.issue("a.example", "b.example", until=NOW + 90 * DAY), "a.pem")
        self.assertEqual(self.looks(1), [])
        day = f"{NOW + 90 * DAY:%Y-%m-%d}"
        self.assertEqual(
            self.looks(1), [f"a.pem: is served from now on, for a.example, b.example, until {day}"]
        )
        self.assertNotEqual(self.got(), before)
        self.assertEqual(self.looks(), [])
        self.assertEqual(self.files.reloads(), (ReloadSnapshot("front", 1, 0),))

    def test_refused(self) -> None:
        """What is wrong is said once, and the old one stays."""
        self.start()
        before = self.got()
        self.both(ROOT.issue("a.example", key=rsa.generate_private_key(65537, 1024)), "a.pem")
        self.assertEqual(
            self.looks(),
            [
                "[listener front] tls: a.pem: OpenSSL refuses it: ee key too small; what was there before is "
                "served on"
            ],
        )
        self.assertEqual(self.looks(), [])
        self.assertEqual(self.got(), before)
        self.assertEqual(self.files.reloads(), (ReloadSnapshot("front", 0, 1),))
        [row] = self.files.certificates()
        self.assertEqual((row.trouble, row.names), ("OpenSSL refuses it: ee key too small", ("a.example",)))

    def test_half_written(self) -> None:
        """A key without its certificate is said only if it stays so; then it is what is wrong."""
        new = ROOT.issue("b.example", until=NOW + 90 * DAY)
        self.start()
        self.write("b.key", ROOT.issue("b.example").key)
        self.write("b.crt", new.chain)
        self.assertEqual(self.looks(4), [])
        self.write("b.key", new.key)
        self.assertEqual([line.partition(",")[0] for line in self.looks()], ["b.crt: is served from now on"])
        self.write("b.key", ROOT.issue("b.example").key)
        said = self.looks(int(PATIENCE / LOOK_SECONDS) + 4)
        self.assertEqual(
            said,
            [
                "[listener front] tls: b.crt: the private key in b.key does not belong to it; what was there "
                "before is served on"
            ],
        )
        self.assertEqual(self.files.reloads(), (ReloadSnapshot("front", 1, 1),))

    def test_expires(self) -> None:
        """One that expires while it is served is told of, days before and when it has."""
        self.both(ROOT.issue("a.example", until=NOW + 14.5 * DAY), "a.pem")
        self.start()
        day = f"{NOW + 14.5 * DAY:%Y-%m-%d}"
        self.assertEqual(self.looks(after=86400), [f"[listener front] tls: a.pem: expires on {day}"])
        self.assertEqual(
            self.looks(after=14 * 86400),
            [
                f"[listener front] tls: a.pem: has expired on {day}; renew it, take it away, or add "
                "serve_expired=yes"
            ],
        )
        self.assertEqual(self.looks(), [])

    def test_set(self) -> None:
        """Whether one is valid is asked anew when the clock is set, either way."""
        self.both(ROOT.issue("a.example", until=NOW + 14.5 * DAY), "a.pem")
        self.start()
        day = f"{NOW + 14.5 * DAY:%Y-%m-%d}"
        self.wall.set(15 * 86400.0)
        self.assertEqual(
            self.looks(),
            [
                f"[listener front] tls: a.pem: has expired on {day}; renew it, take it away, or add "
                "serve_expired=yes"
            ],
        )
        self.wall.set(-15 * 86400.0)
        self.looks()
        (one,) = self.files.certificates()
        self.assertEqual(one.trouble, "")

    def test_at_the_start(self) -> None:
        """At the start is said what is served, what of it is amiss, and what cannot be read any more."""
        self.both(ROOT.issue("a.example"), "a.pem")
        self.patch(os, "access", lambda path, mode: not path.endswith("a.pem"))
        with capturedLogs() as events:
            self.start()
        said = [self.local(formatEvent(event)) for event in events]
        self.assertEqual(
            said,
            [
                "[listener front] tls: 1 certificate for 1 name; the default is that of a.pem",
                f"[listener front] tls: a.pem: expires on {NOW + DAY:%Y-%m-%d}",
                f"a.pem: cannot be read as uid {os.geteuid()}, so it will not be served when it is renewed; "
                "give the group of that user the right to read it",
            ],
        )

    def test_snapshot(self) -> None:
        """It is known what is served, and of which files nothing is."""
        issued = ROOT.issue("a.example", "b.example", until=NOW + 90 * DAY)
        self.both(issued, "a.pem")
        self.write("a.ocsp", ROOT.vouch(issued))
        self.both(ROOT.issue("c.example", must_staple=True, until=NOW + 90 * DAY), "c.pem")
        self.start()
        self.write("d.pem", ROOT.issue("d.example").chain)
        self.looks()
        first, second, third = self.files.certificates()
        self.assertEqual(first.names, ("a.example", "b.example"))
        self.assertEqual((first.listener, first.key_type, first.issuer), ("front", "ECDSA", "Root"))
        self.assertEqual(first.not_after, int(NOW_SECONDS) + 90 * 86400)
        self.assertEqual(first.staple, f"until {NOW + DAY:%Y-%m-%d}")
        self.assertEqual((second.staple, second.trouble), ("missing", ""))
        self.assertEqual(third.names, ())
        self.assertIn("has no private key", third.trouble)
        paths = [self.local(one.paths[0]) for one in (first, second, third)]
        self.assertEqual(paths, ["a.pem", "c.pem", "d.pem"])
