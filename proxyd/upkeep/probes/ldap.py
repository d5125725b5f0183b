"""Does an LDAP server let us in?"""

from __future__ import annotations

from proxyd.config.probes import LdapAsk
from proxyd.upkeep.probes.conversation import Call, Failed, shown
from proxyd.wire import ldap


async def probe(call: Call, ask: LdapAsk) -> str:
    """Bind, as the user that was given or as nobody, and leave with an Unbind (RFC 4511, 4.3)."""
    async with call.connect() as talk:
        talk.farewell = ldap.unbind(2)
        talk.say(ldap.bind(1, ask.user, ask.password))
        result = await talk.hear(ldap.result, "answer to the bind")
        if result.operation != ldap.BIND_RESPONSE or result.code != ldap.SUCCESS:
            raise Failed(f"answered {result.name} {shown(result.text)}".rstrip())
    return ""
