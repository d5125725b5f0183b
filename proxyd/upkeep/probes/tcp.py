"""Does the server accept connections?"""

from __future__ import annotations

from proxyd.config.probes import TcpAsk
from proxyd.upkeep.probes.conversation import Call


async def probe(call: Call, ask: TcpAsk) -> str:
    """
    Pass when the server accepts a connection, which is then closed without a word but the greeting.

    The server sees an ordinary FIN.  Once accepted, nothing that happens makes the probe fail; where clients'
    connections have TLS, that must be agreed on.
    """
    async with call.connect():
        return ""
