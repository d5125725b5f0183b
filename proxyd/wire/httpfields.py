"""
What is one field of an HTTP message, and what must a proxy know of it?

RFC 9110, section 5, and RFC 9112, section 5, read as strictly as they are written: a name is a token, the
colon follows it at once, a value has no control character, and no line is folded.  A field is rebuilt from
its parts, so what leaves has one blank behind the colon and none at its end, whatever came.

Clients and servers say the same lines again and again, so a line that was judged is remembered in a table
of a bounded size, and so is a head that is made of such lines, for requests of other connections;
`proxyd.wire.http1.Memory` remembers the last head of a connection as well. The head of a
browser (13 fields, 682 bytes) takes 22 µs when each of its lines is new, 7.3 when they are known, 1.9 when
it is that of the request before but for its first line, and 0.1 when it is the same. With curl it is 6.8,
3.5, 1.5 and 0.1, and an answer of nginx takes 12.6, 4.0, and 0.4 when it is the same. Llhttp (httptools
0.7, with callbacks that gather the fields) takes 3.5, 1.7 and 2.2, and leaves most of what is judged here
to be judged (Python 3.11, not compiled, an AMD EPYC).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Optional

from proxyd.errors import Malformed

if TYPE_CHECKING:
    from proxyd.wire.http1 import Said

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110, 5.6.2

# A value begins and ends with a visible character; obs-text (RFC 9110, 5.5) is passed on as it is.
_FIELD = re.compile(
    rb"("
    + TOKEN
    + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
).fullmatch
_NAME = re.compile(TOKEN).fullmatch

REMEMBERED = 4096  # lines
REMEMBERED_HEADS = 128  # of up to 2 KiB: those of many clients are the same, as of browsers of one version
SECRET = frozenset({b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"})  # never remembered
LONGEST_REMEMBERED = 200  # bytes of a line: what is longer is rarely said twice

# What a field is to a proxy.  Those up to `FORGED` stop here, and most of them say something to us.
END_TO_END = 0
HOST = 1
CONTENT_LENGTH = 2
TRANSFER_ENCODING = 3
CONNECTION = 4
UPGRADE = 5
EXPECT = 6
TE = 7
HOP_BY_HOP = 8  # RFC 9110, 7.6.1, and the names from before it
KEEP_ALIVE = 9  # of these the one that says for how long
FORGED = 10  # "_" for "-": CGI makes the same variable of both, so a server could take it for the real one
FORWARDED = 11  # what says for whom one speaks: only of those that are trusted
VIA = 12
SERVER = 13
DATE = 14
LOCATION = 15
SET_COOKIE = 16

KINDS = {
    b"host": HOST,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"upgrade": UPGRADE,
    b"expect": EXPECT,
    b"te": TE,
    b"keep-alive": KEEP_ALIVE,
    b"proxy-connection": HOP_BY_HOP,
    b"http2-settings": HOP_BY_HOP,
    b"forwarded": FORWARDED,
    b"x-forwarded-for": FORWARDED,
    b"x-forwarded-proto": FORWARDED,
    b"x-forwarded-host": FORWARDED,
    b"x-forwarded-port": FORWARDED,
    b"x-forwarded-server": FORWARDED,
    b"x-forwarded-prefix": FORWARDED,
    b"x-real-ip": FORWARDED,
    b"via": VIA,
    b"server": SERVER,
    b"date": DATE,
    b"location": LOCATION,
    b"content-location": LOCATION,
    b"set-cookie": SET_COOKIE,
}

# What no trailer may be (RFC 9110, 6.5.1): framing, routing, conditions, credentials, and how content is
# read.
NOT_IN_TRAILERS = frozenset(
    {
        *(
            b"content-length",
            b"transfer-encoding",
            b"host",
            b"connection",
            b"upgrade",
            b"expect",
            b"te",
            b"trailer",
        ),
        *(
            b"keep-alive",
            b"proxy-connection",
            b"cache-control",
            b"max-forwards",
            b"range",
            b"content-encoding",
        ),
        *(
            b"content-type",
            b"content-range",
            b"authorization",
            b"proxy-authorization",
            b"cookie",
            b"set-cookie",
        ),
        *(b"www-authenticate", b"proxy-authenticate", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"),
        *(b"x-forwarded-host", b"location", b"date", b"vary", b"via", b"if-match", b"if-none-match"),
        *(b"if-modified-since", b"if-unmodified-since", b"if-range", b"age", b"expires", b"server"),
    }
)

# Its name in lower case, its value, the line as it is passed on with its end, and its kind.
Field = tuple[bytes, bytes, bytes, int]


class Unacceptable(Malformed):
    """
    A message that is not taken: with which status it is answered, and what forbids it.

    ``status`` is for a client; what is wrong with a server's answer is always 502.
    """

    def __init__(self, status: int, text: str, section: str) -> None:
        super().__init__(f"{text} (RFC {section})")
        self.status = status
        self.section = section


class Lines:
    """
    The lines that were judged of late; when there are too many it begins anew.

    ``heads`` are heads of requests that are made of such lines, from the version on, and what they say.
    """

    def __init__(self) -> None:
        self.fields: dict[bytes, Field] = {}
        self.heads: dict[bytes, Said] = {}

    def field(self, line: bytes) -> Field:
        """The field in a line without its end.  Raises `Unacceptable`."""
        found = self.fields.get(line)
        if found is None:
            found = parse_field(line)
            if len(line) <= LONGEST_REMEMBERED and found[0] not in SECRET:
                if len(self.fields) >= REMEMBERED:
                    self.fields.clear()
                self.fields[line] = found
        return found

    def remember(self, head: bytes, lines: list[bytes], said: Said) -> None:
        """A head of these lines, from the version on, says that."""
        if all(line in self.fields for line in lines):
            if len(self.heads) >= REMEMBERED_HEADS:
                self.heads.clear()
            self.heads[head] = said


def parse_field(line: bytes) -> Field:
    """The field in a line without its end.  Raises `Unacceptable`."""
    match = _FIELD(line)
    if match is None:
        raise _what_is_wrong(line)
    name: bytes = match.group(1)
    value: bytes = match.group(2)
    lower = name.lower()
    kind = KINDS.get(lower, END_TO_END)
    if (
        kind == END_TO_END
        and b"_" in lower
        and KINDS.get(lower.replace(b"_", b"-"), END_TO_END) != END_TO_END
    ):
        kind = FORGED
    return lower, value, b"%s: %s\r\n" % (name, value), kind


def _what_is_wrong(line: bytes) -> Unacceptable:
    name, colon, value = line.partition(b":")
    if line[:1] in (b" ", b"\t"):
        return Unacceptable(400, "a folded line", "9112 5.2")
    if not colon:
        return Unacceptable(400, "a line without a colon", "9112 5")
    if not name:
        return Unacceptable(400, "a field without a name", "9110 5.1")
    if name.rstrip(b" \t") != name:
        return Unacceptable(400, "a blank before the colon", "9112 5.1")
    if _NAME(name) is None:
        return Unacceptable(400, "a field's name that is no token", "9110 5.1")
    what = "a bare CR" if b"\r" in value else "NUL" if b"\0" in value else "a control character"
    return Unacceptable(400, f"{what} in the value of {show(name)}", "9110 5.5")


def show(text: bytes, most: int = 40) -> str:
    """What a peer has said, for people: short, and in ASCII."""
    return text[:most].decode("ascii", "backslashreplace") + ("..." if len(text) > most else "")


def tokens(value: bytes) -> Optional[list[bytes]]:
    """A list of tokens in lower case (RFC 9110, 5.6.1), or None if it is no such list."""
    found = [part.strip(b" \t").lower() for part in value.split(b",")]
    found = [part for part in found if part]  # empty elements are to be ignored
    return found if all(map(_NAME, found)) else None
