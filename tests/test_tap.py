"""Starting under twistd: what is wrong is said in plain lines, with exit status 1."""

from __future__ import annotations

import gc
import io
import os
import signal
import socket
import sys
import tempfile
from typing import Any
from unittest.mock import Mock

from twisted.internet import reactor

from proxyd import tap
from proxyd.service import ProxyService
from proxyd.tap import Options, makeService
from tests.support.case import Case

INI = """
[listener front]
bind = unix:front.sock
pool = back

[pool back]
server a = 127.0.0.1:1
"""


class TapTests(Case):
    """The options of ``twistd tcpproxy``."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)
        self.patch(reactor, "seconds", reactor.seconds)  # nor that, as trial goes by it
        self.patch(reactor, "callWhenRunning", lambda *_: None)  # the signals of this process stay

    def write(self, text: str) -> str:
        path = os.path.join(self.folder, "proxy.ini")
        with open(path, "w") as file:
            file.write(text)
        return path

    def exits(self, status: int, call: Any, *arguments: Any) -> None:
        self.assertEqual(self.assertRaises(SystemExit, call, *arguments).code, status)

    def test_a_missing_config(self) -> None:
        """Without --config one line says what is missing."""
        self.exits(1, Options().parseOptions, [])
        self.assertIn("--config FILE is missing", self.err.getvalue())

    def test_errors_of_the_configuration(self) -> None:
        """Each error is a line with file and line number, and no usage text drowns it."""
        path = self.write(INI + "\nblance = p2c\nretries = many\n")
        self.exits(1, Options().parseOptions, ["--config", path])
        lines = self.err.getvalue().splitlines()
        self.assertEqual([line.startswith(f"{path}:") for line in lines], [True, True])
        self.assertIn("balance", lines[0])

    def test_check(self) -> None:
        """--check says ok with a summary, and starts nothing."""
        self.exits(0, Options().parseOptions, ["--check", "--config", self.write(INI)])
        self.assertEqual(self.out.getvalue().splitlines()[0], "ok")
        self.assertIn("front", self.out.getvalue())

    def test_version(self) -> None:
        """--version says ours, not Twisted's."""
        self.exits(0, Options().parseOptions, ["--version"])
        self.assertIn("proxyd ", self.out.getvalue())

    def test_a_service_that_is_bound(self) -> None:
        """What makeService returns has its sockets already."""
        options = Options()
        options.parseOptions(["-c", self.write(INI)])
        service = makeService(options)
        self.assertIsInstance(service, ProxyService)
        self.assertTrue(os.path.exists(os.path.join(self.folder, "front.sock")))
        for listener in service.listeners:
            listener.stopListening()
        service.capacity.stop()

    def test_the_collector_is_told_what_stays(self) -> None:
        """Once all is made and the reactor runs, the garbage collector need not look at it again."""
        calls: list[Any] = []
        self.patch(reactor, "seconds", reactor.seconds)  # nor that, as trial goes by it
        self.patch(reactor, "callWhenRunning", lambda call, *_: calls.append(call))
        collector = Mock(spec=gc)
        self.patch(tap, "gc", collector)
        self.test_a_service_that_is_bound()
        for call in calls:
            if call is not signal.signal:
                call()
        collector.freeze.assert_called_once_with()
        collector.set_threshold.assert_called_once_with(*tap.GARBAGE_THRESHOLDS)
        self.assertGreater(tap.GARBAGE_THRESHOLDS, gc.get_threshold())

    def test_a_port_in_use(self) -> None:
        """One line, exit status 1, no traceback."""
        taken = socket.socket(socket.AF_UNIX)
        self.addCleanup(taken.close)
        taken.bind(os.path.join(self.folder, "front.sock"))
        taken.listen(1)
        options = Options()
        options.parseOptions(["-c", self.write(INI)])
        self.exits(1, makeService, options)
        (line,) = self.err.getvalue().splitlines()
        self.assertIn("cannot listen on unix:front.sock: Address already in use", line)
