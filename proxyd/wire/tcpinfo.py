"""
What does the kernel know of a TCP connection?  ``struct tcp_info`` of linux/tcp.h, as TCP_INFO gives it.

The struct has grown with the kernel, so what an older one does not have is left out; and what a newer one
adds behind the end is not looked at.
"""

from __future__ import annotations

import struct
from typing import Optional, Union

SIZE = 240  # bytes of the struct that are understood
RTT_END = 72  # bytes up to the end of the round trip
ACKED_END = 128  # and of what was acknowledged

Info = dict[str, Union[int, float]]

_STATES = 6  # the byte with both window scales
_OPTIONS = 5
_SCALED = 4  # TCPI_OPT_WSCALE: both sides have said that they scale

_MICROSECONDS = 1e-6
_FIELDS = (
    # name, offset, format; and seconds in a unit, where it is a time
    ("rtt", 68, "I", _MICROSECONDS),  # smoothed
    ("rttvar", 72, "I", _MICROSECONDS),
    ("min_rtt", 148, "I", _MICROSECONDS),
    ("rto", 8, "I", _MICROSECONDS),
    ("mss", 16, "I", 0),  # of what is sent
    ("peer_mss", 20, "I", 0),  # of what comes
    ("advmss", 84, "I", 0),  # as advertised
    ("pmtu", 60, "I", 0),
    ("cwnd", 80, "I", 0),  # segments
    ("snd_wnd", 228, "I", 0),  # bytes; Linux 5.4
    ("rcv_wnd", 232, "I", 0),  # bytes; Linux 6.2
    ("rcv_space", 96, "I", 0),  # bytes
    ("unacked", 24, "I", 0),  # segments
    ("lost", 32, "I", 0),  # segments
    ("retransmits", 100, "I", 0),  # segments, in all
    ("bytes_retransmitted", 208, "Q", 0),  # Linux 4.19
    ("reordered", 220, "I", 0),  # how often; Linux 4.19
    ("notsent", 144, "I", 0),  # bytes
    ("delivery_rate", 160, "Q", 0),  # bytes a second
    ("busy", 168, "Q", _MICROSECONDS),  # with something to send; of this time it was held up by
    ("rwnd_limited", 176, "Q", _MICROSECONDS),  # the peer's window
    ("sndbuf_limited", 184, "Q", _MICROSECONDS),  # our buffer
)


def parse(data: bytes, byteorder: str) -> Info:
    """What is known, by name; times are seconds.  ``byteorder`` is the host's ("little" or "big")."""
    prefix = "<" if byteorder == "little" else ">"
    info: Info = {}
    for name, offset, kind, unit in _FIELDS:
        if offset + struct.calcsize(prefix + kind) <= len(data):
            (value,) = struct.unpack_from(prefix + kind, data, offset)
            info[name] = round(value * unit, 6) if unit else value
    if len(data) > _STATES and data[_OPTIONS] & _SCALED:
        # Two fields of four bits each; the first has the lower ones where the order is little.
        halves = (data[_STATES] & 15, data[_STATES] >> 4)
        info["snd_wscale"], info["rcv_wscale"] = halves if byteorder == "little" else halves[::-1]
    return info


def round_trip(data: bytes, byteorder: str) -> Optional[float]:
    """The smoothed round trip alone, in seconds; None if nothing was measured yet."""
    prefix = "<" if byteorder == "little" else ">"
    if len(data) < RTT_END:
        return None
    (microseconds,) = struct.unpack_from(prefix + "I", data, RTT_END - 4)
    return microseconds * _MICROSECONDS or None


def acknowledged(data: bytes, byteorder: str) -> Optional[int]:
    """How many bytes the peer has acknowledged in all; None with a kernel before Linux 4.1."""
    prefix = "<" if byteorder == "little" else ">"
    if len(data) < ACKED_END:
        return None
    (count,) = struct.unpack_from(prefix + "Q", data, ACKED_END - 8)
    return int(count)
