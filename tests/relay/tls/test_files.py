"""Is found what belongs together, however operators have it?"""

from __future__ import annotations

import os

from proxyd.config.tls import NamedFiles, TlsSpec
from proxyd.errors import StartError
from proxyd.relay.tls.files import LONGEST, read_pem
from proxyd.relay.tls.termination import Termination
from tests.relay.tls.folder import BETWEEN, NOW_SECONDS, ROOT, Ends, FolderCase
from tests.support.authority import DAY, NOW


class FilesTests(FolderCase):
    def got(self, termination: Termination, name: bytes = b"") -> list[str]:
        ends = Ends(termination.front, name)
        self.assertEqual(ends.errors, [])
        return ends.names()

    def test_the_ways_that_operators_have_them(self) -> None:
        """All in one file, a key beside it, certbot's folders, Kubernetes' links: each is found once."""
        one, two, three, four = (BETWEEN.issue(f"{name}.example", until=NOW + 90 * DAY) for name in "abcd")
        self.both(one, "a.pem")
        self.write("b.crt", two.chain)
        self.write("b.key", two.key)
        self.write("certbot/README", b"x")
        self.write("certbot/chain.pem", BETWEEN.pem)
        self.write("certbot/fullchain.pem", three.chain)
        self.write("certbot/privkey.pem", three.key)
        self.write("kube/..data/tls.crt", four.chain)
        self.write("kube/..data/tls.key", four.key)
        for name in ("tls.crt", "tls.key"):
            os.symlink(os.path.join("..data", name), self.path(f"kube/{name}"))
        self.write("notes.txt", b"-----BEGIN CERTIFICATE-----")
        cut = len(three.chain) // 2
        self.write("certbot/cert.pem", three.chain[: three.chain.index(b"-----BEGIN", cut - 200)])
        termination = self.begun()
        self.assertEqual(termination.loaded.warnings, ())
        self.assertEqual(len(termination.loaded.certificates), 4)
        for name in "abcd":
            self.assertEqual(
                self.got(termination, f"{name}.example".encode()), [f"{name}.example", "Between"]
            )

    def test_haproxy_and_lego(self) -> None:
        """A key in NAME.pem.key, and an authority in a file of its own, complete what lacks them."""
        one = BETWEEN.issue("a.example", whole=False, from_where="http://ca.example/1.crt")
        self.write("a.pem", one.chain)
        self.write("a.pem.key", one.key)
        self.write("a.issuer.crt", BETWEEN.pem)
        self.assertEqual(self.got(self.begun(), b"a.example"), ["a.example", "Between"])

    def test_named_files(self) -> None:
        """The files of one certificate may be named, as Twisted's ssl: has them."""
        one = BETWEEN.issue("a.example", whole=False)
        files = NamedFiles(
            self.write("one", one.key), self.write("two", one.chain), self.write("three", BETWEEN.pem)
        )
        termination = Termination("listener front", TlsSpec(named=files))
        termination.begin(NOW_SECONDS)
        self.assertEqual(self.got(termination), ["a.example", "Between"])
        self.write("one", BETWEEN.issue("b.example").key)
        error = self.assertRaises(
            StartError, Termination("listener front", TlsSpec(named=files)).begin, NOW_SECONDS
        )
        self.assertEqual(
            self.local(error), "[listener front] tls: two: the private key in one does not belong to it"
        )

    def test_limits(self) -> None:
        """A file that is too long, or cannot be read, is said to be so."""
        self.write("long.pem", bytes(LONGEST + 1))
        os.mkfifo(self.path("pipe.pem"))
        for name, why in (
            ("long.pem", f"it is longer than {LONGEST} bytes"),
            ("missing.pem", "No such file or directory"),
            ("pipe.pem", "it is no regular file"),
        ):
            troubles = read_pem(self.path(name)).troubles
            self.assertEqual([self.local(one) for one in troubles], [f"{name}: cannot be read: {why}"])

    def test_only_what_has_changed(self) -> None:
        """What has not changed is not read again, and folders in folders of folders never."""
        self.both(ROOT.issue("a.example"), "a.pem")
        self.both(ROOT.issue("b.example"), "b/b.pem")
        self.both(ROOT.issue("c.example"), "b/c/c.pem")
        termination = self.begun()
        before = termination.loaded.reading
        self.assertEqual([self.local(path) for path in before.pems], ["a.pem", "b/b.pem"])
        self.both(ROOT.issue("a.example"), "a.pem")
        after = termination.load(NOW_SECONDS).reading
        changed = [self.local(path) for path in after.pems if after.pems[path] is not before.pems[path]]
        self.assertEqual(changed, ["a.pem"])
