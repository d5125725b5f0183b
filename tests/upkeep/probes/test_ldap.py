"""Is an LDAP server asked for a bind, and left in order?"""

from __future__ import annotations

from proxyd.config.probes import LdapAsk
from proxyd.upkeep.probes import ldap
from proxyd.wire.ldap import bind, unbind
from tests.upkeep.probes.stage import ProbeCase

WELCOME = b"0\x0c\x02\x01\x01a\x07\x0a\x01\x00\x04\x00\x04\x00"
UNWILLING = b"0\x11\x02\x01\x01a\x0c\x0a\x01\x35\x04\x00\x04\x05later"
WRONG = b"0\x0c\x02\x01\x01a\x07\x0a\x011\x04\x00\x04\x00"
NOTICE = b"0\x0c\x02\x01\x00\x78\x07\x0a\x014\x04\x00\x04\x00"


class LdapTests(ProbeCase):
    probe = ldap.probe

    def test_bind(self) -> None:
        """A server that lets in the user, or anybody, passes, and hears an unbind."""
        for ask in (LdapAsk(), LdapAsk("cn=probe", "sesame")):
            self.begin(ask)
            self.assertEqual(self.said(), bind(1, ask.user, ask.password))
            self.answer(WELCOME)
            self.assertPassed(farewell=unbind(2))
        self.assertNotIn("sesame", repr(ask))

    def test_refused(self) -> None:
        """A server that does not fails with the code of the result, and what it says."""
        for answer, why in (
            (WRONG, "answered invalidCredentials"),
            (UNWILLING, "answered unwillingToPerform later"),
            (NOTICE, "answered unavailable"),
            (b"HTTP/1.1", "0x48, which does not begin a message of LDAP"),
        ):
            self.begin(LdapAsk())
            self.said()
            self.answer(answer)
            self.assertFailed(why, farewell=unbind(2))

    def test_closed(self) -> None:
        """One that closes instead fails."""
        self.begin(LdapAsk())
        self.said()
        self.close()
        self.assertFailed("closed the connection with no answer to the bind", farewell=unbind(2))
