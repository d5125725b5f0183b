"""Would an FTP server let somebody log in?"""

from __future__ import annotations

from proxyd.config.probes import FtpAsk
from proxyd.upkeep.probes.conversation import Call
from proxyd.upkeep.probes.smtp import expect, goodbye


async def probe(call: Call, ask: FtpAsk) -> str:
    """Pass when the server is ready for a new user (RFC 959, 5.4); leave with QUIT."""
    async with call.connect() as talk:
        await expect(talk, 220, "greeting")
        talk.farewell = b"QUIT\r\n"
        await goodbye(talk)
    return ""
