"""Are keys and certificates kept whole, from others' eyes, and for whoever the daemon will be?"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from twisted.logger import capturedLogs, formatEvent

from proxyd.config.acme import AcmeSpec, CertificateSpec
from proxyd.upkeep.acme import keys
from proxyd.upkeep.acme.folder import Account, AcmeFolder, PendingOrder
from tests.support.case import Case

NOW = 1e9
URL = "https://ca.example/dir"
WWW = CertificateSpec("www", ("www.example", "example.org"))
RSA = CertificateSpec("rsa", ("www.example",), "rsa")
SPEC = AcmeSpec("ca", URL, (WWW, RSA))


class FolderTests(Case):
    def setUp(self) -> None:
        self.state = self.mktemp()
        os.mkdir(self.state)

    def folder(self, spec: AcmeSpec = SPEC) -> AcmeFolder:
        folder = AcmeFolder(self.state, spec)
        self.assertEqual(folder.prepare(NOW), [])
        return folder

    def path(self, *parts: str) -> Path:
        return Path(self.state, "acme", "ca", *parts)

    def modes(self) -> set[tuple[bool, int]]:
        """Which modes there are below the state folder, each with whether it is a folder's."""
        found = [os.stat(path) for path in Path(self.state).rglob("*")]
        return {(stat.S_ISDIR(one.st_mode), stat.S_IMODE(one.st_mode)) for one in found}

    def test_prepared(self) -> None:
        """There is a placeholder for each certificate, and nobody else can read it; what is there stays."""
        folder = self.folder()
        self.assertEqual(folder.certificates, str(self.path("certificates")))
        self.assertEqual(sorted(os.listdir(folder.certificates)), ["rsa.pem", "www.pem"])
        self.assertEqual(self.modes(), {(True, 0o700), (False, 0o600)})
        for spec in SPEC.certificates:
            held = folder.held(spec)
            assert held is not None
            self.assertEqual((held.placeholder, held.names, held.kind), (True, spec.names, spec.key))
        before = self.path("certificates", "www.pem").read_bytes()
        self.folder()
        self.assertEqual(self.path("certificates", "www.pem").read_bytes(), before)

    def test_retired(self) -> None:
        """A certificate that is not asked for any more is not served on, and not lost either."""
        self.folder()
        before = self.path("certificates", "rsa.pem").read_bytes()
        folder = self.folder(AcmeSpec("ca", URL, (WWW,)))
        self.assertEqual(os.listdir(folder.certificates), ["www.pem"])
        self.assertEqual(self.path("retired", "rsa.pem").read_bytes(), before)
        self.assertEqual(self.modes(), {(True, 0o700), (False, 0o600)})
        self.folder()
        self.folder(AcmeSpec("ca", URL, (WWW,)))
        self.assertEqual(os.listdir(folder.certificates), ["www.pem"])

    def test_wider_modes_are_mended(self) -> None:
        """A folder that others might read is closed to them."""
        self.folder()
        self.path().chmod(0o755)
        self.folder()
        self.assertEqual(self.modes(), {(True, 0o700), (False, 0o600)})

    def test_nothing_to_be_had(self) -> None:
        """A folder that cannot be made fails the start, and says what would help."""
        wrong = AcmeFolder(os.path.join(self.state, "none"), SPEC).prepare(NOW)
        path = os.path.join(self.state, "none", "acme")
        self.assertEqual(
            wrong, [f"[acme ca] {path}: No such file or directory; [proxyd] state must be writable"]
        )
        Path(self.state, "acme").write_text("")
        wrong = AcmeFolder(self.state, SPEC).prepare(NOW)
        self.assertEqual(wrong, [f"[acme ca] {os.path.join(self.state, 'acme')} is not a folder"])

    def test_links(self) -> None:
        """Whoever may write there does not lead root elsewhere."""
        elsewhere = self.mktemp()
        os.mkdir(elsewhere, 0o755)
        self.folder()
        self.path("retired").symlink_to(os.path.abspath(elsewhere))
        spec = AcmeSpec("ca", URL, (WWW,))
        for name in ("retired", "orders", "certificates", "", os.pardir):
            path = os.path.normpath(self.path(name))
            if not os.path.islink(path):
                os.rename(path, self.mktemp())
                os.symlink(os.path.abspath(elsewhere), path)
            wrong = AcmeFolder(self.state, spec).prepare(NOW)
            self.assertEqual(wrong, [f"[acme ca] {path} is not a folder"])
        self.assertEqual((os.listdir(elsewhere), stat.S_IMODE(os.stat(elsewhere).st_mode)), ([], 0o755))

    def test_torn(self) -> None:
        """A certificate that cannot be served is told, and a placeholder takes its place."""
        folder = self.folder()
        self.path("certificates", "www.pem").write_text("torn")
        with capturedLogs() as events:
            self.folder()
        [line] = [formatEvent(event) or "" for event in events]
        self.assertIn("www.pem is left out, and had anew: there is no key that can be read", line)
        held = folder.held(WWW)
        self.assertTrue(held is not None and held.placeholder)

    def test_account(self) -> None:
        """An account is kept with its key, for its directory alone."""
        folder = self.folder()
        fresh = folder.account()
        self.assertEqual(fresh.url, "")
        folder.keep_account(Account(fresh.key, "https://ca.example/me"))
        again = self.folder().account()
        self.assertEqual(
            (again.url, keys.pem_of(again.key)), ("https://ca.example/me", keys.pem_of(fresh.key))
        )
        self.assertEqual(self.modes(), {(True, 0o700), (False, 0o600)})
        other = AcmeFolder(self.state, AcmeSpec("ca", URL + "2", (WWW,))).account()
        self.assertNotEqual(keys.pem_of(other.key), keys.pem_of(fresh.key))
        self.path("account.json").write_text('{"directory": 7}')
        with capturedLogs() as events:
            self.assertEqual(self.folder().account().url, "")
        self.assertEqual(events, [])
        self.path("account.json").write_text('{"directory"')
        with capturedLogs() as events:
            self.assertEqual(self.folder().account().url, "")
        self.assertEqual(len(events), 1)

    def test_order(self) -> None:
        """An order is gone on with if it is for what is wanted now, and until its certificate is there."""
        folder = self.folder()
        self.assertIsNone(folder.order(WWW))
        key = keys.new_key("ecdsa")
        folder.keep_order(WWW, PendingOrder("https://ca.example/1", key, WWW.names))
        found = folder.order(WWW)
        assert found is not None
        self.assertEqual((found.url, keys.pem_of(found.key)), ("https://ca.example/1", keys.pem_of(key)))
        for other in (CertificateSpec("www", ("www.example",)), CertificateSpec("www", WWW.names, "rsa")):
            self.assertIsNone(folder.order(other))
        moved = AcmeFolder(self.state, AcmeSpec("ca", URL + "2", (WWW,)))
        self.assertIsNone(moved.order(WWW))
        folder.keep_certificate(WWW, keys.pem_of(key) + "chain")
        self.assertIsNone(folder.order(WWW))
        folder.keep_order(WWW, PendingOrder("https://ca.example/2", keys.new_key("ecdsa"), WWW.names))
        folder.forget_order(WWW)
        folder.forget_order(WWW)
        self.assertIsNone(folder.order(WWW))

    def test_owner(self) -> None:
        """What root makes belongs to whom the state folder belongs, who may have to write there later."""
        given: list[tuple[str, int, int]] = []
        owner = os.stat(self.state)

        class Owned:
            st_uid, st_gid = 12345, 54321

        real = os.stat
        self.patch(os, "geteuid", lambda: 0)
        self.patch(os, "stat", lambda path, **how: Owned if path == self.state else real(path, **how))
        self.patch(os, "chown", lambda path, uid, gid, **how: given.append((path, uid, gid)))
        self.folder()
        everything = {str(path) for path in Path(self.state, "acme").rglob("*")} | {f"{self.state}/acme"}
        self.assertEqual(set(given), {(path, 12345, 54321) for path in everything})
        self.assertNotEqual(owner.st_uid, 12345)
