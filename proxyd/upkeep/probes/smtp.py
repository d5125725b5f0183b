"""Would a mail server take mail?"""

from __future__ import annotations

from proxyd.config.probes import SmtpAsk
from proxyd.errors import Malformed
from proxyd.upkeep.probes.conversation import Call, Conversation, Failed, shown
from proxyd.wire.reply import reply


async def probe(call: Call, ask: SmtpAsk) -> str:
    """Pass when the server greets us and answers EHLO; leave with QUIT (RFC 5321, 4.3.2)."""
    async with call.connect() as talk:
        await expect(talk, 220, "greeting")
        talk.farewell = b"QUIT\r\n"
        talk.say(f"EHLO {ask.helo}\r\n".encode("ascii"))
        await expect(talk, 250, "answer to EHLO")
        await goodbye(talk)
    return ""


async def expect(talk: Conversation, code: int, awaited: str) -> None:
    """The next reply must have this code.  Raises `Failed`."""
    found = await talk.hear(reply, awaited)
    if found.code != code:
        raise Failed(f"answered {found.code} {shown(found.text)}")


async def goodbye(talk: Conversation) -> None:
    """Say farewell, and hear the server's, lest it should complain that we were gone; any will do."""
    talk.say(talk.farewell)
    talk.farewell = b""
    try:
        await talk.hear(reply, "answer to QUIT")
    except (Failed, Malformed):
        pass
