"""What does ``proxyctl`` ask a daemon?  One that notes what it is asked, and says what it was told to."""

from __future__ import annotations

import json
import os
import socket
import threading
from typing import Any, Optional

from tests.cli.shell import ShellCase


class AskingCase(ShellCase):
    """A test of commands that ask the daemon; ``answering`` starts it."""

    def setUp(self) -> None:
        super().setUp()
        self.path = os.path.join(self.folder, "admin.sock")
        self.patch(os, "environ", {"PROXYD_ADMIN": self.path})
        self.asked: list[Any] = []

    def answering(self, result: Optional[dict[str, Any]] = None, raw: Optional[bytes] = None) -> None:
        """Answer the next one who asks with a result, or with these bytes, and hang up."""
        answer = json.dumps({"result": result}).encode() + b"\n" if raw is None else raw
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.path)
        listening.listen(1)
        serving = threading.Thread(target=self._serve, args=(listening, answer))
        serving.start()
        self.addCleanup(serving.join)
        self.addCleanup(listening.close)

    def _serve(self, listening: socket.socket, answer: bytes) -> None:
        with listening:
            client, _ = listening.accept()
        os.unlink(self.path)  # before the answer, so that the next one can be bound
        with client, client.makefile("rb") as lines:
            self.asked.append(json.loads(lines.readline()))
            client.sendall(answer)
