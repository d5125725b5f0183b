"""Is it the checksum that all others compute?"""

from __future__ import annotations

from proxyd.wire.crc32c import crc32c
from tests.support.case import Case

# An iSCSI command, the last of the examples in RFC 3720, B.4.
_READ = bytes.fromhex(
    "01c00000 00000000 00000000 00000000 14000000 00000400"
    "00000014 00000018 28000000 00000000 02000000 00000000"
)


class Crc32c(Case):
    """CRC32C as published."""

    def test_rfc_3720(self) -> None:
        """The examples of RFC 3720, B.4, which writes the last byte first."""
        for data, expected in (
            (bytes(32), "aa36918a"),
            (b"\xff" * 32, "43aba862"),
            (bytes(range(32)), "4e79dd46"),
            (bytes(reversed(range(32))), "5cdb3f11"),
            (_READ, "563a96d9"),
        ):
            self.assertEqual(crc32c(data).to_bytes(4, "little").hex(), expected)

    def test_check_value(self) -> None:
        """The nine digits that every catalogue of CRCs gives, and nothing at all."""
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)
        self.assertEqual(crc32c(b""), 0)
