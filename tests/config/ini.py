"""How does a test try ini text?  It writes files into a folder of its own, and loads them."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Mapping

from proxyd.config import load
from proxyd.config.document import Config
from proxyd.config.reader import Reading, read
from proxyd.errors import ConfigError
from tests.support.case import Case

POOL = "[pool p]\nserver a = 10.0.0.1:80\n"
LISTENER = "[listener l]\nbind = tcp:80\npool = p\n"
MINIMAL = LISTENER + POOL


class IniCase(Case):
    """A test with a folder for ini files; paths in messages are relative to that folder."""

    def setUp(self) -> None:
        # Not self.mktemp(): below a checkout with a long path no unix socket could have its name.
        self.folder = tempfile.mkdtemp(prefix="p-")
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, text: str | bytes, name: str = "proxy.ini") -> str:
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode("utf-8"))
        return path

    def load(self, text: str, environ: Mapping[str, str] = {}) -> Config:
        return load(self.write(text), environ)

    def problems(self, text: str | bytes, environ: Mapping[str, str] = {}) -> list[str]:
        """What is wrong with the text; it must be something."""
        error = self.assertRaises(ConfigError, load, self.write(text), environ)
        return [self.local(str(problem)) for problem in error.problems]

    def read(self, text: str | bytes, environ: Mapping[str, str] = {}) -> Reading:
        return read(self.write(text), environ)

    def faults(self, text: str | bytes, environ: Mapping[str, str] = {}) -> list[str]:
        """What is wrong in the writing of the text."""
        return [self.local(str(problem)) for problem in self.read(text, environ).problems]

    def local(self, text: str) -> str:
        return text.replace(self.folder + os.sep, "")
