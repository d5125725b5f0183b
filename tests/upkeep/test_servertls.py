"""Are the files of TLS towards servers read again when they have changed, and only if they can be used?"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from proxyd.config.address import TcpAddress
from proxyd.config.pool import PoolSpec, ServerSpec
from proxyd.config.servertls import ServerTlsSpec
from proxyd.relay.tls.server import ServerTls
from proxyd.upkeep.servertls import LOOK_SECONDS, ServerTlsFiles
from tests.support.authority import Authority
from tests.support.case import Case

OURS = Authority("Our CA")


class ServerTlsFilesTests(Case):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.clock = Clock()
        issued = OURS.issue("proxy")
        self.write("ca.pem", OURS.pem)
        self.write("our.pem", issued.chain)
        self.write("our.key", issued.key)
        self.first = self.spec(ca="ca.pem")
        self.second = self.spec(ca="ca.pem", certificate="our.pem", key="our.key")
        servers = (
            ServerSpec("a", TcpAddress("h", 1), tls=self.first),
            ServerSpec("b", TcpAddress("h", 1), tls=self.second),
            ServerSpec("c", TcpAddress("h", 1), tls=ServerTlsSpec(verify=False)),
        )
        self.tls = ServerTls([PoolSpec("p", servers)], self.clock.seconds)
        self.files = ServerTlsFiles(self.clock, lambda: 0.0, maybeDeferred, self.tls)

    def spec(self, **files: str) -> ServerTlsSpec:
        paths = {name: str(self.folder / file) for name, file in files.items()}
        return ServerTlsSpec(path="proxy.ini", line=7, **paths)  # type: ignore[arg-type]

    def write(self, name: str, content: bytes) -> None:
        """Put another file in the place of this one."""
        path = self.folder / name
        (self.folder / "new").write_bytes(content)
        os.replace(self.folder / "new", path)

    def start(self) -> None:
        self.assertEqual(self.files.load(), [])
        self.files.start()
        self.addCleanup(self.files.stop)

    def look(self, times: int = 1) -> list[str]:
        """What is logged while the files are looked at so often."""
        with capturedLogs() as events:
            self.clock.pump([LOOK_SECONDS / 10] * 10 * times)
        return [(formatEvent(event) or "").replace(f"{self.folder}{os.sep}", "") for event in events]

    def contexts(self) -> list[object]:
        return [self.tls.context(spec) for spec in (self.first, self.second)]

    def test_changed(self) -> None:
        """Files that have changed, and then look the same twice, are in force, and no others are read."""
        self.start()
        before = self.contexts()
        self.assertEqual(self.look(4), [])
        issued = OURS.issue("proxy")
        self.write("our.key", issued.key)
        self.assertEqual(self.look(), [])
        self.write("our.pem", issued.chain)
        self.assertEqual(self.look(), [])
        self.assertEqual(self.look(4), ["TLS towards servers: our.pem, our.key read again"])
        now = self.contexts()
        self.assertEqual([one is other for one, other in zip(before, now)], [True, False])
        self.write("ca.pem", OURS.pem)
        self.assertEqual(self.look(4), ["TLS towards servers: ca.pem read again"])
        self.assertEqual([one is other for one, other in zip(now, self.contexts())], [False, False])

    def test_unfit(self) -> None:
        """Files that cannot be used are said to be so, once, and those of before hold."""
        self.start()
        before = self.contexts()
        self.write("our.key", OURS.issue("proxy").key)
        held = "what was read before holds"
        self.assertEqual(
            self.look(9),
            [
                "proxy.ini:7: [pool p] tls: our.key: the private key does not belong to the first "
                f"certificate in our.pem; {held}"
            ],
        )
        (self.folder / "ca.pem").unlink()
        gone = "[pool p] tls: ca.pem: cannot be read: No such file or directory"
        self.assertEqual(self.look(9), [f"proxy.ini:7: {gone}; {held}"] * 2)
        self.assertEqual(self.contexts(), before)

    def test_for_a_moment(self) -> None:
        """What could not be read for a moment is read when it can be, though the file has not changed."""
        self.start()
        self.write("ca.pem", OURS.pem)
        real = os.open

        def refusing(path: Any, *args: Any) -> int:
            if str(path).endswith("ca.pem"):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return real(path, *args)

        self.patch(os, "open", refusing)
        lines = self.look(9)
        self.assertEqual((len(lines), "Too many open files" in lines[0]), (2, True))
        self.patch(os, "open", real)
        self.assertEqual(self.look(2), ["TLS towards servers: ca.pem read again"])

    def test_at_start(self) -> None:
        """Files that cannot be used are told before anything is served, each with the line that wants it."""
        self.write("ca.pem", b"")
        wrong = self.files.load()
        self.assertEqual(len(wrong), 2)
        self.assertRegex(wrong[0], r"^proxy\.ini:7: \[pool p\] tls: .*ca\.pem: has no certificate")

    def test_no_files(self) -> None:
        """Where there are no files nobody looks."""
        files = ServerTlsFiles(self.clock, lambda: 0.0, maybeDeferred, ServerTls([], self.clock.seconds))
        self.assertEqual(files.load(), [])
        files.start()
        self.assertEqual(self.clock.getDelayedCalls(), [])
