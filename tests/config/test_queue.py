"""What does the ``queue =`` of a pool mean?"""

from __future__ import annotations

from proxyd.config.queue import QueueSpec
from tests.config.ini import IniCase

POOL = "[listener l]\nbind = tcp:80\npool = p\n[pool p]\nserver a = h:1 max_connections=9\n"


class QueueTests(IniCase):
    def test_read(self) -> None:
        """What is not given is as without the option."""
        for text, expected in (
            ("", QueueSpec()),
            ("queue = wait=30s\n", QueueSpec(wait=30.0)),
            ("queue = length=0\n", QueueSpec(length=0)),
            ("queue = length=200 wait=500ms order=lifo\n", QueueSpec(200, 0.5, "lifo")),
        ):
            self.assertEqual(self.load(POOL + text).pools[0].queue, expected)

    def test_refused(self) -> None:
        """What cannot be is refused with what would be right."""
        for text, problem in (
            ("queue = wait=0s\n", 'wait: "0s" is too short; it must be more than 0'),
            ("queue = order=fair\n", 'order: "fair" is not known; known here: fifo, lifo, adaptive'),
            ("queue = 200\n", '"200" is not known; known here: length, wait, order'),
        ):
            self.assertEqual(self.problems(POOL + text), [f"proxy.ini:6: [pool p] queue: {problem}"])

    def test_length(self) -> None:
        """Four may wait for each slot, 1,024 at most, unless it is said otherwise."""
        self.assertEqual([QueueSpec().length_for(slots) for slots in (1, 256, 257)], [4, 1024, 1024])
        self.assertEqual(QueueSpec(length=7).length_for(1000), 7)
