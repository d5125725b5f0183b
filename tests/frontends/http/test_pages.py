"""Is what we say ourselves an answer like any other?"""

from __future__ import annotations

from proxyd.frontends.http.pages import TEXTS, date, page
from proxyd.wire.http1 import Memory, parse_answer
from proxyd.wire.httpfields import Lines
from tests.support.case import Case


class Pages(Case):
    """What a client is told."""

    def test_pages(self) -> None:
        """Each is a whole answer, and its length is right."""
        for status, (reason, sentence) in TEXTS.items():
            for closes in (False, True):
                words = page(status, closes, 0.0)
                answer = parse_answer(words, Memory(Lines()))
                assert answer is not None
                self.assertEqual((answer.status, answer.reason), (status, reason.encode()))
                self.assertEqual(
                    (len(words) - answer.took, answer.said.persistent), (answer.said.length, not closes)
                )
                self.assertIn(sentence.encode(), words)
                self.assertEqual(page(status, closes, 0.0, True), words[: answer.took])

    def test_date(self) -> None:
        """The date as RFC 9110, 5.6.7, writes its example."""
        self.assertEqual(date(784111777.9), b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n")
