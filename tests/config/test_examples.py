"""Can every configuration that we show be used as it is?"""

from __future__ import annotations

import glob
import os
import re

from proxyd.config import load
from tests.config.ini import IniCase

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INI_BLOCK = re.compile(r"^```ini\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class ExampleTests(IniCase):
    def test_demo(self) -> None:
        """The demo is whole: its pool leads to the servers that it starts itself."""
        config = load(os.path.join(ROOT, "etc", "proxy.ini"), {})
        assert config.demo is not None
        started = {(server.name, server.bind.text) for server in config.demo.servers}
        named = {
            (server.name, f"tcp:{address.partition(':')[2]}:interface={address.partition(':')[0]}")
            for server in config.pools[0].servers
            for address in [str(server.address)]
        }
        self.assertEqual(started, named)
        self.assertEqual(len(started), 2)

    def test_package(self) -> None:
        """What a package installs can be used, and starts no demo."""
        config = load(os.path.join(ROOT, "etc", "package", "proxy.ini"), {})
        self.assertIs(config.demo, None)

    def test_commented_options(self) -> None:
        """The options that are there as comments can be used when the ; is taken away."""
        for name in ("etc/proxy.ini", "etc/package/proxy.ini"):
            with open(os.path.join(ROOT, name), encoding="utf-8") as file:
                text = file.read()
            opened = re.sub(r"^; (?=[a-z_]+( [a-z]+)? = )", "", text, flags=re.MULTILINE)
            self.assertNotEqual(opened, text)
            self.assertTrue(self.load(opened).listeners)

    def test_examples(self) -> None:
        """Every file in etc/examples can be used."""
        paths = sorted(glob.glob(os.path.join(ROOT, "etc", "examples", "*.ini")))
        self.assertGreaterEqual(len(paths), 4)
        for path in paths:
            self.assertTrue(load(path, {}).listeners, path)

    def test_pages(self) -> None:
        """Each whole configuration in the README and on the page for operators can be used."""
        for page in ("README.md", "docs/operation.md"):
            with open(os.path.join(ROOT, page), encoding="utf-8") as file:
                blocks = [block for block in INI_BLOCK.findall(file.read()) if "[listener" in block]
            self.assertTrue(blocks, f"{page} has no ```ini block with a [listener]")
            for block in blocks:
                self.assertTrue(self.load(block).listeners)
