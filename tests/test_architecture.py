"""
Is the house as it is drawn?

What a reviewer would have to look for in every change is looked for here.  Who imports whom is held by
import-linter too (setup.cfg), which follows chains; these tests read the sources with the standard
library alone, and so run wherever the suite runs.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Iterator

from tests.support.case import Case

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "proxyd"
TESTS = ROOT / "tests"

# What a room may import of ours, besides itself.
VALUES = {"native", "walltime", "errors", "interfaces", "records", "snapshots", "config"}
ROOMS = {
    "native": set[str](),
    "walltime": set[str](),
    "errors": set[str](),
    "records": {"errors"},
    "interfaces": {"errors", "records"},
    "snapshots": set[str](),
    "config": {"errors"},
    "wire": {"errors"},
    "policy": VALUES | {"wire"},
    "relay": VALUES | {"wire", "policy"},
    "frontends": VALUES | {"wire", "policy", "relay"},
    "upkeep": VALUES | {"wire", "policy", "relay"},
    "ops": VALUES | {"policy"},
    "cli": VALUES | {"policy"},
}

# What `proxyctl check` reads certificates with: it needs neither Twisted nor OpenSSL.
READERS = {("cli", "proxyd.relay.tls.files")}

PURE = {"config", "wire", "policy"}
IMPURE_MODULES = {
    "asyncio",
    "datetime",
    "OpenSSL",
    "prometheus_client",
    "random",
    "secrets",
    "select",
    "socket",
    "threading",
    "time",
    "treq",
    "twisted",
}

HARD_LIMIT = 600  # lines a file; 400 is where to begin thinking about it

VAGUE = {"base", "common", "engine", "handler", "helper", "manager", "processor", "util"}

# Sources without a test file of their own, and why.
UNTESTED = {
    "proxyd/interfaces.py": "promises and values; an implementation is verified where it is tested",
    "proxyd/records.py": "values; each is tested with what makes it",
    "proxyd/snapshots.py": "values; each is tested with what makes it",
}

# What belongs to the workplace and not to the project.  The brackets keep this file from finding itself.
FOREIGN = re.compile(
    r"[s]ession \d|(?<![\w.])/(?:[w]ork|[r]oot|[h]ome/\w+|[t]mp/v\d+)/|\b[t]his sandbox\b", re.I
)
TEXT = {".cfg", ".ini", ".md", ".py", ".sh", ".toml", ".txt"}
NOT_OURS = re.compile(r"^(\.git|\.venv.*|\..*_cache|build|dist|.*\.egg-info|_trial_temp.*|__pycache__)$")


def sources(folder: Path) -> list[Path]:
    """List the Python files below a folder."""
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def texts(folder: Path) -> Iterator[Path]:
    """Yield every file of the project that is read by people."""
    for path in sorted(folder.iterdir()):
        if NOT_OURS.match(path.name):
            continue
        if path.is_dir():
            yield from texts(path)
        elif path.suffix in TEXT or path.name == "Makefile" or path.parent.name == ".ci":
            yield path


def parse(path: Path) -> ast.Module:
    """Read a source file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(module: ast.Module) -> Iterator[str]:
    """Yield the full name of everything that a module imports, at its top or inside a function."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module or '.'}.{alias.name}" for alias in node.names)


def wrong_imports(own: str, module: ast.Module) -> list[str]:
    """Return what a module of this room imports and may not."""
    wrong = []
    for imported in imports(module):
        top, _, rest = imported.partition(".")
        if top == "proxyd" and own in ROOMS:
            target = rest.partition(".")[0]
            module_of_it = imported.rpartition(".")[0]
            if target not in ROOMS[own] | {own, "__version__"} and (own, module_of_it) not in READERS:
                wrong.append(imported)
        if own in PURE and top in IMPURE_MODULES:
            wrong.append(imported)
        elif own == "cli" and top == "twisted":
            wrong.append(imported)
        elif own != "tap" and imported.startswith("twisted.internet.reactor"):
            wrong.append(imported)
    return wrong


def room(path: Path) -> str:
    """Tell to which room, or which single file, a source belongs."""
    return path.relative_to(PACKAGE).parts[0].replace(".py", "")


def name(path: Path) -> str:
    """Name a file as a reader would look for it."""
    return path.relative_to(ROOT).as_posix()


def is_empty(path: Path) -> bool:
    """Tell whether there is nothing to test: a docstring, a version, imports."""
    return all(
        isinstance(node, (ast.Expr, ast.Assign, ast.Import, ast.ImportFrom)) for node in parse(path).body
    )


class Imports(Case):
    """Purity is the layering."""

    def test_rooms(self) -> None:
        """No room imports what lies above it, nothing pure imports Twisted, and only tap the reactor."""
        wrong = [
            f"{name(path)}: {what}"
            for path in sources(PACKAGE)
            for what in wrong_imports(room(path), parse(path))
        ]
        self.assertEqual(wrong, [])

    def test_the_test_sees(self) -> None:
        """Each kind of wrong import would be found, inside a function as well."""
        for own, text in (
            ("policy", "import random"),
            ("config", "def f():\n    from time import time"),
            ("wire", "from twisted.internet import defer"),
            ("wire", "from proxyd.records import Record"),
            ("upkeep", "from proxyd.ops.metrics import x"),
            ("frontends", "import proxyd.upkeep.health"),
            ("ops", "from proxyd.relay import pair"),
            ("relay", "from twisted.internet import reactor"),
            ("service", "from twisted.internet import reactor"),
            ("cli", "from twisted.python import usage"),
        ):
            self.assertEqual(len(wrong_imports(own, ast.parse(text))), 1, (own, text))
            self.assertEqual(wrong_imports("tap", ast.parse(text)), [])

    def test_every_room_is_known(self) -> None:
        """A new room, or a new file beside them, gets a line in the table before it gets code."""
        doors = {"__init__", "service", "tap", "demo"}
        self.assertEqual({room(path) for path in sources(PACKAGE)} - set(ROOMS) - doors, set())


class Files(Case):
    """Each file has one concept, a name that says it, and a test."""

    def test_size(self) -> None:
        """No file is longer than the hard limit."""
        long = {}
        for path in (*sources(PACKAGE), *sources(TESTS)):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > HARD_LIMIT:
                long[name(path)] = lines
        self.assertEqual(long, {})

    def test_docstrings(self) -> None:
        """Each module begins with the question that it answers."""
        mute = [name(p) for p in sources(PACKAGE) if not ast.get_docstring(parse(p))]
        mute += [name(p) for p in sources(TESTS) if p.stat().st_size and not ast.get_docstring(parse(p))]
        self.assertEqual(mute, [])

    def test_names(self) -> None:
        """No file is named by a word that would fit any file."""
        vague = [
            name(path)
            for path in (*sources(PACKAGE), *sources(TESTS))
            if VAGUE & {word.rstrip("s") for word in path.stem.split("_")}
        ]
        self.assertEqual(vague, [])

    def test_each_source_has_tests(self) -> None:
        """proxyd/policy/balance.py is tested by tests/policy/test_balance.py; relay also by contracts."""
        missing = []
        for path in sources(PACKAGE):
            within = path.relative_to(PACKAGE)
            if name(path) in UNTESTED or is_empty(path):
                continue
            stem = within.parent.name if path.stem == "__init__" else path.stem
            places = [TESTS / within.parent]
            if within.parts[0] == "relay":
                places.append(TESTS / "contracts")
            if not any((place / f"test_{stem}.py").exists() for place in places):
                missing.append(name(path))
        self.assertEqual(missing, [])

    def test_exceptions_are_needed(self) -> None:
        """An exception for a file that has gone, or is tested by now, goes as well."""
        for path in UNTESTED:
            self.assertTrue((ROOT / path).exists(), path)
            self.assertFalse(
                (TESTS / Path(path).relative_to("proxyd").parent / f"test_{Path(path).name}").exists(), path
            )

    def test_plugin_folders(self) -> None:
        """twisted/ and twisted/plugins/ are no packages, or they would hide Twisted itself."""
        self.assertEqual([name(path) for path in (ROOT / "twisted").rglob("__init__.py")], [])


class Tests(Case):
    """A test that is not run looks like a test that passes."""

    def test_collected(self) -> None:
        """trial only looks into folders that have an ``__init__.py``."""
        folders = {path.parent for path in sources(TESTS) if path.name.startswith("test_")}
        self.assertEqual([name(folder) for folder in folders if not (folder / "__init__.py").exists()], [])

    def test_not_collected(self) -> None:
        """The long proofs and the benchmarks are started by make, never by trial."""
        for folder in (TESTS / "proof", ROOT / "bench"):
            self.assertEqual([name(path) for path in folder.rglob("test_*.py")], [])

    def test_say_what_they_hold(self) -> None:
        """Each test says in its docstring which behaviour it holds; classes within tests are examples."""
        mute = [
            f"{name(path)}: {case.name}.{method.name}"
            for path in sources(TESTS)
            for case in parse(path).body
            if isinstance(case, ast.ClassDef)
            for method in case.body
            if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef))
            and method.name.startswith("test")
            and not ast.get_docstring(method)
        ]
        self.assertEqual(mute, [])

    def test_guarded(self) -> None:
        """Every test derives from the two cases of tests/support/case.py."""
        wrong = [
            f"{name(path)}: {imported}"
            for path in sources(TESTS)
            for imported in imports(parse(path))
            if imported.startswith(
                ("twisted.trial.unittest", "unittest.TestCase", "unittest.IsolatedAsyncio")
            )
            and not imported.endswith(".SkipTest")
            and path != TESTS / "support" / "case.py"
        ]
        self.assertEqual(wrong, [])


class Words(Case):
    """The project speaks of itself alone."""

    def test_no_foreign_words(self) -> None:
        """No file names the place where it was written."""
        found = []
        for path in texts(ROOT):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if FOREIGN.search(line):
                    found.append(f"{name(path)}:{number}: {line.strip()}")
        self.assertEqual(found, [])
