"""Do connections come out in the order of their times?"""

from __future__ import annotations

from random import Random

from proxyd.cli.inorder import InOrder
from proxyd.policy.traffic import Lasting, Traffic, arrivals
from tests.support.case import Case


class InOrderTests(Case):
    def test_order(self) -> None:
        """However many pieces there are, all come out as they came, in the order of their times."""
        came = list(arrivals(Traffic(3000, lasting=Lasting("lognormal", 5, 1)), Random(1).random))
        came = [one._replace(sni="\udc80é" if number % 7 else "") for number, one in enumerate(came)]
        ended = sorted(came, key=lambda one: one.started + one.seconds)
        for piece in (7, 1000, 2999, 3000, 3001):
            found = InOrder(piece)
            for one in ended:
                found.add(one)
            self.assertEqual(len(found), 3000)
            self.assertEqual(list(found), came, piece)

    def test_the_same_time(self) -> None:
        """Those that came at the same time stay in the order of the log."""
        [one] = arrivals(Traffic(1), Random(1).random)
        came = [one._replace(bytes_in=number) for number in range(10)]
        found = InOrder(4)
        for client in came:
            found.add(client)
        self.assertEqual(list(found), came)

    def test_none(self) -> None:
        """Of none there is none."""
        self.assertEqual((len(InOrder()), list(InOrder())), (0, []))
