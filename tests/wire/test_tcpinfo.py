"""Is what the kernel says of a connection read as it was meant?"""

from __future__ import annotations

import socket
import struct
import sys

from proxyd.wire.tcpinfo import ACKED_END, RTT_END, SIZE, acknowledged, parse, round_trip
from tests.support.case import Case


def info(byteorder: str, **fields: tuple[int, str, int]) -> bytes:
    """A struct with these fields: where each stands, how it is written, and its value."""
    data = bytearray(SIZE)
    for offset, kind, value in fields.values():
        struct.pack_into(("<" if byteorder == "little" else ">") + kind, data, offset, value)
    return bytes(data)


class ParseTests(Case):
    """From the struct to values."""

    def test_values(self) -> None:
        """Times are seconds, sizes bytes and segments, in either order of bytes."""
        for order, scales in ("little", 0x7A), ("big", 0xA7):
            data = info(
                order,
                options=(5, "B", 4),
                scales=(6, "B", scales),
                rtt=(68, "I", 312),
                mss=(16, "I", 1448),
                window=(228, "I", 65160),
                again=(100, "I", 3),
                rate=(160, "Q", 10_000_000_000),
            )
            found = parse(data, order)
            self.assertEqual((found["rtt"], found["mss"], found["snd_wnd"]), (0.000312, 1448, 65160))
            self.assertEqual((found["retransmits"], found["delivery_rate"]), (3, 10_000_000_000))
            self.assertEqual((found["snd_wscale"], found["rcv_wscale"]), (10, 7))
            self.assertEqual(round_trip(data, order), 0.000312)

    def test_no_scaling(self) -> None:
        """Where one side does not scale its window, no scale is told."""
        self.assertNotIn("snd_wscale", parse(info("little", scales=(6, "B", 0x77)), "little"))

    def test_older_kernels(self) -> None:
        """A shorter struct tells less, and one of any length is no error; a longer one tells no more."""
        data = info("little", options=(5, "B", 4), rtt=(68, "I", 5))
        seen = set(parse(data, "little"))
        self.assertEqual(set(parse(data + b"\xff" * 99, "little")), seen)
        for size in range(SIZE, -1, -1):
            names = set(parse(data[:size], "little"))
            self.assertLessEqual(names, seen)
            seen = names
        self.assertEqual(seen, set())

    def test_round_trip(self) -> None:
        """None before anything was measured, and where the kernel does not say."""
        self.assertIs(round_trip(bytes(SIZE), "little"), None)
        self.assertIs(round_trip(b"\1" * (RTT_END - 1), "little"), None)

    def test_acknowledged(self) -> None:
        """How much has arrived is told in either order of bytes; old kernels do not know."""
        for order in ("little", "big"):
            self.assertEqual(acknowledged(info(order, acked=(120, "Q", 5_000_000_000)), order), 5_000_000_000)
        self.assertIsNone(acknowledged(bytes(ACKED_END - 1), "little"))

    def test_this_kernel(self) -> None:
        """Of a connection that has just been made this kernel says what must be so."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            with socket.create_connection(listening.getsockname()) as client:
                listening.accept()[0].close()
                found = parse(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, SIZE), sys.byteorder)
                self.assertEqual(found["mss"], client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))
                self.assertEqual(found["retransmits"], 0)
                self.assertTrue(0 < found["rtt"] < 60)
