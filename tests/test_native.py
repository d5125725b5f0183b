"""What is said of a build is so: the modules are compiled, or none of them is."""

from __future__ import annotations

import ast
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

    def test_bases(self) -> None:
        """Whose base is compiled is compiled too: mypyc makes no other classes, unless the base allows it."""
        config = ConfigParser()
        config.read(ROOT / "setup.cfg", encoding="utf-8")
        paths = config["compiled"]["modules"].split()
        closed = set()
        for path in paths:
            module = path[: -len(".py")].replace("/", ".")
            closed |= {
                (module, one.name)
                for one in classes(ast.parse((ROOT / path).read_text()))
                if not any("allow_interpreted_subclasses" in ast.dump(line) for line in one.decorator_list)
            }
        self.assertIn(("proxyd.relay.session", "Session"), closed)
        for source in (ROOT / "proxyd").rglob("*.py"):
            path = str(source.relative_to(ROOT))
            tree = ast.parse(source.read_text())
            known = {
                (alias.asname or alias.name): (line.module, alias.name)
                for line in ast.walk(tree)
                if isinstance(line, ast.ImportFrom)
                for alias in line.names
            }
            for one in classes(tree):
                bases = {known.get(base.id) for base in one.bases if isinstance(base, ast.Name)} & closed
                self.assertFalse(bases and path not in paths, f"{path}: {one.name} must be compiled, too")

    def test_what_only_mypyc_reads(self) -> None:
        """Of a class in Python the decorator makes nothing else."""
        self.assertIs(mypyc_attr(allow_interpreted_subclasses=True)(NativeTests), NativeTests)


def classes(tree: ast.Module) -> list[ast.ClassDef]:
    """The classes of a module."""
    return [node for node in tree.body if isinstance(node, ast.ClassDef)]
