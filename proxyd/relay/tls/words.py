"""
What does OpenSSL say went wrong, in the words of people?

OpenSSL leaves a queue of errors, of which the first says most: ``no shared cipher``, or which alert the peer
has sent.  An end of the stream that no close_notify came before is an error too, since whoever can cut a
connection could cut an answer short with it (RFC 8446, section 6.1).
"""

from __future__ import annotations

import os
import re

from OpenSSL.SSL import Error, SysCallError

RESUMED = "/resumed"  # behind version and cipher of a connection in which a session was taken up

CUT_SHORT = "TLS: it ended without close_notify"

_ALERT = re.compile(r"\S+ alert (.+)")  # after the version, which is called otherwise by each OpenSSL

# What comes instead of TLS looks like a record of no version, or too long a one.
_NO_TLS = ("wrong version number", "packet length too long")

_LEFT = "unexpected eof"


class TLSError(OSError):
    """A connection is lost by something that TLS has to say."""


def lost_by(error: Error, peer: str) -> OSError:
    """The same as sockets tell it; ``peer`` is what the other side is to us, such as ``client``."""
    if isinstance(error, SysCallError):
        code, what = error.args
        if code > 0:
            return OSError(code, os.strerror(code))
        return TLSError(CUT_SHORT if what.lower().startswith(_LEFT) else f"TLS: {what}")
    queue = error.args[0] if error.args else ()
    said = queue[0][-1] if queue else ""
    if not said or said.lower().startswith(_LEFT):
        return TLSError(CUT_SHORT)
    alert = _ALERT.match(said)
    if alert is not None:
        return TLSError(f"TLS: {alert.group(1)} (alert from the {peer})")
    if said in _NO_TLS:
        return TLSError(f"TLS: the {peer} does not speak it ({said})")
    return TLSError(f"TLS: {said}")
