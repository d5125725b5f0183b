"""
Which certificate is this, what is sent with it, and is anything wrong with it?

A certificate is sent with those of the authorities that have issued it, each issued by the next, without
the root, which clients have.  The order in a file does not matter; an authority's certificate that is missing
is taken from any file beside it.
"""

from __future__ import annotations

import datetime
from typing import Iterator, Mapping, Optional, Sequence

from attrs import define, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtensionOID,
    NameOID,
    SignatureAlgorithmOID,
)

from proxyd.policy.certificates import Certificates, is_valid, normal

DAY = 86400.0

SOON = 14 * DAY  # what expires within that is told of; those of ninety days are renewed a month before

LONGEST_CHAIN = 10  # certificates that are sent with one; OpenSSL's clients take no more by default

# What cryptography raises of a certificate, and what is in it, when it is asked for what it cannot read.
UNREADABLE = (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)

_KINDS = (
    (rsa.RSAPublicKey, "RSA"),
    (ec.EllipticCurvePublicKey, "ECDSA"),
    (ed25519.Ed25519PublicKey, "Ed25519"),
    (ed448.Ed448PublicKey, "Ed448"),
)

_SIGNATURES = {
    SignatureAlgorithmOID.RSA_WITH_SHA256: "RSA-SHA256",
    SignatureAlgorithmOID.RSA_WITH_SHA384: "RSA-SHA384",
    SignatureAlgorithmOID.RSA_WITH_SHA512: "RSA-SHA512",
    SignatureAlgorithmOID.RSASSA_PSS: "RSASSA-PSS",
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: "ecdsa-with-SHA256",
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: "ecdsa-with-SHA384",
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: "ecdsa-with-SHA512",
    SignatureAlgorithmOID.ED25519: "ED25519",
    SignatureAlgorithmOID.ED448: "ED448",
}

Authorities = Mapping[x509.Name, Sequence[x509.Certificate]]  # by their subjects


@frozen
class Trouble:
    """
    What is wrong with a file.

    A ``passing`` trouble may be one of a moment, as between writing a key and its certificate.
    """

    path: str
    text: str
    passing: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


@frozen
class Staple:
    """What the authority says of a certificate, to be sent along with it (OCSP), until when it is good."""

    der: bytes
    until: float


@define(eq=False)
class Certificate:
    """
    A certificate with its key, and all that is sent with it.

    ``paths`` are its files, that of the certificate first.  ``chain`` is sent after it, and ``issuer`` is who
    has issued it, if that is known.  ``not_after`` is when the first of them all expires; times are seconds
    since the epoch.  ``staple`` is set and replaced while it is in use; connections from then on get it.
    """

    leaf: x509.Certificate
    key: PrivateKeyTypes
    chain: tuple[x509.Certificate, ...]
    issuer: Optional[x509.Certificate]
    paths: tuple[str, ...]
    names: tuple[str, ...]
    key_type: str
    not_before: float
    not_after: float
    must_staple: bool = False
    staple: Optional[Staple] = None

    @property
    def path(self) -> str:
        """The file that it is in."""
        return self.paths[0]

    @property
    def self_signed(self) -> bool:
        """Whether it has issued itself, as placeholders have."""
        return _issued_itself(self.leaf)

    @property
    def identity(self) -> tuple[bytes, ...]:
        """What is the same for two that are sent as the same bytes."""
        return tuple(one.public_bytes(serialization.Encoding.DER) for one in (self.leaf, *self.chain))

    @property
    def issued_by(self) -> str:
        """Who has issued it, in a word or two."""
        return title(self.leaf.issuer)


def make_certificate(
    leaf: x509.Certificate,
    key: PrivateKeyTypes,
    rest: Sequence[x509.Certificate],
    authorities: Authorities,
    paths: tuple[str, ...],
    troubles: list[Trouble],
    warnings: list[Trouble],
) -> Optional[Certificate]:
    """
    The certificate of these parts, or None if it cannot be sent to anybody; then there is a trouble more.

    ``rest`` are the others of its file.  Whether it is valid now is judged when it is chosen.
    """
    path = paths[0]
    key_type = kind_of(leaf.public_key())
    if not key_type:
        troubles.append(Trouble(path, "has a key of a kind that TLS does not know"))
        return None
    try:
        names, must_staple, told = names_of(leaf), _must_staple(leaf), _issuers_url(leaf)
    except UNREADABLE as error:
        troubles.append(Trouble(path, f"has an extension that cannot be read: {error}"))
        return None
    issuers = list(_issuers(leaf, rest, authorities))
    chain = tuple(one for one in issuers if not _issued_itself(one))
    if rest and not issuers and not _issued_itself(leaf):
        others = ", ".join(f'"{title(one.subject)}"' for one in rest[:3])
        text = f'the chain is broken: "{title(leaf.issuer)}" has issued it, and the file has only {others}'
        troubles.append(Trouble(path, text, passing=True))
        return None
    if not issuers and not _issued_itself(leaf):
        missing = f'is sent without "{title(leaf.issuer)}", which has issued it'
        if told:
            text = f"{missing}; append that certificate, from {told}, or put it into the same folder"
            troubles.append(Trouble(path, text, passing=True))
            return None
        warnings.append(Trouble(path, f"{missing}: unless clients know that one, append its certificate"))
    if not names:
        warnings.append(Trouble(path, "has no names, so it is for nobody but by default"))
    last = min((leaf, *chain), key=_not_after)
    if last is not leaf:
        text = f'expires, by "{title(last.subject)}" in its chain, on {last.not_valid_after_utc:%Y-%m-%d}'
        warnings.append(Trouble(path, f"{text}, before its own time"))
    return Certificate(
        leaf,
        key,
        chain,
        issuers[0] if issuers else leaf if _issued_itself(leaf) else None,
        paths,
        names,
        key_type,
        max(_not_before(one) for one in (leaf, *chain)),
        _not_after(last),
        must_staple,
    )


