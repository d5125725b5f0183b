"""Who is too many, who comes too fast, and is everybody counted out again?"""

from __future__ import annotations

import ipaddress
from random import Random
from typing import Any, Optional

from proxyd.config.limits import RateSpec
from proxyd.config.listener import ListenerSpec
from proxyd.errors import Reason
from proxyd.policy.admission import Refusal
from proxyd.policy.limits import ClientRates, Limits, Rate, network_of_key, prefix_of
from proxyd.policy.lists import client_bytes
from tests.support.case import Case


def of(address: str) -> bytes:
    return client_bytes(ipaddress.ip_address(address).packed)


def code(refusal: Optional[Refusal]) -> str:
    return refusal.reason.code if refusal is not None else ""


class Prefixes(Case):
    def test_same_client(self) -> None:
        """Addresses of one prefix are one client, and no address of another family is."""
        for one, other, prefix4, prefix6, same in (
            ("10.0.0.1", "10.0.0.1", 32, 64, True),
            ("10.0.0.1", "10.0.0.2", 32, 64, False),
            ("10.0.0.1", "10.0.0.200", 24, 64, True),
            ("10.0.0.1", "10.0.1.1", 24, 64, False),
            ("2001:db8::1", "2001:db8::ffff:1", 32, 64, True),
            ("2001:db8::1", "2001:db8:0:1::1", 32, 64, False),
            ("2001:db8::1", "2001:db8:0:1::1", 32, 56, True),
            ("2001:db8::1", "2001:db8::2", 32, 128, False),
            ("::ffff:10.0.0.1", "10.0.0.1", 32, 64, True),
            ("32.1.13.184", "2001:db8::1", 32, 32, False),
        ):
            keys = [prefix_of(of(address), prefix4, prefix6) for address in (one, other)]
            self.assertEqual(keys[0] == keys[1], same, (one, other))

    def test_network(self) -> None:
        """From the key the network comes back, whatever the prefixes."""
        dice = Random(7)
        for _ in range(500):
            prefix4, prefix6 = dice.randrange(1, 33), dice.randrange(1, 129)
            for bits, prefix in ((32, prefix4), (128, prefix6)):
                address = ipaddress.ip_address(
                    dice.randrange(1 << (bits - 8), 1 << bits).to_bytes(bits // 8, "big")
                )
                if bits == 128 and getattr(address, "ipv4_mapped", None):
                    continue
                network = network_of_key(prefix_of(address.packed, prefix4, prefix6), prefix4, prefix6)
                self.assertEqual(network, ipaddress.ip_network((address.packed, prefix), strict=False))

    def test_unix(self) -> None:
        """Clients of a unix socket are one, who has no address."""
        self.assertEqual(prefix_of(b"", 32, 64), b"")


class Rates(Case):
    def test_at_the_bound(self) -> None:
        """As many as it says come in at once, one more does not, and then one for each part of the time."""
        rate = Rate(RateSpec(5, 10.0))
        self.assertEqual([rate.take(100.0) for _ in range(6)], [True] * 5 + [False])
        self.assertFalse(rate.take(101.9))
        self.assertTrue(rate.take(102.0))
        self.assertFalse(rate.take(102.0))
        self.assertEqual([rate.take(200.0) for _ in range(6)], [True] * 5 + [False])

    def test_burst_by_the_time_of_day(self) -> None:
        """It is so to the last one with the large numbers that real clocks have, whatever the rate."""
        for count in (*range(1, 40), 999, 10_000):
            for seconds in (1.0, 10.0, 60.0):
                spec, now = RateSpec(count, seconds), 1_795_655_199.7
                rate, rates = Rate(spec), ClientRates(spec)
                self.assertEqual(sum(rate.take(now) for _ in range(count + 2)), count)
                self.assertEqual(sum(rates.take(b"one", now) for _ in range(count + 2)), count)

    def test_never_more(self) -> None:
        """In no span of that time are there twice as many, and whoever asks slowly is never refused."""
        for seed in range(50):
            dice = Random(seed)
            spec = RateSpec(dice.randrange(1, 20), dice.choice((1.0, 10.0, 60.0)))
            rate, now, taken = Rate(spec), 0.0, []
            for _ in range(500):
                now += dice.expovariate(2 * spec.count / spec.seconds)
                if rate.take(now):
                    taken.append(now)
            for start in taken:
                within = sum(start <= when < start + spec.seconds for when in taken)
                self.assertLess(within, 2 * spec.count, seed)
            slow = Rate(spec)
            self.assertTrue(all(slow.take(n * spec.seconds / spec.count) for n in range(100)))

    def test_clients(self) -> None:
        """Each client has an allowance of its own, as a model with a rate for each has it."""
        for seed in range(30):
            dice = Random(seed)
            spec = RateSpec(3, 10.0)
            models: dict[bytes, Rate] = {}
            rates, now = ClientRates(spec), 0.0
            for _ in range(400):
                now += dice.random()
                client = bytes((dice.randrange(12),))
                model = models.setdefault(client, Rate(spec))
                self.assertEqual(rates.take(client, now), model.take(now))

    def test_forgotten(self) -> None:
        """Clients whose allowance is whole again are forgotten, and never are there more than the bound."""
        rates = ClientRates(RateSpec(2, 10.0), most=100)
        for number in range(10_000):
            rates.take(number.to_bytes(4, "big"), 0.0)
            self.assertLessEqual(len(rates), 100)
        for number in range(200):
            rates.take(b"one", 1000.0 + 100 * number)
        self.assertEqual(len(rates), 1)


class Counts(Case):
    def limits(self, **options: Any) -> Limits:
        return Limits(ListenerSpec("l", (), "p", **options))

    def test_none(self) -> None:
        """Where nothing is limited nobody is counted."""
        self.assertTrue(self.limits().none)
        for options in (
            {"max_connections": 1},
            {"max_connections_per_client": 1},
            {"max_handshakes": 1},
            {"connection_rate": RateSpec(1, 1.0)},
            {"connection_rate_per_client": RateSpec(1, 1.0)},
        ):
            self.assertFalse(self.limits(**options).none, options)

    def test_listener(self) -> None:
        """At its bound a listener refuses, and below it does not."""
        limits = self.limits(max_connections=2)
        limits.open = 1
        self.assertIsNone(limits.refusal(0.0))
        limits.open = 2
        self.assertEqual(limits.refusal(0.0), Refusal(Reason.LISTENER_FULL, "max_connections = 2"))

    def test_handshakes(self) -> None:
        """So it is with clients in the midst of their openings."""
        limits = self.limits(max_handshakes=1)
        self.assertIsNone(limits.refusal(0.0))
        limits.handshakes = 1
        self.assertEqual(code(limits.refusal(0.0)), "handshakes")

    def test_client(self) -> None:
        """A client at its bound is refused, another is not, and one that has left may come again."""
        limits = self.limits(max_connections_per_client=2)
        a, b = limits.key_of(of("10.0.0.1")), limits.key_of(of("10.0.0.2"))
        for _ in range(2):
            self.assertIsNone(limits.client_refusal(a, 0.0))
            limits.client_entered(a)
        self.assertEqual(
            limits.client_refusal(a, 0.0), Refusal(Reason.CLIENT_FULL, "max_connections_per_client = 2")
        )
        self.assertIsNone(limits.client_refusal(b, 0.0))
        limits.client_left(a)
        self.assertIsNone(limits.client_refusal(a, 0.0))

    def test_rates(self) -> None:
        """Who comes too fast is refused by the rate that says so."""
        limits = self.limits(connection_rate=RateSpec(2, 1.0), connection_rate_per_client=RateSpec(1, 1.0))
        self.assertEqual([code(limits.refusal(0.0)) for _ in range(3)], ["", "", "listener_rate"])
        self.assertEqual([code(limits.client_refusal(b"a", 0.0)) for _ in range(2)], ["", "client_rate"])
        self.assertEqual(
            limits.client_refusal(b"a", 0.0), Refusal(Reason.CLIENT_RATE, "connection_rate_per_client = 1/1s")
        )

    def test_counts_end_at_zero(self) -> None:
        """However clients come and go, none is counted that has nothing open."""
        for seed in range(50):
            dice = Random(seed)
            limits = self.limits(max_connections_per_client=3)
            model: dict[bytes, int] = {}
            for _ in range(300):
                key = bytes((dice.randrange(5),))
                if dice.random() < 0.6:
                    refused = limits.client_refusal(key, 0.0) is not None
                    self.assertEqual(refused, model.get(key, 0) >= 3)
                    if not refused:
                        limits.client_entered(key)
                        model[key] = model.get(key, 0) + 1
                elif model.get(key):
                    limits.client_left(key)
                    model[key] -= 1
                self.assertEqual(limits.clients, {key: count for key, count in model.items() if count})
