"""Who is too slow, and who is merely idle, held back, or waiting for an answer?"""

from __future__ import annotations

from typing import Iterable, Optional

from proxyd.config.minrate import MinRateSpec
from proxyd.errors import Reason
from proxyd.policy.minrate import MinRate
from tests.support.case import Case

SPEC = MinRateSpec(500, 10.0)
EVERY = 2.5

# At each look: received from the client, from the server, not taken by the client, by the server.
Look = tuple[int, int, int, int]


def judged(looks: Iterable[Look], held_back: bool = False) -> Optional[tuple[str, float, int]]:
    """Who is found to be too slow, how fast it was, and at which look, from 1; looks come every 2.5 s."""
    rate = MinRate(SPEC)
    for number, (from_client, from_server, for_client, for_server) in enumerate(looks, 1):
        found = rate.look(
            100 + number * EVERY, (from_client, from_server), (for_client, for_server), held_back
        )
        if found is not None:
            return found[0].code, found[1], number
    return None


def judged_request(
    looks: Iterable[tuple[int, Optional[tuple[int, int]], Optional[tuple[int, int]], Optional[int]]],
) -> Optional[tuple[str, float, int]]:
    """The same of requests: at each look which one, what client and server took and left, what is owed."""
    rate = MinRate(SPEC)
    for number, (request, client, server, owed) in enumerate(looks, 1):
        found = rate.look_at_request(100 + number * EVERY, (request, 0), client, server, owed)
        if found is not None:
            return found[0].code, found[1], number
    return None


class RequestTests(Case):
    """Where requests are understood."""

    def test_slow_reader(self) -> None:
        """A client that takes its answer slowly is found, over one request or many."""
        looks = [(number, (250 * number, 50_000), None, None) for number in range(9)]
        self.assertEqual(judged_request(looks), ("client_too_slow", 100.0, 5))
        fast = [(1, (1250 * number, 50_000), None, None) for number in range(200)]
        self.assertIsNone(judged_request(fast))
        taken = [(1, (250 * number, 0), None, None) for number in range(200)]
        self.assertIsNone(judged_request(taken))

    def test_slow_server(self) -> None:
        """A server that takes a body slowly is, but not for what another one left."""
        looks = [(1, None, (250 * number, 50_000), None) for number in range(9)]
        self.assertEqual(judged_request(looks), ("server_too_slow", 100.0, 5))
        others = [(number // 4, None, (0, 50_000), None) for number in range(200)]
        self.assertIsNone(judged_request(others))

    def test_slow_upload(self) -> None:
        """A client that owes a body is too slow with a byte a second, and with none."""
        for each in (0, 1):
            looks = [(1, None, None, 100 + round(each * number * EVERY)) for number in range(9)]
            self.assertEqual(judged_request(looks), ("client_too_slow", float(each), 5))
        self.assertIsNone(judged_request([(1, None, None, 1250 * number) for number in range(200)]))

    def test_excused(self) -> None:
        """One that owes nothing, or may not send it, is not, nor for a body that has just begun."""
        self.assertIsNone(judged_request([(1, None, None, None)] * 200))
        self.assertIsNone(judged_request([(1, None, None, None if n % 4 else 0) for n in range(200)]))
        self.assertIsNone(judged_request([(n // 4, None, None, 0) for n in range(200)]))


class MinRateTests(Case):
    def test_every(self) -> None:
        """It is looked at four times in the time after which one is judged."""
        self.assertEqual(MinRate(SPEC).every, EVERY)

    def test_takes_nothing(self) -> None:
        """A client that takes nothing of what waits for it is too slow after that time."""
        self.assertEqual(judged([(100, 90_000, 50_000, 0)] * 9), ("client_too_slow", 0.0, 5))

    def test_takes_slowly(self) -> None:
        """One that takes 100 bytes a second, too; it is the mean of the time that counts."""
        looks = [(100, 90_000, 50_000 - 250 * number, 0) for number in range(9)]
        self.assertEqual(judged(looks), ("client_too_slow", 100.0, 5))

    def test_more_comes_meanwhile(self) -> None:
        """It makes no difference that the server goes on sending."""
        looks = [(100, 90_000 + 1000 * number, 50_000 + 750 * number, 0) for number in range(9)]
        self.assertEqual(judged(looks), ("client_too_slow", 100.0, 5))

    def test_takes_fast_enough(self) -> None:
        """One that takes as much as it must may go on for ever."""
        looks = [(100, 10**6, 900_000 - 1250 * number, 0) for number in range(200)]
        self.assertIsNone(judged(looks))

    def test_takes_fast_and_then_slowly(self) -> None:
        """One that begins fast and falls asleep is found in the time that follows."""
        looks = [(0, 10**6, 900_000 - 100_000 * min(number, 4), 0) for number in range(12)]
        self.assertEqual(judged(looks), ("client_too_slow", 0.0, 9))

    def test_little_under_way(self) -> None:
        """Where the last message is always still under way, all before it was taken: nobody is slow."""
        self.assertIsNone(judged((0, 50 * number, 50, 0) for number in range(1, 100)))

    def test_idle(self) -> None:
        """A connection on which nothing is to be sent is not slow, however long."""
        self.assertIsNone(judged([(300, 9000, 0, 0)] * 100))

    def test_server_takes_slowly(self) -> None:
        """The same of the server, which then is to blame."""
        looks = [(90_000, 100, 0, 50_000 - 250 * number) for number in range(9)]
        self.assertEqual(judged(looks), ("server_too_slow", 100.0, 5))

    def test_server_is_to_blame(self) -> None:
        """A client that cannot send since the server takes nothing is not to blame."""
        looks = [(90_000 + number, 100, 0, 50_000 + number) for number in range(9)]
        self.assertEqual(judged(looks, held_back=True), ("server_too_slow", 0.0, 5))

    def test_sends_slowly(self) -> None:
        """A client that sends a little again and again, and is not answered, sends too slowly."""
        self.assertEqual(
            judged((25 * number, 0, 0, 0) for number in range(1, 99)), ("client_too_slow", 12.5, 5)
        )

    def test_sends_rarely(self) -> None:
        """It need not send between all looks."""
        looks = [(20 + 20 * (number // 5), 0, 0, 0) for number in range(99)]
        found = judged(looks)
        assert found is not None
        self.assertEqual((found[0], found[2]), ("client_too_slow", 6))

    def test_waits_for_the_answer(self) -> None:
        """A client that has asked, and waits, is not slow, however long the server takes."""
        self.assertIsNone(judged([(300, 0, 0, 0)] * 500))

    def test_is_answered(self) -> None:
        """A client whose every word is answered, as in a dialogue at a terminal, is not slow."""
        self.assertIsNone(judged((number, 2 * number, 0, 0) for number in range(500)))

    def test_sends_fast_enough(self) -> None:
        """A long upload that is as fast as it must be is not slow."""
        self.assertIsNone(judged((1250 * number, 0, 0, 0) for number in range(1, 500)))

    def test_held_back(self) -> None:
        """A client that we do not read from is not judged by what it sends."""
        self.assertIsNone(judged(((25 * number, 0, 0, 0) for number in range(99)), held_back=True))

    def test_reasons(self) -> None:
        """The blame is in the reason."""
        self.assertEqual(Reason.CLIENT_TOO_SLOW.fault.value, "client")
        self.assertEqual(Reason.SERVER_TOO_SLOW.fault.value, "server")
