"""
What do the metrics say of requests of HTTP, by where they went and by the routes that they took?

A status is a label as it is if it is one that HTTP knows, else the class that it belongs to, such as
``4xx``: so a server that makes some up adds four series at most.  ``status=~"5.."`` finds both.
"""

from __future__ import annotations

from http import HTTPStatus
from itertools import accumulate
from typing import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from proxyd.errors import Reason
from proxyd.ops.passed import Durations, Passed

FAULTS = {reason.code: reason.fault.value for reason in Reason}

_KNOWN = {0: "0", **{status.value: str(status.value) for status in HTTPStatus}}


def buckets(durations: Durations) -> list[tuple[str, float]]:
    """The bounds with how many were not longer, the last one infinite: a Prometheus histogram."""
    names = [floatToGoString(bound) for bound in durations.bounds] + ["+Inf"]
    return list(zip(names, map(float, accumulate(durations.counts))))


def request_metrics(passed: Passed) -> Iterator[Metric]:
    """What has passed, if any of it was HTTP."""
    if not passed.requests:
        return
    servers = ("listener", "pool", "server")
    requests = CounterMetricFamily(
        "proxyd_requests",
        "Requests of HTTP that are over, by the status of the answer (0: none), by why, and by whose "
        "fault it was.",
        labels=(*servers, "status", "reason", "fault"),
    )
    total = HistogramMetricFamily(
        "proxyd_request_seconds", "How long requests took until their answers were complete.", labels=servers
    )
    first_byte = HistogramMetricFamily(
        "proxyd_first_byte_seconds", "How long requests took until their answers began.", labels=servers
    )
    for key, served in passed.requests.items():
        ended: dict[tuple[str, str], int] = {}
        for (status, code), count in served.ended.items():
            label = _label(status), code
            ended[label] = ended.get(label, 0) + count
        for (status_label, code), count in ended.items():
            requests.add_metric((*key, status_label, code, FAULTS[code]), count)
        total.add_metric(key, buckets(served.total), served.total.total)
        first_byte.add_metric(key, buckets(served.first_byte), served.first_byte.total)
    hedged = CounterMetricFamily(
        "proxyd_hedged_requests",
        "Requests of HTTP of which a second server was asked before the first had answered.",
        labels=("pool",),
    )
    for pool, count in passed.hedged.items():
        hedged.add_metric((pool,), count)
    yield from (requests, total, first_byte, hedged)
    yield from _routes(passed)


def _routes(passed: Passed) -> Iterator[Metric]:
    routes = ("listener", "route")
    requests = CounterMetricFamily(
        "proxyd_route_requests",
        "Requests of HTTP that have taken a route and are over, by the status of the answer.",
        labels=(*routes, "status"),
    )
    total = HistogramMetricFamily(
        "proxyd_route_request_seconds", "How long they took until their answers were complete.", labels=routes
    )
    first_byte = HistogramMetricFamily(
        "proxyd_route_first_byte_seconds", "How long they took until their answers began.", labels=routes
    )
    moved = CounterMetricFamily(
        "proxyd_route_bytes",
        "Bytes received from clients (in) and from servers (out) for them.",
        labels=(*routes, "direction"),
    )
    retries = CounterMetricFamily(
        "proxyd_route_retries", "Servers that were tried in vain for them.", labels=routes
    )
    for key, taken in passed.routes.items():
        for status, count in _by_label(taken.ended).items():
            requests.add_metric((*key, status), count)
        total.add_metric(key, buckets(taken.total), taken.total.total)
        first_byte.add_metric(key, buckets(taken.first_byte), taken.first_byte.total)
        moved.add_metric((*key, "in"), taken.bytes_in)
        moved.add_metric((*key, "out"), taken.bytes_out)
        retries.add_metric(key, taken.retries)
    yield from (requests, total, first_byte, moved, retries)


def _by_label(ended: Mapping[int, int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for status, count in ended.items():
        label = _label(status)
        found[label] = found.get(label, 0) + count
    return found


def _label(status: int) -> str:
    return _KNOWN.get(status) or f"{status // 100}xx"
