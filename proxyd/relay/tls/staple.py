"""
Is this what the authority says of that certificate, and how long does it hold?  (OCSP, RFC 6960.)

A response is sent to clients only if they would believe it: it is about the certificate, it says "good", it
is neither old nor of the future, and who has issued the certificate has signed it, or somebody in that one's
name.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from proxyd.relay.tls.certificate import UNREADABLE, Certificate, Staple, title

LEEWAY = 300.0  # seconds that the clock of an authority may be ahead of ours

LIFETIME = 86400.0  # seconds that a response holds which does not say how long


class Unfit(Exception):
    """A response that is not to be sent; the text says why."""


class Revoked(Unfit):
    """A response that says that the certificate is revoked."""


def checked(der: bytes, certificate: Certificate, wall: float) -> Staple:
    """The response for a certificate, in DER, if it can be sent now.  Raises `Unfit`."""
    try:
        response = ocsp.load_der_ocsp_response(der)
    except ValueError:
        raise Unfit("is no OCSP response in DER") from None
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise Unfit(f"is no answer, the authority said {response.response_status.name.lower()}")
    try:
        return Staple(der, _good_until(response, certificate, wall))
    except UNREADABLE as error:
        raise Unfit(f"has in it what cannot be read: {error}") from None


def _good_until(response: ocsp.OCSPResponse, certificate: Certificate, wall: float) -> float:
    """Until when it holds, if all is as it should be."""
    issuer = certificate.issuer
    if issuer is None:
        raise Unfit("cannot be checked, because who has issued the certificate is not known")
    answer = _about(response, certificate.leaf, issuer)
    began = answer.this_update_utc.timestamp()
    until = began + LIFETIME if answer.next_update_utc is None else answer.next_update_utc.timestamp()
    if began > wall + LEEWAY:
        raise Unfit(f"begins to hold only at {answer.this_update_utc:%Y-%m-%d %H:%M} UTC")
    if until <= wall:
        raise Unfit("is too old; the authority has another by now")
    _check_signature(response, issuer)
    if answer.certificate_status is not ocsp.OCSPCertStatus.GOOD:  # who has said so is known by now
        revoked = answer.certificate_status is ocsp.OCSPCertStatus.REVOKED
        text = f"says that the certificate is {answer.certificate_status.name.lower()}"
        raise Revoked(text) if revoked else Unfit(text)
    return until


def _about(
    response: ocsp.OCSPResponse, leaf: x509.Certificate, issuer: x509.Certificate
) -> ocsp.OCSPSingleResponse:
    """What the response says of this certificate."""
    for one in response.responses:
        asked = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, one.hash_algorithm).build()
        if (one.serial_number, one.issuer_key_hash, one.issuer_name_hash) == (
            asked.serial_number,
            asked.issuer_key_hash,
            asked.issuer_name_hash,
        ):
            return one
    raise Unfit("is about another certificate")


def _check_signature(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> None:
    signer = _signer(response, issuer)
    key, hashed = signer.public_key(), response.signature_hash_algorithm
    signature, signed = response.signature, response.tbs_response_bytes
    try:
        if isinstance(key, rsa.RSAPublicKey) and hashed is not None:
            key.verify(signature, signed, padding.PKCS1v15(), hashed)
        elif isinstance(key, ec.EllipticCurvePublicKey) and hashed is not None:
            key.verify(signature, signed, ec.ECDSA(hashed))
        elif isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
            key.verify(signature, signed)
        else:
            raise Unfit("is signed in a way that cannot be checked")
    except InvalidSignature:
        raise Unfit(f'is not signed by "{title(signer.subject)}"') from None


def _signer(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> x509.Certificate:
    """Who has signed: the issuer itself, or one whom it has made its responder (RFC 6960 4.2.2.2)."""
    for one in response.certificates:
        if one == issuer:
            break
        try:
            usage = one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            one.verify_directly_issued_by(issuer)
        except (x509.ExtensionNotFound, InvalidSignature, TypeError, *UNREADABLE):
            continue
        if ExtendedKeyUsageOID.OCSP_SIGNING in usage:
            return one
    return issuer
