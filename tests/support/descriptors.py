"""How many descriptors does this process have open, so that a test sees what is left of it?"""

from __future__ import annotations

import gc
import os


def open_files() -> int:
    """How many there are now."""
    return len(os.listdir("/proc/self/fd"))


def open_files_before() -> int:
    """How many there are before a test: what others have left to the garbage collector is closed first."""
    gc.collect()
    return open_files()
