"""
How does an authority see, by TLS, that a name is ours?  (tls-alpn-01, RFC 8737.)

It offers one protocol, ``acme-tls/1``, and wants to see a certificate that was made for it alone.  Which one
that is can be decided only when both the name and the protocols are known, which in OpenSSL is the choice of
a protocol; and a certificate may be changed there only with TLS 1.3, where that choice comes first: with TLS
1.2 the connection would go on with what has just been freed.
"""

from __future__ import annotations

from typing import Callable

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL

from proxyd.policy.acme import Answers
from proxyd.wire.acme import ACME_TLS

OFFER = [ACME_TLS]

_VERSION = "TLSv1.3"

Answer = Callable[[SSL.Connection], bool]


def answering(answers: Answers) -> Answer:
    """What has a connection of which `OFFER` was made go on with the answer for its name, if there is one."""

    def answer(connection: SSL.Connection) -> bool:
        name = (connection.get_servername() or b"").decode("ascii", "replace").lower()
        pem = answers.certificates.get(name)
        if pem is None or connection.get_protocol_version_name() != _VERSION:
            return False
        connection.set_context(_context(pem))
        connection.set_verify(SSL.VERIFY_NONE)  # it has no certificate of its own
        return True

    return answer


def _context(pem: bytes) -> SSL.Context:
    """A context with that certificate and its key; one for each look, of which there are a few a month."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.use_certificate(x509.load_pem_x509_certificate(pem))
    context.use_privatekey(serialization.load_pem_private_key(pem, None))  # type: ignore[arg-type]
    return context
