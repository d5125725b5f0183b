"""Losses in words, from whatever OpenSSL has to say."""

from __future__ import annotations

from OpenSSL.SSL import Error, SysCallError

from proxyd.relay.tls.words import CUT_SHORT, lost_by
from tests.support.case import Case


class WordsTests(Case):
    """Each kind of error."""

    def test_words(self) -> None:
        """The first in OpenSSL's queue says it; an alert names the peer; no words at all are an end."""
        library = "SSL routines"
        for error, said in (
            (Error([(library, "", "no shared cipher")]), "TLS: no shared cipher"),
            (
                Error([(library, "", "packet length too long"), (library, "", "record layer failure")]),
                "TLS: the client does not speak it (packet length too long)",
            ),
            (
                Error([(library, "", "ssl/tls alert certificate unknown")]),
                "TLS: certificate unknown (alert from the client)",
            ),
            (
                Error([(library, "", "sslv3 alert bad certificate")]),
                "TLS: bad certificate (alert from the client)",
            ),
            (Error([(library, "", "tlsv1 alert unknown ca")]), "TLS: unknown ca (alert from the client)"),
            (Error([(library, "", "tls alert unknown ca")]), "TLS: unknown ca (alert from the client)"),
            (
                Error([(library, "", "tlsv13 alert certificate required")]),
                "TLS: certificate required (alert from the client)",
            ),
            (Error([(library, "", "unexpected eof while reading")]), CUT_SHORT),
            (Error([]), CUT_SHORT),
            (Error(), CUT_SHORT),
            (SysCallError(-1, "Unexpected EOF"), CUT_SHORT),
            (SysCallError(-1, "Odd"), "TLS: Odd"),
        ):
            self.assertEqual(str(lost_by(error, "client")), said)

    def test_the_systems_own(self) -> None:
        """What the kernel says stays what it is."""
        lost = lost_by(SysCallError(104, "ECONNRESET"), "server")
        self.assertEqual((lost.errno, lost.strerror), (104, "Connection reset by peer"))
