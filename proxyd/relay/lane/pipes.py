"""
Through which pipes is bulk spliced?

`os.splice` moves bytes from socket to socket inside the kernel, by way of a pipe.  Pipes are pooled,
because making one costs more than a small transfer; they are capped in number, because each can hold
a megabyte of kernel memory; and a pipe goes back to the pool only when it is empty.  Where there is no
splice (Python 3.9) or no pipe to be had, the caller copies.
"""

from __future__ import annotations

import fcntl
import os
from typing import Optional

from twisted.logger import Logger

PIPE_BYTES = 1024 * 1024  # the most that a user may ask for, unless the host says otherwise

MOST_PIPES = 64  # in use and pooled: 64 MiB of kernel memory at most

F_SETPIPE_SZ = 1031  # fcntl has the name since Python 3.10
F_GETPIPE_SZ = 1032

CAN_SPLICE = hasattr(os, "splice")

log = Logger(__name__)


class Pipe:
    """A pipe, and how many bytes are in it."""

    __slots__ = ("filled", "into", "out", "size")

    def __init__(self, into: int, out: int, size: int) -> None:
        self.into = into
        self.out = out
        self.size = size
        self.filled = 0

    def close(self) -> None:
        """Give up both descriptors, and what is in the pipe."""
        os.close(self.into)
        os.close(self.out)


class Pipes:
    """The pool."""

    def __init__(self, most: int = MOST_PIPES, size: int = PIPE_BYTES) -> None:
        self.in_use = 0
        self._most = most if CAN_SPLICE else 0
        self._size = size
        self._free: list[Pipe] = []
        self._told = False

    def __repr__(self) -> str:
        return f"<Pipes {self.in_use} in use, {len(self._free)} free, at most {self._most}>"

    def take(self) -> Optional[Pipe]:
        """An empty pipe, or None when there is none to be had."""
        if self._free:
            self.in_use += 1
            return self._free.pop()
        if self.in_use >= self._most:
            return None
        try:
            out, into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self._tell("no pipe to splice through ({why}); bytes are copied instead", why=error.strerror)
            return None
        pipe = Pipe(into, out, self._sized(into))
        self.in_use += 1
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """The pipe is not needed any more; with bytes in it, it is closed and not pooled."""
        self.in_use -= 1
        if pipe.filled:
            pipe.close()
        else:
            self._free.append(pipe)

    def close(self) -> None:
        """Give up the pooled pipes."""
        while self._free:
            self._free.pop().close()

    def _sized(self, fd: int) -> int:
        """Make the pipe as large as we may, and return how large that is."""
        try:
            fcntl.fcntl(fd, F_SETPIPE_SZ, self._size)
        except OSError as error:
            # pipe(7): an unprivileged user has a limit in sum, and then even a small pipe may be refused.
            self._tell(
                "pipes stay small ({why}): raise fs.pipe-user-pages-soft or fs.pipe-max-size",
                why=error.strerror,
            )
        return fcntl.fcntl(fd, F_GETPIPE_SZ)

    def _tell(self, what: str, **values: object) -> None:
        if not self._told:
            self._told = True
            log.warn(what, **values)
