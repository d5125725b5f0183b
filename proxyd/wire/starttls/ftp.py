"""
How does a client of an FTP server come to TLS on its control connection, and how do we with its server?

AUTH TLS (RFC 4217).  Connections for data go past us, or through us as they are: TLS for them is refused
(PROT P), and where it is required, a client that insists gets no data.

Clients ask for it once they have logged in, so commands are looked at until the first that makes such a
connection.
"""

from __future__ import annotations

from typing import Union

from proxyd.wire.starttls.replies import QUIT, Commands, Script, Turn
from proxyd.wire.starttls.step import NONE

_AUTH, _PBSZ, _PROT, _CCC, _FEAT = b"AUTH", b"PBSZ", b"PROT", b"CCC", b"FEAT"
_OURS = (_AUTH, _PBSZ, _PROT, _CCC)

_TLS = (b"TLS", b"TLS-C", b"SSL")  # the last is what curl tries first; it then asks for PROT, as it must

# Before anybody logs in.
_HARMLESS = (_FEAT, b"CLNT", b"HELP", b"LANG", b"NOOP", b"OPTS", b"SYST", QUIT)
# With TLS, those that make no connection for data.
_LOGGING_IN = (*_HARMLESS, b"ACCT", b"HOST", b"PASS", b"PWD", b"TYPE", b"USER", b"XPWD")


class FtpOffer(Commands):
    """A client of FTP, until the first command for which it matters whether there is TLS."""

    BEGIN = b"234 AUTH TLS successful\r\n"

    def told(self, verb: bytes, argument: bytes) -> Union[Turn, bytes]:
        if verb in _OURS:
            return self._secure(verb, argument)
        if verb in _HARMLESS or self.tls and verb in _LOGGING_IN:
            return Turn.PASS
        return b"530 TLS is required: use AUTH TLS first\r\n" if self.owes_tls else Turn.JOIN

    def _secure(self, verb: bytes, argument: bytes) -> Union[Turn, bytes]:
        if self.offer == NONE:
            return b"502 there is no TLS here\r\n"
        if verb == _AUTH:
            if self.tls:
                return b"503 there is TLS already\r\n"
            return Turn.BEGIN if argument in _TLS else b"504 only AUTH TLS is known\r\n"
        if not self.tls:
            return b"503 use AUTH TLS first\r\n"
        if verb == _PBSZ:
            return b"200 PBSZ=0\r\n"
        if verb == _CCC:
            return b"534 TLS stays on\r\n"
        if argument == b"C":
            return b"200 data is sent in clear\r\n"
        known = argument in (b"P", b"S", b"E")
        return b"536 data is sent in clear only\r\n" if known else b"504 not known\r\n"

    def amended(self, verb: bytes, reply: bytes) -> bytes:
        if verb != _FEAT:
            return reply
        first, *features = [one.rstrip(b"\r") for one in reply.split(b"\n")[:-1]]
        if not features and self.offer == NONE:
            return reply
        if not features:
            first, features = b"211-Features:", [b"211 End"]  # the server has none to name
        last = features.pop()
        lines = [first, *(one for one in features if one.strip().upper().split(b" ")[0] not in _OURS)]
        if self.offer != NONE:
            lines += [b" AUTH TLS", b" PBSZ", b" PROT"]
        return b"".join(one + b"\r\n" for one in (*lines, last))


def ftp_request() -> Script:
    """We, who ask an FTP server for TLS."""
    return Script([(b"AUTH TLS", 234)])
