"""
Are the hot modules compiled?

`mypyc <https://mypyc.readthedocs.io>`_ makes extension modules of them where proxyd was built with
``PROXYD_COMPILE=1``; setup.cfg says which they are.  What is here is never compiled itself.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from proxyd import __version__

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr
else:

    def mypyc_attr(**_):
        """Tell mypyc of a class; it reads this in the source, and so needs no package at run time."""
        return lambda cls: cls


ONE_OF_THEM = "proxyd.relay.pair"


def is_compiled() -> bool:
    """Whether a process that imports proxyd from where we are gets the compiled modules."""
    spec = find_spec(ONE_OF_THEM)
    return spec is not None and not str(spec.origin).endswith(".py")


def version() -> str:
    """The version as people are told it: 0.1.0, or 0.1.0 (compiled)."""
    return f"{__version__} (compiled)" if is_compiled() else __version__
