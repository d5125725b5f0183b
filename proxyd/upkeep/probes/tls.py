"""Can TLS be agreed on, and is the certificate what it should be?"""

from __future__ import annotations

import functools
import math
from typing import Any, Optional

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

from proxyd.config.probes import TlsAsk
from proxyd.config.servertls import ServerTlsSpec
from proxyd.relay.tls.server import Handshake, Unfit, make_context
from proxyd.upkeep.probes.conversation import Call, Unable

DAY = 86400.0


async def probe(call: Call, ask: TlsAsk) -> str:
    """Pass when the handshake succeeds; remark that the certificate expires soon."""
    async with call.connect(asked(call, ask)) as talk:
        return expiring(ask.expiry, talk.transport, call.wall.now())


def expiring(within: Optional[float], transport: Any, wall: float) -> str:
    """The remark that the server's certificate expires within so many seconds, or nothing."""
    certificate = transport.getPeerCertificate() if within is not None else None
    if within is None or certificate is None:
        return ""
    left = certificate.to_cryptography().not_valid_after_utc.timestamp() - wall
    if left > within:
        return ""
    days = math.floor(left / DAY)
    return f"its certificate expires in {days} days" if left > 0 else "its certificate has expired"


def asked(call: Call, ask: TlsAsk) -> IOpenSSLClientConnectionCreator:
    """What begins TLS in a check: as it asks, or else as clients' connections do.  Raises `Unable`."""
    if call.tls is not None and not (ask.verify or ask.sni):
        return call.tls()
    return creator(ask)


def creator(ask: TlsAsk) -> IOpenSSLClientConnectionCreator:
    """What begins TLS as a client, once.  Raises `Unable`."""
    return Handshake(_context(bool(ask.verify), ask.ca), ask.verify, ask.sni or ask.verify)


@functools.lru_cache(maxsize=256)  # to read all of the system's authorities takes some 10 ms
def _context(verify: bool, ca: str) -> SSL.Context:
    try:
        return make_context(ServerTlsSpec(verify=verify, ca=ca))
    except Unfit as why:
        raise Unable(str(why)) from None
