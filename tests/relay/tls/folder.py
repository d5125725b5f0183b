"""How does a test try certificates?  It writes them into a folder of its own, and loads them."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any, Optional

from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

from proxyd.config.tls import TlsSpec
from proxyd.relay.tls.termination import Termination
from tests.support.authority import DAY, NOW, Authority, Issued
from tests.support.case import Case

ROOT = Authority("Root")
BETWEEN = Authority("Between", ROOT, NOW + 90 * DAY)
RSA_KEY = rsa.generate_private_key(65537, 2048)
NOW_SECONDS = NOW.timestamp()


class FolderCase(Case):
    """A test with a folder for certificates; paths in messages are relative to that folder."""

    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="p-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.written = 0

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def write(self, name: str, data: bytes) -> str:
        """Write a file, with a time of its own, so that it always looks other than it did."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, 0o640)
        self.written += 1
        os.utime(path, (self.written, self.written))  # the kernel's own times go by ticks of some ms
        return path

    def both(self, issued: Issued, name: str) -> None:
        """Write a certificate with its chain and its key into one file."""
        self.write(name, issued.chain + issued.key)

    def local(self, text: object) -> str:
        return str(text).replace(self.folder + os.sep, "").replace(self.folder, ".")

    def spec(self, **given: Any) -> TlsSpec:
        return TlsSpec((self.folder,), **given)

    def begun(self, **given: Any) -> Termination:
        """TLS with what is in the folder."""
        termination = Termination("listener front", self.spec(**given))
        termination.begin(NOW_SECONDS)
        return termination


class Ends:
    """A client and TLS as it ends here, with memory between them."""

    def __init__(
        self,
        front: SSL.Context,
        name: bytes = b"",
        context: Optional[SSL.Context] = None,
        alpn: tuple[bytes, ...] = (),
        session: Optional[SSL.Session] = None,
        ocsp: bool = False,
    ) -> None:
        context = context or SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.client = SSL.Connection(context, None)
        self.server = SSL.Connection(front, None)
        if name:
            self.client.set_tlsext_host_name(name)
        if alpn:
            self.client.set_alpn_protos(list(alpn))
        if session is not None:
            self.client.set_session(session)
        if ocsp:
            self.client.request_ocsp()
        self.client.set_connect_state()
        self.server.set_accept_state()
        self.errors: list[SSL.Error] = []
        self.answered = 0  # bytes of the server's
        for _ in range(4):
            for one, other in ((self.client, self.server), (self.server, self.client)):
                self._step(one, other)

    def _step(self, one: SSL.Connection, other: SSL.Connection) -> None:
        if not self.errors:
            try:
                one.do_handshake()
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                self.errors.append(error)
        try:
            data = one.bio_read(65536)
            other.bio_write(data)
            self.answered += len(data) if one is self.server else 0
        except SSL.WantReadError:
            pass

    def resumed(self, first: Ends) -> bool:
        """Whether it went without a certificate, unlike the first."""
        return self.answered < first.answered - 300

    def tickets(self) -> SSL.Session:
        """The client's session, when it has read what the server has sent behind the handshake."""
        try:
            self.client.recv(1)
        except SSL.WantReadError:
            pass
        session = self.client.get_session()
        assert session is not None
        return session

    def names(self) -> list[str]:
        """The names of the certificate that the client has got, its common name first, and its chain's."""
        chain = self.client.get_peer_cert_chain(as_cryptography=True) or []
        return [str(next(iter(one.subject)).value) for one in chain]
