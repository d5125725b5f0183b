"""
How does a client of a mail server come to TLS, and how do we with its server?

STARTTLS of SMTP (RFC 3207), which LMTP has too.  After it the client begins anew: it greets (EHLO) once more,
and until it has nothing else of it is passed on (4.2).
"""

from __future__ import annotations

from typing import Union

from proxyd.wire.starttls.replies import QUIT, Commands, Script, Turn
from proxyd.wire.starttls.step import server_wrong

EHLO = (b"EHLO", b"LHLO")
GREETINGS = (*EHLO, b"HELO")
STARTTLS = b"STARTTLS"

_CALLED = b"localhost"  # what we call ourselves to a server, before its client does

# Without TLS nothing else is let through where it is required (RFC 3207, 4); nor before a greeting with it.
_HARMLESS = (b"NOOP", QUIT)


class SmtpOffer(Commands):
    """A client of SMTP, until the first command for which it matters whether there is TLS."""

    BEGIN = b"220 2.0.0 ready to start TLS\r\n"

    def __init__(self, offer: str) -> None:
        super().__init__(offer)
        self._greeted = False  # since TLS has begun

    def told(self, verb: bytes, argument: bytes) -> Union[Turn, bytes]:
        if verb == STARTTLS:
            if not self.offers:
                return b"503 5.5.1 TLS cannot begin now\r\n"
            if argument:
                return b"501 5.5.4 no parameters allowed\r\n"
            self._greeted = False
            return Turn.BEGIN
        if verb in GREETINGS:
            self._greeted = True
            return Turn.PASS
        if verb in _HARMLESS:
            return Turn.PASS
        if self.owes_tls:
            return b"530 5.7.0 must issue a STARTTLS command first\r\n"
        if self.tls and not self._greeted:
            return b"503 5.5.1 send EHLO first\r\n"
        return Turn.JOIN

    def amended(self, verb: bytes, reply: bytes) -> bytes:
        if verb not in EHLO:
            return reply
        lines = [one.rstrip(b"\r") for one in reply.split(b"\n")[:-1]]
        if any(one[:4] not in (b"250-", b"250 ", b"250") for one in lines):
            server_wrong("answers EHLO in lines of several codes")
        first, *rest = [one[4:] for one in lines]
        texts = [first, *(text for text in rest if text.upper().split(b" ")[0] != STARTTLS)]
        if self.offers:
            texts.append(STARTTLS)
        *before, last = texts
        return b"".join(b"250-%s\r\n" % text for text in before) + b"250 %s\r\n" % last


def smtp_request() -> Script:
    """We, who ask a mail server for TLS."""
    return Script([(b"EHLO " + _CALLED, 250), (STARTTLS, 220)])
