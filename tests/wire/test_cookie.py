"""Are cookies read as clients and servers write them?"""

from __future__ import annotations

from proxyd.wire.cookie import given, sent, without
from proxyd.wire.httpfields import Field, parse_field
from tests.support.case import Case


def fields(*lines: bytes) -> list[Field]:
    return [parse_field(line) for line in lines]


class Cookies(Case):
    """Fields of requests and of answers."""

    def test_sent(self) -> None:
        """Each cookie of the name, however it is written; the name of another is another."""
        for line, values in [
            (b"Cookie: SRV=abc", [b"abc"]),
            (b"cookie: a=b; SRV=abc; c=d", [b"abc"]),
            (b"Cookie: a=b;SRV=abc;", [b"abc"]),
            (b"Cookie: SRV=one; SRV=two", [b"one", b"two"]),
            (b'Cookie: SRV="a b"', [b"a b"]),
            (b"Cookie: SRV = abc ; x", [b"abc"]),
            (b"Cookie: SRV=a=b", [b"a=b"]),
            (b"Cookie: SRV", [b""]),
            (b"Cookie: srv=abc; XSRV=abc; SRVX=abc; a=SRV", []),
            (b"Cookie:", []),
            (b"X-Cookie: SRV=abc", []),
        ]:
            self.assertEqual(list(sent(fields(line), b"SRV")), values, line)
        self.assertEqual(list(sent(fields(b"Cookie: SRV=a", b"Cookie: b=c; SRV=d"), b"SRV")), [b"a", b"d"])

    def test_without(self) -> None:
        """The others stay as they are; a field with nothing in it goes."""
        for line, left in [
            (b"Cookie: a=b; SRV=abc; c=d", [b"Cookie: a=b; c=d\r\n"]),
            (b"cookie: SRV=abc;a=b", [b"cookie: a=b\r\n"]),
            (b"Cookie: SRV=one; SRV=two; a", [b"Cookie: a\r\n"]),
            (b"Cookie: SRV=abc", []),
            (b"Cookie: SRV=abc; ;", []),
            (b"Cookie:  a=b ;c=SRV; XSRV=d", [b"Cookie: a=b; c=SRV; XSRV=d\r\n"]),
            (b"Cookie: a=b ;c=d", [b"Cookie: a=b ;c=d\r\n"]),
            (b"X-Cookie: SRV=abc", [b"X-Cookie: SRV=abc\r\n"]),
        ]:
            found = without(fields(line), b"SRV")
            self.assertEqual([field[2] for field in found], left, line)
            self.assertEqual(found, [parse_field(field[2][:-2]) for field in found], line)

    def test_given(self) -> None:
        """What a server gives last counts; what it takes away is none."""
        for lines, value in [
            ([b"Set-Cookie: SID=abc; Path=/; HttpOnly"], b"abc"),
            ([b"set-cookie: SID=abc"], b"abc"),
            ([b'Set-Cookie: SID="abc"; Path=/'], b"abc"),
            ([b"Set-Cookie: SID=one", b"Set-Cookie: other=two; SID=x"], b"one"),
            ([b"Set-Cookie: SID=one", b"Set-Cookie: SID=two"], b"two"),
            ([b"Set-Cookie: SID=; Max-Age=0"], b""),
            ([b"Set-Cookie: sid=abc"], b""),
            ([b"Cookie: SID=abc"], b""),
            ([], b""),
        ]:
            self.assertEqual(given(fields(*lines), b"SID"), value, lines)
