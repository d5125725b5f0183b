"""Is the answer to a bind read as it is meant, and nothing else?"""

from __future__ import annotations

from random import Random

from proxyd.wire.ldap import BIND_RESPONSE, EXTENDED_RESPONSE, LONGEST, Result, bind, result, unbind
from tests.support.case import Case
from tests.support.mutations import mutations
from tests.support.parsing import both_ways

WRONG = b"0\x0c\x02\x01\x01a\x07\x0a\x011\x04\x00\x04\x00"
LONG = (
    b"0\x84\x00\x00\x00\x10\x02\x01\x01a\x84\x00\x00\x00\x07\x0a\x01\x00\x04\x00\x04\x00"  # as AD writes it
)
NOTICE = (
    b"0\x27\x02\x01\x00\x78\x22\x0a\x014\x04\x00\x04\x03bye\x8a\x161.3.6.1.4.1.1466.20036"  # RFC 4511, 4.4.1
)

RESULTS = [
    (b"0\x0c\x02\x01\x01a\x07\x0a\x01\x00\x04\x00\x04\x00", Result(BIND_RESPONSE, 0, b"")),
    (WRONG, Result(BIND_RESPONSE, 49, b"")),
    (b"0\x0f\x02\x01\x01a\x0a\x0a\x015\x04\x01x\x04\x02no", Result(BIND_RESPONSE, 53, b"no")),
    (LONG, Result(BIND_RESPONSE, 0, b"")),
    (NOTICE, Result(EXTENDED_RESPONSE, 52, b"bye")),
]

MALFORMED = [
    (b"HTTP/1.1 400", "0x48, which does not begin a message of LDAP"),
    (b"0\x80", "a message of LDAP of no definite length"),
    (b"0\x85\x01", "a message of LDAP with a length of 5 bytes"),
    (b"0\x82\x40\x01", f"a message of LDAP of 16385 bytes; {LONGEST} are the most"),
    (b"0\x00", "a number of the message that is longer than its message"),
    (b"0\x02\x02\x01", "a number of the message that is longer than its message"),
    (b"0\x03\x02\x01\x01", "a message without an operation"),
    (b"0\x05\x02\x01\x01B\x00", "operation 0x42, which is no answer to a bind"),
    (b"0\x06\x02\x01\x01a\x02\x00", "an operation that is longer than its message"),
    (b"0\x07\x02\x01\x01a\x02\x0a\x00", "a code of the result of 0 bytes"),
    (b"0\x08\x02\x01\x01a\x03\x0a\x01\x00", "a matched name that is longer than its message"),
    (b"0\x0a\x02\x01\x01a\x05\x0a\x01\x00\x04\x00", "a message for people that is longer than its message"),
]


outcome, piecemeal = both_ways(result)


class LdapTests(Case):
    def test_results(self) -> None:
        """Each kind of result is read, however its lengths are written, and no byte behind it."""
        for data, value in RESULTS:
            self.assertEqual(result(data), (value, len(data)))
            self.assertEqual(result(data + b"0\x0c"), (value, len(data)))
            self.assertEqual(piecemeal(data), (value, len(data)))

    def test_malformed(self) -> None:
        """What is no result, or one without bounds, is refused in words."""
        for data, why in MALFORMED:
            self.assertEqual((outcome(data), piecemeal(data)), (why, why))

    def test_broken(self) -> None:
        """Broken answers end the same way however they are cut, and only in the ways that are said."""
        for data in mutations(Random(1), [data for data, _ in RESULTS], 3000):
            self.assertEqual(outcome(data), piecemeal(data), data)

    def test_names(self) -> None:
        """Codes are told by the names that RFC 4511 has for them."""
        self.assertEqual(Result(BIND_RESPONSE, 49, b"").name, "invalidCredentials")
        self.assertEqual(Result(BIND_RESPONSE, 4096, b"").name, "result 4096")

    def test_requests(self) -> None:
        """A bind has version 3, the name and the password; lengths of more than a byte are written out."""
        self.assertEqual(bind(1, "", ""), b"0\x0c\x02\x01\x01`\x07\x02\x01\x03\x04\x00\x80\x00")
        self.assertEqual(bind(1, "cn=a", "pw"), b"0\x12\x02\x01\x01`\x0d\x02\x01\x03\x04\x04cn=a\x80\x02pw")
        self.assertEqual(
            bind(200, "x" * 300, "")[:21],
            b"0\x82\x01=\x02\x02\x00\xc8`\x82\x01\x35\x02\x01\x03\x04\x82\x01,xx",
        )
        self.assertEqual(unbind(2), b"0\x05\x02\x01\x02B\x00")
