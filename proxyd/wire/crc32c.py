"""Did these bytes arrive as they were sent?  The CRC32C of PROXY headers."""

from __future__ import annotations


def _of_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_OF_BYTE = tuple(map(_of_byte, range(256)))


def crc32c(data: bytes) -> int:
    """The checksum of RFC 4960, appendix B, with Castagnoli's polynomial; for headers, which are short."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _OF_BYTE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
