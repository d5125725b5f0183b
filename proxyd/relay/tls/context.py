"""
How is OpenSSL set up for clients?

All contexts of a listener are set up alike, and one of them, the front, has no certificate: connections
begin with it, and another is chosen by the name that the client asks for.  Sessions and tickets belong to the
context that a connection has begun with, so they outlive every change of certificates.

What the library's public interface does not have, and therefore is as OpenSSL has it: the keys of tickets
(random, for as long as the process lives), how many tickets are sent (two with TLS 1.3), and several curves.
"""

from __future__ import annotations

import tempfile
from typing import Any, Callable, Mapping, Optional, Sequence

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL, crypto

from proxyd.config.tls import CURVES, OFF, REQUIRED, TlsSpec
from proxyd.relay.tls.certificate import Certificate
from proxyd.relay.tls.challenge import OFFER, Answer
from proxyd.wire.acme import ACME_TLS

SESSION_SECONDS = 300  # HAProxy's tune.ssl.lifetime, nginx's ssl_session_timeout

_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
_CURVES: Mapping[str, Callable[[], ec.EllipticCurve]] = dict(
    zip(CURVES, (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1))
)
_OPTIONS = (
    SSL.OP_NO_RENEGOTIATION
    | SSL.OP_NO_COMPRESSION
    | SSL.OP_CIPHER_SERVER_PREFERENCE
    | SSL.OP_SINGLE_DH_USE
    | SSL.OP_SINGLE_ECDH_USE
    | SSL.OP_IGNORE_UNEXPECTED_EOF  # a client that just closes has ended, as it has without TLS
)


class NoProtocol(SSL.Error):
    """None of the protocols that a client offers is spoken here."""


class Unusable(Exception):
    """OpenSSL does not take what was asked for; the text says what and why."""


@frozen
class ClientAuthorities:
    """Whose certificates clients may come with, and which of them are revoked."""

    authorities: tuple[x509.Certificate, ...]
    revoked: tuple[x509.CertificateRevocationList, ...] = ()


def was_resumed(ssl: SSL.Connection) -> bool:
    """Whether a session was taken up in the handshake; pyOpenSSL asks OpenSSL for much, but not for this."""
    return bool(SSL._lib.SSL_session_reused(ssl._ssl))  # type: ignore[attr-defined]


def make_context(
    spec: TlsSpec,
    session_id: bytes,
    certificates: Sequence[Certificate] = (),
    clients: Optional[ClientAuthorities] = None,
    challenge: Optional[Answer] = None,
) -> SSL.Context:
    """
    A context with these certificates, at most one for each type of key.

    ``session_id`` is the same for all contexts of a listener, and for no other.  ``challenge`` answers
    authorities that look whether a name is ours.  Raises `Unusable`.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(_VERSIONS[spec.minimum])
    context.set_max_proto_version(_VERSIONS[spec.maximum])
    # Who comes with a certificate is judged each time.  A session would open to whom is revoked since, for as
    # long as it is taken up (with TLS 1.3 each time makes it new), or who came without, as authorities do.
    resumes = not spec.client
    context.set_options(_OPTIONS if spec.tickets and resumes else _OPTIONS | SSL.OP_NO_TICKET)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # else an idle connection keeps two of 16 KiB
    context.set_session_id(session_id)
    context.set_session_cache_mode(SSL.SESS_CACHE_SERVER if resumes else SSL.SESS_CACHE_OFF)
    context.set_timeout(SESSION_SECONDS)
    _set(lambda: context.set_cipher_list(spec.ciphers.encode()), f"ciphers={spec.ciphers}")
    if spec.ciphersuites:
        suites = spec.ciphersuites.encode()
        _set(lambda: context.set_tls13_ciphersuites(suites), f"ciphersuites={spec.ciphersuites}")
    if spec.curves:
        context.set_tmp_ecdh(_CURVES[spec.curves]())
    if spec.dhparam:
        _set(lambda: context.load_tmp_dh(spec.dhparam), f"dhparam={spec.dhparam}")
    if spec.alpn or challenge is not None:
        _choose_protocols(context, spec.alpn, challenge)
    if spec.client:
        # A connection keeps this from the context that it has begun with, and asks the one that it has then.
        required = SSL.VERIFY_FAIL_IF_NO_PEER_CERT if spec.client == REQUIRED else 0
        context.set_verify(SSL.VERIFY_PEER | required)
    if clients is not None:
        _trust(context, clients)
    for certificate in certificates:
        _use(context, certificate)
    if spec.ocsp != OFF and certificates:
        _staple(context, certificates)
    return context


def fault(error: SSL.Error) -> str:
    """What OpenSSL has to say of an error, in its last words."""
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return str(reasons[-1][-1]) if reasons else str(error) or type(error).__name__


def _set(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except (SSL.Error, OSError) as error:
        why = fault(error) if isinstance(error, SSL.Error) else error.strerror
        raise Unusable(f"{what} cannot be used: {why}") from None


def _choose_protocols(context: SSL.Context, ours: Sequence[bytes], challenge: Optional[Answer]) -> None:
    def choose(connection: SSL.Connection, offered: list[bytes]) -> Any:
        if challenge is not None and offered == OFFER and challenge(connection):
            return ACME_TLS
        if not ours and offered != OFFER:
            return SSL.NO_OVERLAPPING_PROTOCOLS
        for protocol in ours:
            if protocol in offered:
                return protocol
        said = b", ".join(offered[:5]).decode("ascii", "backslashreplace")
        raise NoProtocol([("", "", f"it offers {said}")])  # as OpenSSL's own errors are

    context.set_alpn_select_callback(choose)


def _trust(context: SSL.Context, clients: ClientAuthorities) -> None:
    store = context.get_cert_store()
    assert store is not None
    for authority in clients.authorities:
        certificate = crypto.X509.from_cryptography(authority)
        store.add_cert(certificate)
        context.add_client_ca(certificate)
    for revoked in clients.revoked:
        store.add_crl(revoked)
    if clients.revoked:
        store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)


def _use(context: SSL.Context, certificate: Certificate) -> None:
    """
    Have a certificate and its chain sent.

    A chain of its own for each certificate is only to be had from a file (``add_extra_chain_cert`` is for all
    of a context), so one is written; what is in it is public.
    """
    try:
        with tempfile.NamedTemporaryFile(prefix="proxyd-") as file:
            for one in (certificate.leaf, *certificate.chain):
                file.write(one.public_bytes(serialization.Encoding.PEM))
            file.flush()
            context.use_certificate_chain_file(file.name)
        context.use_privatekey(certificate.key)  # type: ignore[arg-type]
    except SSL.Error as error:
        raise Unusable(f"OpenSSL refuses it: {fault(error)}") from None
    except OSError as error:
        where = tempfile.gettempdir()
        raise Unusable(f"cannot be written to a temporary file in {where}: {error.strerror}") from None


def _staple(context: SSL.Context, certificates: Sequence[Certificate]) -> None:
    """Send what the authority says of the certificate that the client gets, if that is known."""
    by_print = {one.leaf.fingerprint(hashes.SHA256()): one for one in certificates}

    def staple(connection: SSL.Connection, nothing: None) -> bytes:
        certificate = certificates[0]
        if len(certificates) > 1:
            sent = connection.get_certificate()
            assert sent is not None
            certificate = by_print[sent.to_cryptography().fingerprint(hashes.SHA256())]
        return certificate.staple.der if certificate.staple is not None else b""

    context.set_ocsp_server_callback(staple)
