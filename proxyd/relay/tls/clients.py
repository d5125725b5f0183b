"""Whose certificates may clients come with?  The files of ``client_ca=`` and ``client_crl=``."""

from __future__ import annotations

import re
from typing import Optional

from cryptography import x509

from proxyd.config.tls import TlsSpec
from proxyd.relay.tls.certificate import Trouble, day, title
from proxyd.relay.tls.context import ClientAuthorities
from proxyd.relay.tls.files import contents, read_pem

_CRL = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


def read_authorities(
    spec: TlsSpec, now: float, troubles: list[Trouble], warnings: list[Trouble]
) -> Optional[ClientAuthorities]:
    """What these files say; None if clients are asked for nothing, or there is a trouble more."""
    if not spec.client:
        return None
    before = len(troubles)
    pem = read_pem(spec.client_ca)
    troubles += pem.troubles
    if not pem.certificates and not pem.troubles:
        troubles.append(Trouble(spec.client_ca, "has no certificate", passing=True))
    for one in pem.certificates:
        if one.not_valid_after_utc.timestamp() <= now:
            text = f'"{title(one.subject)}" has expired: clients that come with its certificates are refused'
            warnings.append(Trouble(spec.client_ca, text))
    revoked = _read_revoked(spec.client_crl, now, troubles, warnings) if spec.client_crl else ()
    if len(troubles) > before:
        return None
    _check_revoked(spec.client_crl, pem.certificates, revoked, warnings)
    return ClientAuthorities(pem.certificates, revoked)


def _read_revoked(
    path: str, now: float, troubles: list[Trouble], warnings: list[Trouble]
) -> tuple[x509.CertificateRevocationList, ...]:
    try:
        lists = tuple(x509.load_pem_x509_crl(block[0]) for block in _CRL.finditer(contents(path)))
    except OSError as error:
        troubles.append(Trouble(path, f"cannot be read: {error.strerror or error}"))
        return ()
    except ValueError as error:
        text = f"has a list that cannot be read: {' '.join(str(error).split())[:200]}"
        troubles.append(Trouble(path, text, passing=True))
        return ()
    if not lists:
        troubles.append(Trouble(path, "has no list of revoked certificates in PEM", passing=True))
    for one in lists:
        until = one.next_update_utc
        if until is not None and until.timestamp() <= now:
            issuer, since = title(one.issuer), day(until.timestamp())
            text = f'the list of "{issuer}" ran out on {since}: its clients are refused until it is renewed'
            warnings.append(Trouble(path, text))
    return lists


def _check_revoked(
    path: str,
    authorities: tuple[x509.Certificate, ...],
    revoked: tuple[x509.CertificateRevocationList, ...],
    warnings: list[Trouble],
) -> None:
    """OpenSSL lets in no client of an authority that has no list once there is any."""
    for one in authorities if revoked else ():
        if all(other.issuer != one.subject for other in revoked):
            text = f'has no list of "{title(one.subject)}", so its clients are refused'
            warnings.append(Trouble(path, text))
