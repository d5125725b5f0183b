"""What does compression save, and what does it cost?  Its metrics."""

from __future__ import annotations

from typing import Iterator

from prometheus_client.core import CounterMetricFamily, Metric

from proxyd.snapshots import Snapshot

LABELS = ("listener", "route", "encoding")


def metrics(snapshot: Snapshot) -> Iterator[Metric]:
    """The families, if anything is compressed or decoded; the ratio is that of the two kinds of bytes."""
    if not snapshot.compression:
        return
    answers = CounterMetricFamily(
        "proxyd_compression_answers",
        "Answers whose body was put into the encoding on the way; identity if it was decoded.",
        labels=LABELS,
    )
    moved = CounterMetricFamily(
        "proxyd_compression_bytes",
        "Bytes of these bodies as they came from servers (in), and as they left (out).",
        labels=(*LABELS, "direction"),
    )
    cpu = CounterMetricFamily(
        "proxyd_compression_cpu_seconds", "What of the processor that has taken.", labels=LABELS
    )
    passed_over = CounterMetricFamily(
        "proxyd_compression_passed_over",
        "Answers that stayed as they were, because there was no time.",
        labels=LABELS,
    )
    for one in snapshot.compression:
        key = (one.listener, one.route, one.encoding)
        answers.add_metric(key, one.answers)
        moved.add_metric((*key, "in"), one.bytes_in)
        moved.add_metric((*key, "out"), one.bytes_out)
        cpu.add_metric(key, one.cpu_seconds)
        passed_over.add_metric(key, one.passed_over)
    yield from (answers, moved, cpu, passed_over)
