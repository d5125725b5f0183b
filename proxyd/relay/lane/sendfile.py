"""
How does a part of a file get into a socket of the lane without a copy of ours?

By sendfile(2), as nginx does it; what the kernel does not take is asked for again when it takes more.
"""

from __future__ import annotations

import os
from typing import Any

# Bytes that are sent before the others are served: they are not copied, so it is more than what is received.
TURN = 512 * 1024

NOT_NOW = -1  # nothing was sent, and there may be more to send


def send_file(sink: Any, fd: int, offset: int, count: int) -> int:
    """
    Send so many bytes of a file, as far as the kernel takes them and a turn allows.

    Returns how many were sent: 0 if the file has none there, `NOT_NOW` if the sink takes none yet.  The sink
    is asked for by its pull producer, which is asked for more as after a write.
    """
    if sink._blocked or sink._buffered or sink._doom is not None or not sink.connected:
        return NOT_NOW
    try:
        sent = os.sendfile(sink._socket.fileno(), fd, offset, min(count, TURN))
    except BlockingIOError:
        sink._blocked = True
        return NOT_NOW
    except OSError as error:
        sink._break(error)
        return NOT_NOW
    sink._loop.again(sink)
    return sent
