"""Is shown what compression saves, and what it costs?"""

from __future__ import annotations

from proxyd.ops.compression import metrics
from proxyd.policy.compression import CompressionSnapshot
from proxyd.snapshots import Snapshot
from tests.support.case import Case


class Metrics(Case):
    def test_metrics(self) -> None:
        """Both kinds of bytes, so that their ratio is known, the time it took, and what it took none for."""
        shown = CompressionSnapshot("web", "api", "gzip", 3, 1000, 250, 0.5, 7)
        samples = [
            (sample.name, sample.labels.get("direction", ""), sample.value)
            for family in metrics(Snapshot((), (), compression=(shown,)))
            for sample in family.samples
        ]
        self.assertEqual(
            samples,
            [
                ("proxyd_compression_answers_total", "", 3),
                ("proxyd_compression_bytes_total", "in", 1000),
                ("proxyd_compression_bytes_total", "out", 250),
                ("proxyd_compression_cpu_seconds_total", "", 0.5),
                ("proxyd_compression_passed_over_total", "", 7),
            ],
        )

    def test_none(self) -> None:
        """Where nothing is compressed nothing is said of it."""
        self.assertEqual(list(metrics(Snapshot((), ()))), [])
