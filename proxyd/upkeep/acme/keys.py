"""
Which keys and certificates are made here, and what is in those that we get?

All cryptography of ACME: the account signs by ECDSA with P-256 (ES256), a certificate's key is the same or
RSA with 2048 bits.  What is made to be shown for a while, the placeholder and the answer to tls-alpn-01
(RFC 8737), its own key has signed.
"""

from __future__ import annotations

import datetime
import hashlib
from typing import Any, Sequence, Union

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from proxyd.config.acme import ECDSA, RSA
from proxyd.wire.acme import base64url, certificate_id

Key = Union[ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey]

PLACEHOLDER = "placeholder of proxyd"
PLACEHOLDER_DAYS = 3650  # nobody trusts it anyway; it had better not run out as well

MOST_CERTIFICATES = 10  # in a chain; the longest that are in use have four
_BITS = 2048
_COORDINATE = 32  # bytes of a number of P-256
_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_OCTET_STRING = b"\x04\x20"  # of DER, with 32 bytes
_DAY = datetime.timedelta(days=1)


class UnfitCertificate(Exception):
    """A certificate is not what was asked for; the text says why."""


@frozen
class Held:
    """
    A certificate that we have: from when and until when it is good, in seconds since 1970, and its key.

    ``id`` is what the authority calls it where it says when to renew; empty if that cannot be known.
    """

    names: tuple[str, ...]
    not_before: float
    not_after: float
    kind: str = ECDSA
    placeholder: bool = False
    id: str = ""


def new_account_key() -> ec.EllipticCurvePrivateKey:
    """A new key for an account."""
    return ec.generate_private_key(ec.SECP256R1())


def new_key(kind: str) -> Key:
    """A new key for a certificate.  RSA takes a tenth of a second."""
    return rsa.generate_private_key(65537, _BITS) if kind == RSA else new_account_key()


def jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """The public half of an account's key, as JWS has it (RFC 7518, 6.2.1)."""
    numbers = key.public_key().public_numbers()
    x, y = (base64url(number.to_bytes(_COORDINATE, "big")) for number in (numbers.x, numbers.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """The signature of an account's key as JWS has it (RFC 7518, 3.4)."""
    numbers = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return b"".join(number.to_bytes(_COORDINATE, "big") for number in numbers)


def pem_of(key: Key) -> str:
    """The private key in PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")


def key_in(pem: str) -> Key:
    """The private key in PEM.  Raises ValueError."""
    try:
        key = serialization.load_pem_private_key(pem.encode("ascii"), None)
    except (TypeError, ValueError) as error:  # TypeError: it has a password
        raise ValueError(f"there is no key that can be read: {error}") from None
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise ValueError("there is a key that is neither ECDSA nor RSA")
    return key


def account_key_in(pem: str) -> ec.EllipticCurvePrivateKey:
    """The private key of an account in PEM.  Raises ValueError."""
    key = key_in(pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("the account's key is not for P-256")
    return key


def request_for(names: Sequence[str], key: Key) -> bytes:
    """The request for a certificate with these names and this key (PKCS #10, in DER)."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(_names(names), critical=True)  # without a subject it must be (RFC 5280, 4.2.1.6)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )


def placeholder(names: Sequence[str], kind: str, wall: float) -> str:
    """A key and a certificate for these names, in PEM, that nobody trusts."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, PLACEHOLDER)])
    return _self_signed(new_key(kind), subject, names, wall, PLACEHOLDER_DAYS)


def challenge_certificate(name: str, authorization: str, wall: float) -> str:
    """A key and a certificate, in PEM, that answer tls-alpn-01 for this name (RFC 8737, 3)."""
    digest = hashlib.sha256(authorization.encode("ascii")).digest()
    proof = x509.UnrecognizedExtension(_ACME_IDENTIFIER, _OCTET_STRING + digest)
    return _self_signed(new_account_key(), x509.Name([]), [name], wall, 1, proof)


def _self_signed(
    key: Key, subject: x509.Name, names: Sequence[str], wall: float, days: int, *proofs: x509.ExtensionType
) -> str:
    moment = datetime.datetime.fromtimestamp(wall, datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _DAY)
        .not_valid_after(moment + days * _DAY)
        .add_extension(_names(names), critical=not len(subject.rdns))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    for proof in proofs:
        builder = builder.add_extension(proof, critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    return pem_of(key) + certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _names(names: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in names])


def held(pem: str) -> Held:
    """What a file with a key and its chain holds.  Raises `UnfitCertificate`."""
    try:
        key = key_in(pem)
    except ValueError as error:
        raise UnfitCertificate(str(error)) from None
    return checked(pem, key)


def checked(pem: str, key: Key) -> Held:
    """What a chain holds whose first certificate must be for this key.  Raises `UnfitCertificate`."""
    try:
        chain = x509.load_pem_x509_certificates(pem.encode("ascii"))
    except ValueError as error:
        raise UnfitCertificate(f"there is no certificate that can be read: {error}") from None
    if len(chain) > MOST_CERTIFICATES:
        raise UnfitCertificate(f"there are {len(chain)} certificates in the chain")
    leaf = chain[0]
    if _public(leaf.public_key()) != _public(key.public_key()):
        raise UnfitCertificate("the certificate is for another key")
    for one, issuer in zip(chain, chain[1:]):
        try:
            one.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            raise UnfitCertificate("a certificate of the chain was not signed by the next") from None
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(name.lower() for name in alternatives.get_values_for_type(x509.DNSName))
    except (x509.ExtensionNotFound, ValueError):
        names = ()
    common = [str(part.value) for part in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return Held(
        names,
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
        RSA if isinstance(key, rsa.RSAPrivateKey) else ECDSA,
        common == [PLACEHOLDER] and leaf.subject == leaf.issuer,
        _id(leaf),
    )


def _public(key: Any) -> bytes:
    public: bytes = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return public


def _id(leaf: x509.Certificate) -> str:
    try:
        authority = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except (x509.ExtensionNotFound, ValueError):
        return ""
    identifier = authority.key_identifier
    return certificate_id(identifier, leaf.serial_number) if identifier else ""
