"""Is TLS ended with the right certificates, at the start and after they have changed?"""

from __future__ import annotations

import errno
import os
import ssl
from typing import Any, Callable, Optional

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

from proxyd.config.tls import TlsSpec
from proxyd.errors import Refused, StartError
from proxyd.relay.opening import Opening, note_tls
from proxyd.relay.tls.termination import Loaded, Termination
from tests.relay.tls.folder import BETWEEN, NOW_SECONDS, ROOT, RSA_KEY, Ends, FolderCase
from tests.support.authority import DAY, NOW, self_signed

DAYS = 86400.0

P_256, NO_CURVE = b"\x2a\x86\x48\xce\x3d\x03\x01\x07", b"\x2a\x86\x48\xce\x3d\x03\x01\x7f"  # in DER


class StartTests(FolderCase):
    """What is there when the daemon starts."""

    def got(self, termination: Termination, name: bytes = b"") -> list[str]:
        ends = Ends(termination.front, name)
        self.assertEqual(ends.errors, [])
        return ends.names()

    def refused(self, **given: object) -> list[str]:
        """What is said of a folder that the daemon does not start with."""
        error = self.assertRaises(StartError, self.begun, **given)
        return [self.local(line).replace("[listener front] tls: ", "") for line in error.lines]

    def test_what_no_library_knows(self) -> None:
        """A certificate that is odd is told of by its file, whatever is odd."""
        self.both(ROOT.issue("a.example"), "a.pem")
        odd = BETWEEN.issue("b.example", whole=False)
        self.write("b.crt", odd.chain + _in_der(BETWEEN.pem, P_256, NO_CURVE))
        self.write("b.key", odd.key)
        self.write("c.crt", _in_der(odd.chain, P_256, NO_CURVE))
        self.write("c.key", odd.key)
        self.write("d.crt", _in_der(odd.chain, b"\x82\x09b.example", b"\xa5\x09b.example"))
        self.write("d.key", odd.key)
        self.assertEqual(
            [line.partition(": x400")[0] for line in self.refused()],
            [
                "c.crt: the private key in c.key does not belong to it",
                'b.crt: the chain is broken: "Between" has issued it, and the file has only "Between"',
                "d.crt: has an extension that cannot be read",
            ],
        )

    def warned(self, **given: object) -> list[str]:
        return [self.local(one) for one in self.begun(**given).loaded.warnings]

    def test_the_order_in_a_file(self) -> None:
        """Certificates are sent in the order in which they have issued each other, without the root."""
        one = BETWEEN.issue("a.example", whole=False)
        self.write("a.pem", ROOT.pem + one.key + BETWEEN.pem + one.chain)
        self.assertEqual(self.got(self.begun()), ["a.example", "Between"])

    def test_by_name(self) -> None:
        """The name decides; who asks for none, or for another, gets the default or is refused."""
        for name in ("a.example", "*.wild.example", "b.example"):
            self.both(ROOT.issue(name), f"{name.replace('*', 'any')}.pem")
        termination = self.begun()
        for asked, got in (
            (b"", "a.example"),
            (b"other.example", "a.example"),
            (b"B.Example", "b.example"),
            (b"x.wild.example", "*.wild.example"),
            (b"wild.example", "a.example"),
            (b"\xff\xfe", "a.example"),
        ):
            self.assertEqual(self.got(termination, asked), [got], asked)
        self.assertEqual(self.got(self.begun(default="b.example")), ["b.example"])
        strict = self.begun(strict_sni=True)
        self.assertEqual(self.got(strict, b"b.example"), ["b.example"])
        for asked in (b"", b"other.example"):
            self.assertEqual(len(Ends(strict.front, asked).errors), 1)
        self.assertEqual(self.refused(default="c.example"), [".: has no certificate for default=c.example"])

    def test_rsa_and_ecdsa(self) -> None:
        """Side by side each client gets the one that it can check, with its own chain."""
        self.both(BETWEEN.issue("a.example"), "a.ecdsa.pem")
        self.both(ROOT.issue("a.example", key=RSA_KEY), "a.rsa.pem")
        termination = self.begun()
        for ciphers, chain in (
            (b"ECDHE-ECDSA-AES128-GCM-SHA256", ["a.example", "Between"]),
            (b"ECDHE-RSA-AES128-GCM-SHA256", ["a.example"]),
        ):
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_max_proto_version(SSL.TLS1_2_VERSION)
            context.set_cipher_list(ciphers)
            ends = Ends(termination.front, b"a.example", context)
            self.assertEqual((ends.errors, ends.names()), ([], chain))

    def test_nothing_there(self) -> None:
        """An empty folder, and one that is not there, are said to be so."""
        self.assertEqual(self.refused(), [".: has no certificate with a private key"])
        missing = Termination("listener front", TlsSpec((self.path("missing"),)))
        error = self.assertRaises(StartError, missing.begin, NOW_SECONDS)
        self.assertIn("missing: cannot be read: No such file or directory", self.local(error))

    def test_what_is_wrong(self) -> None:
        """Each thing that is wrong is said at once, with the file that it is in."""
        good = ROOT.issue("a.example")
        self.both(good, "good.pem")
        self.write("alone.crt", ROOT.issue("b.example").chain)
        self.write("cut.pem", good.key + good.chain[:100])
        self.write("mismatch.crt", good.chain)
        self.write("mismatch.key", ROOT.issue("c.example").key)
        self.write("own.pem", good.chain + ROOT.issue("d.example").key)
        self.write(
            "rubbish.pem", good.key + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        )
        other = BETWEEN.issue("e.example", whole=False)
        self.write("broken.pem", other.key + other.chain + ROOT.pem)
        told = BETWEEN.issue("f.example", whole=False, from_where="http://ca.example/1.crt")
        self.both(told, "missing.pem")
        self.both(ROOT.issue("g.example", until=NOW - 2 * DAY, since=NOW - 4 * DAY), "expired.pem")
        self.both(ROOT.issue("h.example", key=rsa.generate_private_key(65537, 1024)), "weak.pem")
        lines = self.refused()
        # The authority is in no file here, but in broken.pem, which therefore completes no chain.
        for expected in (
            "alone.crt: has no private key, and neither has alone.key beside it",
            "cut.pem: ends in the middle of a certificate or a key",
            "mismatch.crt: the private key in mismatch.key does not belong to it",
            "own.pem: the private key in it belongs to none of the certificates in it",
            "rubbish.pem: has a certificate that cannot be read: ",
            'broken.pem: the chain is broken: "Between" has issued it, and the file has only "Root"',
            'missing.pem: is sent without "Between", which has issued it; append that certificate, from '
            "http://ca.example/1.crt, or put it into the same folder",
            f"expired.pem: has expired on {NOW - 2 * DAY:%Y-%m-%d}; renew it, take it away, or add "
            "serve_expired=yes",
            "weak.pem: OpenSSL refuses it: ee key too small",
        ):
            found = [line for line in lines if line.startswith(expected)]
            self.assertEqual(len(found), 1, (expected, lines))
        self.assertEqual(len(lines), 9, lines)

    def test_an_encrypted_key(self) -> None:
        """A key with a passphrase is refused with what helps."""
        issued = ROOT.issue("a.example")
        self.write("a.crt", issued.chain)
        self.write("a.key", issued.encrypted)
        self.assertEqual(
            self.refused(),
            [
                "a.key: has a key that is encrypted, and nobody is here to give the passphrase; openssl pkey "
                "-in FILE -out FILE decrypts it",
                "a.crt: its private key in a.key cannot be had",
            ],
        )

    def test_expired(self) -> None:
        """What has expired is no hindrance where another has its names, or it is wanted so."""
        expired = ROOT.issue("a.example", since=NOW - 4 * DAY, until=NOW - 2 * DAY)
        self.both(expired, "a.pem")
        self.assertEqual(self.got(self.begun(serve_expired=True)), ["a.example"])
        self.both(ROOT.issue("a.example", until=NOW + 90 * DAY), "b.pem")
        self.assertEqual(
            self.warned()[-1], f"a.pem: has expired on {NOW - 2 * DAY:%Y-%m-%d}; others have its names"
        )

    def test_warnings(self) -> None:
        """What is served all the same is told of."""
        self.both(ROOT.issue("a.example", until=NOW + 13.5 * DAY), "a.pem")
        self.both(ROOT.issue("b.example", since=NOW + DAY, until=NOW + 90 * DAY), "b.pem")
        self.both(ROOT.issue(until=NOW + 90 * DAY, must_staple=True), "c.pem")
        self.both(self_signed("d.example"), "d.pem")
        os.chmod(self.path("a.pem"), 0o644)
        private = 'is sent without "Root", which has issued it: unless clients know that one, append its '
        private += "certificate"
        self.assertEqual(
            self.warned(),
            [
                "a.pem: has a private key that everybody may read; chmod o-r",
                f"a.pem: {private}",
                f"b.pem: {private}",
                f"c.pem: {private}",
                "c.pem: asks clients to insist on an OCSP response, and none that is good is beside it",
                f"a.pem: expires on {NOW + 13.5 * DAY:%Y-%m-%d}",
                f"b.pem: is valid only from {NOW + DAY:%Y-%m-%d} on",
                f"d.pem: expires on {NOW + DAY:%Y-%m-%d}",
            ],
        )

    def test_what_openssl_does_not_know(self) -> None:
        """Ciphers that OpenSSL does not know are said to be so before anything is started."""
        for given, said in (
            ({"ciphers": "AES-NONSENSE"}, "ciphers=AES-NONSENSE cannot be used: no cipher match"),
            ({"dhparam": self.path("dh.pem")}, "dhparam=dh.pem cannot be used: "),
        ):
            error = self.assertRaises(StartError, Termination, "listener front", self.spec(**given))
            self.assertIn(f"[listener front] tls: {said}", self.local(error))


