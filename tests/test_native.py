"""What is said of a build is so: the modules are compiled, or none of them is."""

from __future__ import annotations

import os
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import proxyd
from proxyd.native import is_compiled, mypyc_attr, version
from tests.support.case import Case

ROOT = Path(__file__).resolve().parent.parent

COMPILED = os.environ.get("PROXYD_COMPILE") == "1"  # as for the build that is tested


class NativeTests(Case):
    """With PROXYD_COMPILE=1 this is about a compiled build, and otherwise about the sources."""

    def test_what_is_loaded(self) -> None:
        """All that setup.cfg names are compiled, or none is, and no build has been left among the sources."""
        config = ConfigParser()
        config.read(ROOT / "setup.cfg", encoding="utf-8")
        paths = config["compiled"]["modules"].split()
        self.assertIn("proxyd/relay/pair.py", paths)
        for path in paths:
            self.assertTrue((ROOT / path).exists(), path)
            loaded = str(import_module(path[: -len(".py")].replace("/", ".")).__file__)
            self.assertEqual(loaded.endswith(".so"), COMPILED, loaded)
        self.assertEqual(is_compiled(), COMPILED)

    def test_the_version_tells(self) -> None:
        """The start line and --version say it, so that nobody measures or reports the wrong one."""
        self.assertEqual(version(), proxyd.__version__ + (" (compiled)" if COMPILED else ""))

    def test_sources_stay_sources(self) -> None:
        """A compiled module beside its source would be imported instead of it, whatever one edits."""
        self.assertEqual([str(path) for path in (ROOT / "proxyd").rglob("*.so")], [])

    def test_what_only_mypyc_reads(self) -> None:
        """Of a class in Python the decorator makes nothing else."""
        self.assertIs(mypyc_attr(allow_interpreted_subclasses=True)(NativeTests), NativeTests)
