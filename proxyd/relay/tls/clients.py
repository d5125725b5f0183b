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


def read_authorities(spec: TlsSpec, troubles: list[Trouble]) -> Optional[ClientAuthorities]:
    """What these files say; None if clients are asked for nothing, or there is a trouble more."""
    if not spec.client:
        return None
    before = len(troubles)
    pem = read_pem(spec.client_ca)
    troubles += pem.troubles
    if not pem.certificates and not pem.troubles:
        troubles.append(Trouble(spec.client_ca, "has no certificate", passing=True))
    revoked = _read_revoked(spec.client_crl, troubles) if spec.client_crl else ()
    if len(troubles) > before:
        return None
    return ClientAuthorities(pem.certificates, revoked)


def _read_revoked(path: str, troubles: list[Trouble]) -> tuple[x509.CertificateRevocationList, ...]:
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
    return lists


def judge(spec: TlsSpec, clients: ClientAuthorities, now: float, warnings: list[Trouble]) -> list[float]:
    """Whose clients are refused now though they need not be; and when to judge that again."""
    ends: list[float] = []
    for one in clients.authorities:
        until = one.not_valid_after_utc.timestamp()
        ends.append(until)
        if until <= now:
            text = f'"{title(one.subject)}" has expired: clients that come with its certificates are refused'
            warnings.append(Trouble(spec.client_ca, text))
        # OpenSSL lets in no client of an authority that has no list once there is any.
        if clients.revoked and all(other.issuer != one.subject for other in clients.revoked):
            text = f'has no list of "{title(one.subject)}", so its clients are refused'
            warnings.append(Trouble(spec.client_crl, text))
    for each in clients.revoked:
        if each.next_update_utc is None:
            continue
        until = each.next_update_utc.timestamp()
        ends.append(until)
        if until <= now:
            text = f'the list of "{title(each.issuer)}" ran out on {day(until)}'
            warnings.append(Trouble(spec.client_crl, f"{text}: its clients are refused until it is renewed"))
    return [until for until in ends if until > now]