def _in_der(pem: bytes, before: bytes, after: bytes) -> bytes:
    """A certificate in PEM of which something is otherwise."""
    der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    return ssl.DER_cert_to_PEM_cert(der.replace(before, after)).encode()


class ReloadTests(FolderCase):
    """What changes while the daemon runs."""

    def setUp(self) -> None:
        super().setUp()
        self.both(ROOT.issue("a.example"), "a.pem")
        two = ROOT.issue("b.example", "old.example")
        self.write("b.crt", two.chain)
        self.write("b.key", two.key)
        self.termination = self.begun()

    def load(self, after: float = 0.0) -> Loaded:
        found = self.termination.load(NOW_SECONDS + after)
        self.termination.take(found)
        return found

    def got(self, name: str, front: Optional[SSL.Context] = None) -> tuple[int, list[str]]:
        """The serial number of the certificate for this name, and all its names."""
        ends = Ends(front or self.termination.front, name.encode())
        self.assertEqual(ends.errors, [])
        certificate = ends.client.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        return certificate.serial_number, ends.names()

    def test_renewed(self) -> None:
        """A certificate that is renewed is served, and nothing is made anew for the others."""
        other = self.termination.context_for("b.example")
        before = self.got("a.example")
        self.both(ROOT.issue("a.example"), "a.pem")
        self.assertEqual(self.load().troubles, ())
        self.assertNotEqual(self.got("a.example"), before)
        self.assertIs(self.termination.context_for("b.example"), other)

    def test_added_and_taken_away(self) -> None:
        """A file that is new is served by its names; one that is gone no more."""
        self.both(ROOT.issue("c.example"), "c/c.pem")
        self.load()
        self.assertEqual(self.got("c.example")[1], ["c.example"])
        os.unlink(self.path("b.crt"))
        os.unlink(self.path("b.key"))
        self.load()
        self.assertEqual(self.got("b.example")[1], ["a.example"])

    def test_half_written(self) -> None:
        """While a key and its certificate do not fit, the old are served; others are renewed meanwhile."""
        two, new = self.got("b.example"), ROOT.issue("b.example")
        self.write("b.key", new.key)
        self.both(ROOT.issue("a.example", "new.example"), "a.pem")
        found = self.load()
        self.assertEqual([trouble.passing for trouble in found.troubles], [True])
        self.assertEqual(self.got("b.example"), two)
        self.assertEqual(self.got("new.example")[1], ["a.example"])
        self.write("b.crt", new.chain[:50])
        self.load()
        self.assertEqual(self.got("old.example"), two)
        self.write("b.crt", new.chain)
        self.assertEqual(self.load().troubles, ())
        self.assertNotEqual(self.got("b.example"), two)
        self.assertEqual(self.got("old.example")[1], ["a.example"])

    def test_broken(self) -> None:
        """What cannot be used is refused, and what was there stays: rubbish, weak keys, an empty folder."""
        weak = ROOT.issue("a.example", key=rsa.generate_private_key(65537, 1024))
        for bad in (b"rubbish", b"", ROOT.issue("a.example").chain, weak.chain + weak.key):
            before = self.got("a.example")
            self.write("a.pem", bad)
            self.assertEqual(len(self.load().troubles), 1, bad)
            self.assertEqual(self.got("a.example"), before)
            self.both(ROOT.issue("a.example"), "a.pem")
            self.assertEqual(self.load().troubles, ())
        before = self.got("a.example")
        for name in ("a.pem", "b.crt", "b.key"):
            os.unlink(self.path(name))
        self.assertEqual(
            [self.local(one) for one in self.load().troubles], [".: has no certificate with a private key"]
        )
        self.assertEqual(self.got("a.example"), before)

    def test_the_default_is_gone(self) -> None:
        """Without a certificate for the default, all stays as it is."""
        self.termination = self.begun(default="a.example")
        before = self.got("a.example")
        self.both(ROOT.issue("c.example"), "a.pem")
        found = self.load()
        self.assertEqual(
            [self.local(one) for one in found.troubles], [".: has no certificate for default=a.example"]
        )
        self.assertEqual(self.got("a.example"), before)

    def test_expires_while_it_is_served(self) -> None:
        """One that expires while the daemon runs is served on, and does not keep others from renewal."""
        self.both(ROOT.issue("a.example", "new.example", until=NOW + 90 * DAY), "a.pem")
        found = self.load(after=2 * DAYS)
        self.assertEqual(found.troubles, ())
        self.assertEqual(
            [self.local(one).partition(";")[0] for one in found.expired],
            [f"b.crt: has expired on {NOW + DAY:%Y-%m-%d}"],
        )
        self.assertEqual(self.got("b.example")[1], ["b.example"])
        self.assertEqual(self.got("new.example")[1], ["a.example"])

    def test_what_cannot_be_read(self) -> None:
        """It is told, and served on, and read when it can be, which a mode may change."""
        self.both(ROOT.issue("c.example"), "more/c.pem")
        self.load()
        old = self.got("c.example")
        self.both(ROOT.issue("c.example"), "more/c.pem")
        real = os.open, os.listdir

        def refuse(call: Callable[..., Any], what: str) -> Callable[..., Any]:
            def refusing(path: str, *args: Any) -> Any:
                if path == self.path(what):
                    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
                return call(path, *args)

            return refusing

        for opens, lists in ((refuse(real[0], "more/c.pem"), real[1]), (real[0], refuse(real[1], "more"))):
            self.patch(os, "open", opens)
            self.patch(os, "listdir", lists)
            found = self.load()
            self.assertIn(" cannot be read: ", "".join(map(self.local, found.troubles)))
            self.assertEqual((self.got("c.example"), found.until), (old, NOW_SECONDS + 30))
            self.patch(os, "open", real[0])
            self.patch(os, "listdir", real[1])
        before = self.termination.look()
        os.chmod(self.path("more/c.pem"), 0o600)
        self.assertNotEqual(self.termination.look(), before)
        self.load()
        self.assertNotEqual(self.got("c.example"), old)

    def test_one_that_is_to_come(self) -> None:
        """A renewal that is valid only from tomorrow is served from tomorrow on."""
        before = self.got("a.example")
        self.both(ROOT.issue("a.example", since=NOW + DAY / 2, until=NOW + 90 * DAY), "c.pem")
        found = self.load()
        self.assertEqual(self.got("a.example"), before)
        self.assertEqual(found.until, int(NOW_SECONDS + DAYS / 2))
        self.load(after=0.6 * DAYS)
        self.assertNotEqual(self.got("a.example"), before)

    def test_sessions_outlive_it(self) -> None:
        """A client resumes its session after its server's certificate was replaced."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            for tickets in (True, False):
                self.both(ROOT.issue("a.example"), "a.pem")
                self.termination = self.begun(tickets=tickets)
                context = SSL.Context(SSL.TLS_CLIENT_METHOD)
                context.set_max_proto_version(version)
                first = Ends(self.termination.front, b"a.example", context)
                session = first.tickets()
                old = self.got("a.example")
                self.both(ROOT.issue("a.example"), "a.pem")
                self.load()
                again = Ends(self.termination.front, b"a.example", context, session=session)
                self.assertEqual(again.errors, [])
                self.assertTrue(again.resumed(first), (version, tickets))
                self.assertNotEqual(self.got("a.example"), old)

    def test_sessions_do_not_replace_a_certificate(self) -> None:
        """Who asks for a name that there is not is refused where that is strict, with a session too."""
        front = self.begun(strict_sni=True).front
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        first = Ends(front, b"a.example", context)
        note_tls(Opening(None), first.server)
        session = first.tickets()
        for name in (b"none.example", b""):
            again = Ends(front, name, context, session=session)
            self.assertTrue(again.errors or again.resumed(first))
            self.assertRaises(Refused, note_tls, Opening(None), again.server)
