"""Does a bucket let through what its allowance says, and no more, whatever comes when?"""

from __future__ import annotations

from random import Random

from proxyd.config.bandwidth import Allowance
from proxyd.policy.bandwidth import Bucket, Clients
from tests.support.case import Case


class BucketTests(Case):
    def test_burst(self) -> None:
        """The burst may come at once, and a read more; what is too much is waited for."""
        bucket = Bucket(Allowance(1000, 5000), 0.0)
        bucket.take(5000, 0.0)
        self.assertEqual(bucket.wait(0.0), 0.0)
        bucket.take(2000, 0.0)
        self.assertEqual(bucket.wait(0.0), 2.0)
        self.assertEqual(bucket.wait(1.5), 0.5)
        self.assertEqual(bucket.wait(2.0), 0.0)

    def test_full(self) -> None:
        """No more is saved up than the burst, however long nothing comes."""
        bucket = Bucket(Allowance(1000, 5000), 0.0)
        bucket.take(7000, 0.0)
        self.assertFalse(bucket.full(6.9))
        self.assertTrue(bucket.full(7.0))
        bucket.take(6000, 1e6)
        self.assertEqual(bucket.wait(1e6), 1.0)

    def test_given_back(self) -> None:
        """What was taken in advance and never came does not count, and is no more than the burst either."""
        bucket = Bucket(Allowance(1000, 5000), 0.0)
        bucket.take(6000, 0.0)
        bucket.give_back(1000)
        self.assertEqual(bucket.wait(0.0), 0.0)
        bucket.give_back(50_000)
        bucket.take(6000, 0.0)
        self.assertEqual(bucket.wait(0.0), 1.0)

    def test_bound(self) -> None:
        """Who waits as it is told moves at most burst + rate x time + one read, and nearly that."""
        for seed in range(50):
            chance = Random(seed)
            rate, burst = chance.randrange(1000, 1_000_000), chance.randrange(1000, 200_000)
            bucket = Bucket(Allowance(rate, burst), 0.0)
            now, moved, largest = 0.0, 0, 0
            while now < 60:
                read = chance.randrange(1, 32 * 1024)
                largest = max(largest, read)
                bucket.take(read, now)
                moved += read
                self.assertLessEqual(moved, burst + rate * now + largest + 1e-6, (seed, now))
                now += bucket.wait(now)
            self.assertGreaterEqual(moved, rate * 60 - 1, seed)


class ClientsTests(Case):
    def setUp(self) -> None:
        self.made = 0
        self.settled: set[int] = set()
        self.clients = Clients(self.make, lambda kept, now: kept in self.settled, most=3)

    def make(self, now: float) -> int:
        self.made += 1
        return self.made

    def test_shared(self) -> None:
        """All connections of a client share the same, those of others have their own."""
        self.assertEqual([self.clients.enter(key, 0.0) for key in (b"a", b"a", b"b")], [1, 1, 2])
        self.clients.leave(b"a", 0.0)
        self.assertEqual(self.clients.enter(b"a", 0.0), 1)

    def test_coming_anew(self) -> None:
        """Who leaves and comes anew has what it had, as long as that counts against it."""
        self.clients.enter(b"a", 0.0)
        self.clients.leave(b"a", 0.0)
        self.assertEqual(self.clients.enter(b"a", 0.0), 1)
        self.settled.add(1)
        self.clients.leave(b"a", 0.0)
        self.assertEqual(len(self.clients), 0)
        self.assertEqual(self.clients.enter(b"a", 0.0), 2)

    def test_bounded(self) -> None:
        """Of those who have gone only so many are remembered, the last ones; those who are here all are."""
        for number in range(100):
            self.clients.enter(bytes((number,)), 0.0)
        self.assertEqual(len(self.clients), 100)
        for number in range(100):
            self.clients.leave(bytes((number,)), 0.0)
        self.assertEqual(len(self.clients), 3)
        self.assertEqual([self.clients.enter(bytes((number,)), 0.0) for number in (99, 98, 97, 96)],
                         [100, 99, 98, 101])  # fmt: skip

    def test_settled_ones_go(self) -> None:
        """Those who owe nothing any more go as others do."""
        for number in range(3):
            self.clients.enter(bytes((number,)), 0.0)
            self.clients.leave(bytes((number,)), 0.0)
        self.settled = {1, 2, 3}
        self.clients.enter(b"x", 0.0)
        self.clients.leave(b"x", 0.0)
        self.assertEqual(len(self.clients), 2)
