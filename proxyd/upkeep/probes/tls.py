"""Can TLS be agreed on, and is the certificate what it should be?"""

from __future__ import annotations

import functools
import math
from typing import Any, Optional

from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from proxyd.config.probes import TlsAsk
from proxyd.upkeep.probes.conversation import Call, Unable

DAY = 86400.0
_PEM_END = b"-----END CERTIFICATE-----"


async def probe(call: Call, ask: TlsAsk) -> str:
    """Pass when the handshake succeeds; remark that the certificate expires soon."""
    async with call.connect(creator(ask)) as talk:
        await talk.handshake()
        return expiring(ask.expiry, talk.transport, call.reactor.seconds())


def expiring(within: Optional[float], transport: Any, now: float) -> str:
    """The remark that the server's certificate expires within so many seconds, or nothing."""
    certificate = transport.getPeerCertificate() if within is not None else None
    if within is None or certificate is None:
        return ""
    left = certificate.to_cryptography().not_valid_after_utc.timestamp() - now
    if left > within:
        return ""
    days = math.floor(left / DAY)
    return f"its certificate expires in {days} days" if left > 0 else "its certificate has expired"


@functools.lru_cache(maxsize=256)  # to read all of the system's authorities takes some 10 ms
def creator(ask: TlsAsk) -> IOpenSSLClientConnectionCreator:
    """What begins TLS as a client; verification is that of Twisted, by service-identity.  Raises `Unable`."""
    if not ask.verify:
        return _Unverified(ask.sni)
    root = trustRootFromCertificates(_authorities(ask.ca)) if ask.ca else platformTrust()
    begin: IOpenSSLClientConnectionCreator = optionsForClientTLS(ask.verify, trustRoot=root)
    return begin


def _authorities(path: str) -> list[Certificate]:
    try:
        with open(path, "rb") as file:
            parts = file.read().split(_PEM_END)[:-1]
        found = [Certificate.loadPEM(part + _PEM_END) for part in parts]
    except OSError as failed:
        raise Unable(f"{path} cannot be read: {failed.strerror}") from None
    except crypto.Error:
        raise Unable(f"{path} has a certificate that cannot be read") from None
    if not found:
        raise Unable(f"{path} has no certificate")
    return found


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """Begins TLS with whoever answers."""

    def __init__(self, sni: str) -> None:
        self._context = CertificateOptions().getContext()
        self._sni = sni.encode("idna") if sni else b""

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._sni:
            connection.set_tlsext_host_name(self._sni)
        return connection
