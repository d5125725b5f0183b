"""Is a certificate renewed in time, and a challenge answered for as long as it is under way?"""

from __future__ import annotations

from proxyd.policy.acme import MOST_ANSWERS, Answers, late, renew_at
from tests.support.case import Case

DAY = 86400.0


class TimesTests(Case):
    def test_renewed(self) -> None:
        """After two thirds of its life; or within the authority's window, but never after its end."""
        self.assertAlmostEqual(renew_at(0, 90 * DAY), 60 * DAY)
        self.assertAlmostEqual(renew_at(100, 106), 104)
        self.assertEqual(renew_at(0, 90 * DAY, (10 * DAY, 20 * DAY), 0.0), 10 * DAY)
        self.assertEqual(renew_at(0, 90 * DAY, (10 * DAY, 20 * DAY), 0.5), 15 * DAY)
        self.assertEqual(renew_at(0, 90 * DAY, (-10 * DAY, -5 * DAY), 0.5), -7.5 * DAY)
        self.assertEqual(renew_at(0, 90 * DAY, (80 * DAY, 100 * DAY), 0.9), 90 * DAY)

    def test_late(self) -> None:
        """With a ninth of its life left somebody should know: of 90 days the last ten."""
        for day, expected in ((0, False), (60, False), (79.9, False), (80.1, True), (95, True)):
            self.assertEqual(late(day * DAY, 0, 90 * DAY), expected, day)


class AnswersTests(Case):
    def test_given(self) -> None:
        """What is given is there until it is taken back, whether it was of the one kind or the other."""
        answers = Answers()
        answers.give_http("token", "answer")
        answers.give_tls("WWW.example", b"pem")
        self.assertEqual(answers.http(b"token"), b"answer")
        self.assertIsNone(answers.http(b"another"))
        self.assertEqual(dict(answers.certificates), {"www.example": b"pem"})
        answers.take_back("token", "www.Example")
        self.assertIsNone(answers.http(b"token"))
        self.assertEqual(dict(answers.certificates), {})
        answers.take_back("token", "www.example")

    def test_bound(self) -> None:
        """No more are given than could be under way."""
        answers = Answers()
        for number in range(MOST_ANSWERS):
            answers.give_http(f"token-{number}", "answer")
        self.assertRaises(ValueError, answers.give_http, "token", "answer")
