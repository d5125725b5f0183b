"""Does a command read the configuration as the daemon would?"""

from __future__ import annotations

import os

from proxyd.cli.command import read_config
from tests.config.ini import MINIMAL, IniCase


class ReadConfigTests(IniCase):
    def test_variables(self) -> None:
        """Variables are those of the process."""
        self.patch(os, "environ", {"PROXYD_TEST_PORT": "8123"})
        config = read_config(self.write(MINIMAL.replace("tcp:80", "tcp:${PROXYD_TEST_PORT}")))
        self.assertEqual([bind.text for bind in config.listeners[0].binds], ["tcp:8123"])
