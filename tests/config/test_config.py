"""Does `load` give a whole configuration, or everything that is wrong, and nothing in between?"""

from __future__ import annotations

import os

from proxyd.config import load
from proxyd.config.document import Config
from proxyd.errors import ConfigError
from tests.config.ini import MINIMAL, IniCase


class LoadTests(IniCase):
    def test_whole(self) -> None:
        """What comes back is a value: loaded twice, it is the same."""
        path = self.write(MINIMAL)
        self.assertIsInstance(load(path, {}), Config)
        self.assertEqual(load(path, {}), load(path, {}))
        self.assertEqual(load(path, {}).files, (path,))

    def test_variables_are_those_that_are_passed_in(self) -> None:
        """The environment of the process is not looked at."""
        self.patch(os, "environ", {"PORT": "81"})
        path = self.write(MINIMAL.replace("tcp:80", "tcp:${PORT}"))
        self.assertEqual(load(path, {"PORT": "82"}).listeners[0].binds[0].text, "tcp:82")
        self.assertRaises(ConfigError, load, path, {})

    def test_a_relative_path(self) -> None:
        """Messages name a file as it was named; paths in the configuration are absolute."""
        path = os.path.relpath(self.write(MINIMAL + "server b = unix:b.sock\nx = 1\n"))
        error = self.assertRaises(ConfigError, load, path, {})
        self.assertEqual([(problem.path, problem.line) for problem in error.problems], [(path, 7)])
        path = os.path.relpath(self.write(MINIMAL + "server b = unix:b.sock\n"))
        self.assertEqual(str(load(path, {}).pools[0].servers[1].address), f"unix:{self.folder}/b.sock")
