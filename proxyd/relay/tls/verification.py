"""
Is this the server that we mean, and if not, what is wrong with it?

The certificate is judged while the handshake goes on: its chain by OpenSSL, the name in it by
service-identity.  So TLS with the wrong server does not come about, wherever it is begun; the server gets an
alert and, with TLS 1.3, never sees a certificate of ours.
"""

from __future__ import annotations

from typing import Any, Optional

from cryptography import x509
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

from proxyd.config.servertls import is_ip_address
from proxyd.config.words import printable
from proxyd.relay.tls.certificate import title
from proxyd.relay.tls.words import lost_by

_LISTED = 3  # names of a certificate that a message repeats

# What OpenSSL finds wrong in a chain (x509_vfy.h).
_ISSUER_UNKNOWN = (2, 20, 21)
_NOT_YET, _EXPIRED = 9, 10
_SELF_SIGNED, _SELF_SIGNED_IN_CHAIN = 18, 19
_OTHERS = {
    7: "has a signature that is wrong",
    22: "has too many certificates above it",
    24: "comes from one that is no authority",
    26: "is not for servers",
    66: "has a key that is too small",
    67: "comes from an authority whose key is too small",
    68: "has a signature by a hash that is too weak",
}


class Asking(SSL.Connection):
    """
    A connection to a server, and what is found of that in the handshake.

    ``name`` is what its certificate must be for, empty if it does not matter who it is.  ``judged`` says that
    there was a certificate to judge: a session that is taken up shows none.
    """

    def __init__(self, context: SSL.Context, skt: Any, name: str) -> None:
        """On the socket; with None, over buffers.  The context must be one that asks `judge`."""
        super().__init__(context, skt)
        self.name = name
        self.judged = False
        self.problem = ""
        self.set_connect_state()


def judge(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, fine: int) -> bool:
    """Whether the handshake may go on; called by OpenSSL for each certificate of the chain."""
    assert isinstance(connection, Asking)
    connection.judged = True
    if not connection.name:
        return True
    if not connection.problem:
        try:
            if not fine:
                connection.problem = _of_the_chain(certificate.to_cryptography(), error, depth)
            elif depth == 0:
                connection.problem = _of_the_name(certificate.to_cryptography(), connection.name)
        except Exception as odd:  # noqa: BLE001 - a server may make up what no library expects
            connection.problem = (
                f"its certificate cannot be read: {printable(str(odd)) or type(odd).__name__}"
            )
    return not connection.problem


def _of_the_name(certificate: x509.Certificate, name: str) -> str:
    verify = verify_certificate_ip_address if is_ip_address(name) else verify_certificate_hostname
    try:
        verify(certificate, name)
    except (VerificationError, CertificateError, ValueError):
        return f"its certificate is for {_names(certificate)}, not for {name}"
    return ""


def _names(certificate: x509.Certificate) -> str:
    """What a certificate is for, or the first of it."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [*found.get_values_for_type(x509.DNSName), *found.get_values_for_type(x509.IPAddress)]
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        names = []
    if not names:
        return "no name (it has no subjectAltName)"
    more = len(names) - _LISTED
    listed = ", ".join(printable(str(name)) for name in names[:_LISTED])
    return f"{listed} and {more} more" if more > 0 else listed


def _of_the_chain(certificate: x509.Certificate, error: int, depth: int) -> str:
    whose = (
        "its certificate"
        if depth == 0
        else f"the certificate of {_called(certificate.subject)} above its own"
    )
    if error == _EXPIRED:
        return f"{whose} expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if error == _NOT_YET:
        return f"{whose} is not good before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    if error == _SELF_SIGNED:
        return "its certificate is signed by itself, and not in ca"
    if error == _SELF_SIGNED_IN_CHAIN:
        return f"its certificate is from an authority that is not in ca: {_called(certificate.subject)}"
    if error in _ISSUER_UNKNOWN:
        issuer = _called(certificate.issuer)
        return f"its certificate is from an authority that is not in ca, or one between is missing: {issuer}"
    return f"{whose} {_OTHERS.get(error, f'is not good: error {error} in x509_vfy.h')}"


def _called(name: x509.Name) -> str:
    """What an authority is called."""
    return printable(title(name)) or "one without a name"


def why(connection: Optional[SSL.Connection], error: SSL.Error) -> str:
    """Why a handshake with a server has failed: by its certificate, or as OpenSSL has it."""
    if isinstance(connection, Asking) and connection.problem:
        return connection.problem
    return str(lost_by(error, "server"))