def names_of(leaf: x509.Certificate) -> tuple[str, ...]:
    """Whom a certificate is for: its subject's alternative names, or, if it has none, its common name."""
    found: dict[str, None] = {}
    try:
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        names = [str(one.value) for one in common]
    else:
        names = alternative.get_values_for_type(x509.DNSName)
        names += map(str, alternative.get_values_for_type(x509.IPAddress))
    for name in map(normal, names):
        if name:
            found[name] = None
    return tuple(found)


def public_key(certificate: x509.Certificate) -> Optional[PublicKeyTypes]:
    """Whose key it is for; None if that is of a kind which nobody here knows."""
    try:
        return certificate.public_key()
    except UNREADABLE:
        return None


def kind_of(key: PublicKeyTypes) -> str:
    """The type of a key; "" of one that TLS has no use for."""
    return next((word for kind, word in _KINDS if isinstance(key, kind)), "")


def sized_kind(key: PublicKeyTypes) -> str:
    """The type and size of a key as HAProxy writes it (``ssl_f_key_alg``), such as RSA2048 or EC256."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA{key.key_size}"
    return f"EC{key.curve.key_size}" if isinstance(key, ec.EllipticCurvePublicKey) else kind_of(key)


def signed_with(certificate: x509.Certificate) -> str:
    """How a certificate is signed, in OpenSSL's words, as HAProxy writes it (``ssl_f_sig_alg``)."""
    oid = certificate.signature_algorithm_oid
    return _SIGNATURES.get(oid, oid.dotted_string)


def common_name(name: x509.Name) -> str:
    """The common name in a name, or nothing."""
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else ""


def title(name: x509.Name) -> str:
    """What a certificate is called, in short."""
    return common_name(name) or name.rfc4514_string()


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may issue others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, *UNREADABLE):
        return False


def day(seconds: float) -> str:
    """The day of a time in seconds since the epoch."""
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc):%Y-%m-%d}"


def judged(
    certificates: Sequence[Certificate],
    table: Certificates[Certificate],
    wall: float,
    warnings: list[Trouble],
) -> Iterator[Trouble]:
    """Those that have expired and no other can stand in for; what else is amiss in time is a warning."""
    for one in certificates:
        if one.not_before > wall:
            warnings.append(Trouble(one.path, f"is valid only from {day(one.not_before)} on"))
        elif one.not_after <= wall:
            stand_ins = [table.choose(name) or () for name in one.names]
            text = f"has expired on {day(one.not_after)}"
            if stand_ins and all(any(is_valid(other, wall) for other in chosen) for chosen in stand_ins):
                warnings.append(Trouble(one.path, f"{text}; others have its names"))
            else:
                yield Trouble(one.path, f"{text}; renew it, take it away, or add serve_expired=yes")
        elif one.not_after <= wall + SOON:
            warnings.append(Trouble(one.path, f"expires on {day(one.not_after)}"))


def _issuers(
    leaf: x509.Certificate, rest: Sequence[x509.Certificate], authorities: Authorities
) -> Iterator[x509.Certificate]:
    """Who has issued it, who has issued that, and so on, as far as they are known; the root comes last."""
    last = leaf
    for _ in range(LONGEST_CHAIN):
        if _issued_itself(last):
            return
        # What is in the file itself comes first, then whatever is valid longest.
        beside = sorted(authorities.get(last.issuer, ()), key=_not_after, reverse=True)
        found = next((one for one in (*rest, *beside) if _has_issued(one, last)), None)
        if found is None:
            return
        yield found
        last = found


def _has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    if issuer.subject != certificate.issuer:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, *UNREADABLE):
        return False
    return True


def _issued_itself(certificate: x509.Certificate) -> bool:
    return certificate.subject == certificate.issuer


def _must_staple(leaf: x509.Certificate) -> bool:
    try:
        features = leaf.extensions.get_extension_for_class(x509.TLSFeature).value
    except x509.ExtensionNotFound:
        return False
    return x509.TLSFeatureType.status_request in features


def _issuers_url(leaf: x509.Certificate) -> str:
    """Where the certificate of the issuer can be had, as the certificate says."""
    try:
        access = leaf.extensions.get_extension_for_oid(ExtensionOID.AUTHORITY_INFORMATION_ACCESS).value
    except x509.ExtensionNotFound:
        return ""
    assert isinstance(access, x509.AuthorityInformationAccess)
    for one in access:
        if one.access_method == AuthorityInformationAccessOID.CA_ISSUERS:
            return str(one.access_location.value)
    return ""


def _not_after(certificate: x509.Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()


def _not_before(certificate: x509.Certificate) -> float:
    return certificate.not_valid_before_utc.timestamp()
