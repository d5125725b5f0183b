"""Are those clients let in whose certificates lead to the right authority, and no others?"""

from __future__ import annotations

import tempfile
from typing import Any, Optional

from OpenSSL import SSL

from proxyd.errors import StartError
from proxyd.relay.tls.termination import Termination
from tests.relay.tls.folder import NOW_SECONDS, ROOT, Ends, FolderCase
from tests.support.authority import DAY, FOR_CLIENTS, FOR_SERVERS, NOW, Authority, Issued

CLIENTS = Authority("Clients")
OTHERS = Authority("Others")


class ClientsTests(FolderCase):
    def setUp(self) -> None:
        super().setUp()
        self.both(ROOT.issue("a.example", until=NOW + 90 * DAY), "a.pem")
        self.ca = self.write("clients/ca", CLIENTS.pem)
        self.good = CLIENTS.issue("somebody", purpose=FOR_CLIENTS)
        self.bad = CLIENTS.issue("someone else", purpose=FOR_CLIENTS)

    def shaken(self, termination: Termination, issued: Optional[Issued] = None) -> Ends:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if issued is not None:
            with tempfile.NamedTemporaryFile() as file:
                issued.write(file.name)
                context.use_certificate_chain_file(file.name)
                context.use_privatekey_file(file.name)
        return Ends(termination.front, b"a.example", context)

    def lets_in(self, termination: Termination, issued: Optional[Issued] = None) -> bool:
        return not self.shaken(termination, issued).errors

    def test_required_or_optional(self) -> None:
        """With `required` nobody comes in without a certificate, with `optional` nobody with a wrong one."""
        wrong = OTHERS.issue("somebody", purpose=FOR_CLIENTS)
        for_servers = CLIENTS.issue("a.example", purpose=FOR_SERVERS)
        for client, without in (("required", False), ("optional", True)):
            termination = self.begun(client=client, client_ca=self.ca)
            self.assertEqual(self.lets_in(termination), without)
            self.assertTrue(self.lets_in(termination, self.good))
            for issued in (wrong, for_servers, CLIENTS.issue("old", since=NOW - 3 * DAY, until=NOW - DAY)):
                self.assertFalse(self.lets_in(termination, issued))

    def test_who_it_is(self) -> None:
        """It is known who has come, and clients are told which authorities are wanted."""
        ends = self.shaken(self.begun(client="required", client_ca=self.ca), self.good)
        certificate = ends.server.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        self.assertEqual(certificate, self.good.certificate)
        self.assertEqual([str(name.CN) for name in ends.client.get_client_ca_list()], ["Clients"])

    def test_revoked(self) -> None:
        """One whose certificate is revoked is not let in, and neither is anybody without a list."""
        crl = self.write("clients/crl", CLIENTS.revoke(self.bad))
        given: dict[str, Any] = {"client": "required", "client_ca": self.ca, "client_crl": crl}
        termination = self.begun(**given)
        self.assertTrue(self.lets_in(termination, self.good))
        self.assertFalse(self.lets_in(termination, self.bad))
        self.write("clients/ca", CLIENTS.pem + OTHERS.pem)
        self.write("clients/crl", OTHERS.revoke() + CLIENTS.revoke(self.bad, until=NOW - DAY))
        termination = self.begun(**given)
        self.assertFalse(self.lets_in(termination, self.good))
        said = [self.local(one) for one in termination.loaded.warnings]
        self.assertIn(
            f'clients/crl: the list of "Clients" ran out on {NOW - DAY:%Y-%m-%d}: its clients are refused '
            "until it is renewed",
            said,
        )
        self.write("clients/crl", OTHERS.revoke())
        said = [self.local(one) for one in self.begun(**given).loaded.warnings]
        self.assertIn('clients/crl: has no list of "Clients", so its clients are refused', said)

    def test_read_again(self) -> None:
        """Files that change are read again, and those that are wrong are not taken."""
        crl = self.write("clients/crl", CLIENTS.revoke())
        termination = self.begun(client="required", client_ca=self.ca, client_crl=crl)
        self.assertTrue(self.lets_in(termination, self.bad))
        self.write("clients/crl", CLIENTS.revoke(self.bad))
        termination.take(termination.load(NOW_SECONDS))
        self.assertFalse(self.lets_in(termination, self.bad))
        self.write("clients/crl", b"")
        self.write("clients/ca", OTHERS.pem[:80])
        found = termination.load(NOW_SECONDS)
        termination.take(found)
        self.assertEqual(
            [self.local(one) for one in found.troubles],
            [
                "clients/ca: ends in the middle of a certificate or a key",
                "clients/crl: has no list of revoked certificates in PEM",
            ],
        )
        self.assertFalse(self.lets_in(termination, self.bad))
        self.assertTrue(self.lets_in(termination, self.good))

    def test_what_runs_out(self) -> None:
        """When a list runs out that is told, and what is wrong is told for as long as it is."""
        crl = self.write("clients/crl", CLIENTS.revoke(until=NOW + DAY / 2))
        termination = self.begun(client="required", client_ca=self.ca, client_crl=crl)
        end = termination.loaded.until
        self.assertEqual(end, int(NOW_SECONDS + 43200))
        found = termination.load(end)
        termination.take(found)
        self.assertIn("clients/crl: the list of", "".join(map(self.local, found.warnings)))
        self.assertEqual(termination.load(end).warnings, found.warnings)
        self.assertGreater(found.until, end)
        self.write("clients/crl", b"")
        wrong = termination.load(end)
        termination.take(wrong)
        self.both(ROOT.issue("b.example"), "b.pem")
        again = termination.load(end)
        self.assertEqual((len(again.troubles), again.troubles), (1, wrong.troubles))

    def test_what_is_wrong(self) -> None:
        """The daemon does not start with files that cannot be used."""
        crl = self.write("clients/crl", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
        self.write("clients/ca", b"")
        error = self.assertRaises(
            StartError, self.begun, client="required", client_ca=self.ca, client_crl=crl
        )
        lines = [self.local(line) for line in error.lines]
        self.assertEqual(lines[0], "[listener front] tls: clients/ca: has no certificate")
        self.assertIn("clients/crl: has a list that cannot be read: ", lines[1])
        expired = Authority("Clients", None, NOW - 2 * DAY)
        self.write("clients/ca", expired.pem)
        said = [self.local(one) for one in self.begun(client="required", client_ca=self.ca).loaded.warnings]
        self.assertIn(
            'clients/ca: "Clients" has expired: clients that come with its certificates are refused', said
        )

    def test_each_is_judged(self) -> None:
        """A session opens to nobody whose certificate is revoked by now, or who came without any."""
        for tickets in (True, False):
            for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
                crl = self.write("clients/crl", CLIENTS.revoke())
                given = {"client": "required", "client_ca": self.ca, "client_crl": crl, "tickets": tickets}
                termination = self.begun(**given)
                context = SSL.Context(SSL.TLS_CLIENT_METHOD)
                context.set_max_proto_version(version)
                with tempfile.NamedTemporaryFile() as file:
                    self.bad.write(file.name)
                    context.use_certificate_chain_file(file.name)
                    context.use_privatekey_file(file.name)
                first = Ends(termination.front, b"a.example", context)
                session = first.tickets()
                again = Ends(termination.front, b"a.example", context, session=session)
                self.assertEqual((first.errors, again.errors), ([], []))
                self.write("clients/crl", CLIENTS.revoke(self.bad))
                termination.take(termination.load(NOW_SECONDS))
                self.assertTrue(Ends(termination.front, b"a.example", context, session=session).errors)
