"""What do ``bandwidth`` and ``bandwidth_per_client`` of a listener mean?"""

from __future__ import annotations

from proxyd.config.bandwidth import Allowance, BandwidthSpec
from tests.config.ini import IniCase

POOL = "[pool p]\nserver a = h:1\n[listener l]\nbind = tcp:80\npool = p\n"
MB = 1024**2


class BandwidthTests(IniCase):
    def test_read(self) -> None:
        """A direction that is not named has no bound; the burst is a tenth of a second, and 16k at least."""
        for text, expected in (
            ("in=1M/s", BandwidthSpec(Allowance(MB, MB // 10))),
            ("out=10M/s", BandwidthSpec(None, Allowance(10 * MB, MB))),
            (
                "in=2k/s out=1G/s",
                BandwidthSpec(Allowance(2048, 16_384), Allowance(1024 * MB, 1024 * MB // 10)),
            ),
            ("in=1M/s out=2M/s burst=4M", BandwidthSpec(Allowance(MB, 4 * MB), Allowance(2 * MB, 4 * MB))),
        ):
            for option in ("bandwidth", "bandwidth_per_client"):
                listener = self.load(f"{POOL}{option} = {text}\n").listeners[0]
                self.assertEqual(getattr(listener, option), expected)

    def test_default(self) -> None:
        """Nothing is bounded unless it is said."""
        listener = self.load(POOL).listeners[0]
        self.assertEqual((listener.bandwidth, listener.bandwidth_per_client), (None, None))

    def test_refused(self) -> None:
        """What is no rate, or bounds nothing, is refused with what would be right."""
        shape = "is not a rate of bytes; write 64k/s or 10M/s, for example"
        for text, problem in (
            ("in=1M", f'in: "1M" {shape}'),
            ("in=1Mbit/s", f'in: "1Mbit/s" {shape}'),
            ("out=1M/m", f'out: "1M/m" {shape}'),
            ("out=500/s", 'out: "500/s": such a rate is 1024/s to 1024G/s'),
            ("1M/s", '"1M/s" is not known; known here: in, out, burst'),
            ("burst=1M", "bounds nothing; write in=1M/s, for example, or out=10M/s, or both"),
            ("in=1M/s burst=1x", 'burst: "1x" is not a size; write a whole number of bytes, or k, M or G'),
            ("in=1M/s burst=0", 'burst: "0": a size is more than 0, and at most 1024G'),
            ("in=1M/s burst=64k", "burst: a tenth of what comes in a second is needed, 104857 at least"),
        ):
            expected = [f"proxy.ini:6: [listener l] bandwidth: {problem}"]
            self.assertEqual(self.problems(f"{POOL}bandwidth = {text}\n"), expected)
