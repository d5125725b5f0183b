"""
Which modules are compiled?

None, and this file does nothing, unless ``PROXYD_COMPILE=1``: then mypyc makes extension modules of those
that setup.cfg names in [compiled].  All metadata is there too.
"""

from __future__ import annotations

import os
import sys
from configparser import ConfigParser
from typing import Any

from setuptools import setup

BUILDS = {"bdist_wheel", "build", "build_ext"}

IN_PLACE = {"--inplace", "-i", "develop", "editable_wheel"}

LEAST = (1, 20)  # mypy: older ones raise again what an awaited coroutine has caught (python/mypy#20547)

OPTIONS = (
    "--cache-dir=build/mypy",  # or mypy and mypyc would throw away each other's
    "--no-warn-unused-ignores",  # types are checked for the Python that builds, not for the oldest one
)


def compiled(commands: set[str]) -> dict[str, Any]:
    """What setup() is to be told for these commands."""
    config = ConfigParser()
    config.read("setup.cfg", encoding="utf-8")
    if commands & IN_PLACE:
        raise SystemExit("PROXYD_COMPILE=1: not in place, where compiled modules would hide their sources")
    if sys.version_info < (3, 10):
        raise SystemExit("PROXYD_COMPILE=1: Python 3.10 or later is needed, for mypy 1.20")
    if "egg_info" in commands:
        # What pip is to put at our disposal: mypy and stubs as we check with them, and what we import.
        needed = config["options"]["install_requires"].split("\n")
        checks = config["options.extras_require"]["dev"].split("\n")
        needed += [check for check in checks if check.startswith(("mypy", "types-"))]
        return {"setup_requires": [*needed, "mypy >= {}.{}".format(*LEAST)]}
    if commands & BUILDS:
        from mypy.version import __version__ as version
        from mypyc.build import mypycify

        if tuple(map(int, version.split(".")[:2])) < LEAST:
            raise SystemExit(f"PROXYD_COMPILE=1: mypy {version} is too old")
        modules = config["compiled"]["modules"].split()
        return {
            "ext_modules": mypycify([*OPTIONS, *modules], opt_level="3", debug_level="0", group_name="proxyd")
        }
    return {}


setup(**compiled(set(sys.argv[1:])) if os.environ.get("PROXYD_COMPILE") == "1" else {})
