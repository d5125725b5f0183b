"""What is in a file that is kept in memory, of which kind is it, and is it small enough for that?"""

from __future__ import annotations

import mimetypes
import os
import stat

from proxyd.config.words import Invalid
from proxyd.errors import Problem

LARGEST_FILE = 1 << 20  # bytes


def content_type(name: str) -> str:
    """What a file holds, by its end, as the field Content-Type has it."""
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def read_small(path: str, problems: list[Problem], most: int = LARGEST_FILE) -> bytes:
    """What is in a file of so many bytes at most; what is wrong with it goes to ``problems``."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Invalid("is a folder, not a file" if os.path.isdir(path) else "is not a regular file")
        with open(path, "rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise Invalid(f"is longer than {most} bytes")
        return data
    except (Invalid, OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = (
            str(error)
            if isinstance(error, Invalid)
            else f"cannot be read: {getattr(error, 'strerror', error)}"
        )
        problems.append(Problem(path, 0, why))
    return b""
