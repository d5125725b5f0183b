"""An authority that issues certificates, good for a day unless it is said otherwise."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Optional, Sequence, Union

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)

Purpose = x509.ObjectIdentifier

Key = Union[ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey]


class Issued:
    """A certificate with its key, and the certificates between it and the authority."""

    def __init__(self, key: Key, chain: Sequence[x509.Certificate]) -> None:
        self.private = key
        self.certificate = chain[0]
        self.certificates = chain

    @property
    def key(self) -> bytes:
        """The key in PEM."""
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def encrypted(self) -> bytes:
        """The key in PEM, with a passphrase."""
        how = serialization.BestAvailableEncryption(b"secret")
        return self.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)

    @property
    def chain(self) -> bytes:
        """The certificates in PEM, its own first."""
        return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in self.certificates)

    def write(self, path: Union[str, Path]) -> str:
        """Write key and certificates into one file, and return its path."""
        Path(path).write_bytes(self.key + self.chain)
        return str(path)


class Authority:
    """A certificate authority; one with an ``issuer`` is between."""

    def __init__(
        self, name: str = "Test CA", issuer: Optional[Authority] = None, until: datetime.datetime = NOW + DAY
    ) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._above = issuer._between if issuer is not None else ()
        builder = _builder(self._name, self._key, (issuer or self)._name, NOW - 9 * DAY, until)
        self.certificate = builder.add_extension(x509.BasicConstraints(True, None), critical=True).sign(
            (issuer or self)._key, hashes.SHA256()
        )

    @property
    def _between(self) -> tuple[x509.Certificate, ...]:
        own = () if self.certificate.issuer == self.certificate.subject else (self.certificate,)
        return (*own, *self._above)

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def write(self, path: Union[str, Path]) -> str:
        """Write its certificate into a file, and return its path."""
        Path(path).write_bytes(self.pem)
        return str(path)

    def issue(
        self,
        *names: str,
        since: datetime.datetime = NOW - DAY,
        until: datetime.datetime = NOW + DAY,
        purpose: Optional[Purpose] = None,
        whole: bool = True,
        key: Optional[Key] = None,
        from_where: str = "",
        responder_url: str = "",
        must_staple: bool = False,
        extension: Optional[x509.ExtensionType] = None,
    ) -> Issued:
        """
        A certificate for these names and IP addresses.

        One that is not ``whole`` comes without those between it and the authority.  It says ``from_where``
        the authority's own can be had, and at ``responder_url`` whether it is revoked.
        """
        if key is None:
            key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "nobody")])
        builder = _builder(subject, key, self._name, since, until)
        if names:
            alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        if purpose is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        access = [
            x509.AccessDescription(method, x509.UniformResourceIdentifier(url))
            for method, url in (
                (AuthorityInformationAccessOID.CA_ISSUERS, from_where),
                (AuthorityInformationAccessOID.OCSP, responder_url),
            )
            if url
        ]
        if access:
            builder = builder.add_extension(x509.AuthorityInformationAccess(access), critical=False)
        if must_staple:
            feature = x509.TLSFeature([x509.TLSFeatureType.status_request])
            builder = builder.add_extension(feature, critical=False)
        if extension is not None:
            builder = builder.add_extension(extension, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Issued(key, (certificate, *(self._between if whole else ())))

    def revoke(self, *issued: Issued, until: datetime.datetime = NOW + DAY) -> bytes:
        """A list in PEM, by which these certificates are revoked."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(NOW - 2 * DAY).next_update(until)
        for each in issued:
            revoked = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number)
            builder = builder.add_revoked_certificate(revoked.revocation_date(NOW - DAY).build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def vouch(
        self,
        issued: Issued,
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
        since: datetime.datetime = NOW - DAY,
        until: Optional[datetime.datetime] = NOW + DAY,
        responder: Optional[Issued] = None,
    ) -> bytes:
        """An OCSP response about a certificate, in DER; signed by its responder if it is given one."""
        signer = responder.certificate if responder is not None else self.certificate
        key = responder.private if responder is not None else self._key
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=issued.certificate,
            issuer=self.certificate,
            algorithm=hashes.SHA1(),
            cert_status=status,
            this_update=since,
            next_update=until,
            revocation_time=NOW - DAY if status is ocsp.OCSPCertStatus.REVOKED else None,
            revocation_reason=None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer)
        if responder is not None:
            builder = builder.certificates([signer])
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def self_signed(name: str) -> Issued:
    """A certificate that its own key has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, key, subject, NOW - DAY, NOW + DAY)
    alternatives = x509.SubjectAlternativeName([_general(name)])
    return Issued(key, (builder.add_extension(alternatives, critical=False).sign(key, hashes.SHA256()),))


FOR_CLIENTS = ExtendedKeyUsageOID.CLIENT_AUTH

FOR_SERVERS = ExtendedKeyUsageOID.SERVER_AUTH

FOR_OCSP = ExtendedKeyUsageOID.OCSP_SIGNING


def _builder(
    subject: x509.Name,
    key: Key,
    issuer: x509.Name,
    since: datetime.datetime,
    until: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
