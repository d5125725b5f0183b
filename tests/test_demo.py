"""Do the demo servers say who they are?"""

from __future__ import annotations

from twisted.internet.task import Clock

from proxyd.demo import demo_site
from tests.ops.exchange import exchange
from tests.support.case import Case


class Demo(Case):
    """A demo server."""

    def test_says_its_name(self) -> None:
        """Every path is answered with the server's name as plain text."""
        site = demo_site("a", Clock())
        for path in "/", "/some/where", "/?x=1":
            answer = exchange(site, path)
            self.assertEqual((answer.status, answer.body), (200, "Hello from demo server a\n"))
            self.assertEqual(answer.headers["content-type"], "text/plain; charset=utf-8")

    def test_head(self) -> None:
        """HEAD tells the length and sends no body."""
        answer = exchange(demo_site("b", Clock()), "/", "HEAD")
        self.assertEqual((answer.status, answer.body, answer.headers["content-length"]), (200, "", "25"))
