"""
What is seen of caches, and how is what they store thrown away?

The families of the metrics, and the commands of the admin socket.
"""

from __future__ import annotations

from typing import Iterator, Optional, Protocol

from attrs import asdict
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from twisted.logger import Logger

from proxyd.config.options import unknown
from proxyd.errors import Malformed
from proxyd.ops.command import NOBODY_KNOWN, Answer, Caller, Command, Declined, Given, Parameter, Steered
from proxyd.snapshots import CacheSnapshot, Snapshot

URL, PREFIX, TAG = "url", "prefix", "tag"

log = Logger()


class Purgeable(Protocol):
    """A cache, as it is steered."""

    def snapshot(self) -> CacheSnapshot:
        """What is known of it."""

    def purge_named(self, url: str) -> int:
        """Throw away what is stored of a URL; how many answers.  Raises `proxyd.errors.Malformed`."""

    def purge_tag(self, tag: bytes) -> int:
        """The same of all that have a tag; how many so far."""

    def purge_prefix(self, prefix: bytes) -> int:
        """The same of all URLs that begin so."""


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """The metrics of caches, where there are some."""
    if not snapshot.caches:
        return
    label = ("cache",)
    requests = CounterMetricFamily(
        "proxyd_cache_requests", "Requests, by what they had of the cache.", labels=("cache", "result")
    )
    saved = CounterMetricFamily(
        "proxyd_cache_saved_bytes", "Bytes of bodies that were sent without asking a server.", labels=label
    )
    evicted = CounterMetricFamily(
        "proxyd_cache_evicted", "Answers that had to make room for others.", labels=label
    )
    purged = CounterMetricFamily(
        "proxyd_cache_purged", "Answers that were thrown away by the operator.", labels=label
    )
    entries = GaugeMetricFamily("proxyd_cache_entries", "Answers that are stored.", labels=label)
    used = GaugeMetricFamily("proxyd_cache_used_bytes", "Memory that they use.", labels=label)
    size = GaugeMetricFamily("proxyd_cache_size_bytes", "Memory that they may use.", labels=label)
    disk_entries = GaugeMetricFamily(
        "proxyd_cache_disk_entries", "Answers that are stored on the disk.", labels=label
    )
    disk_used = GaugeMetricFamily("proxyd_cache_disk_used_bytes", "Disk that they use.", labels=label)
    disk_size = GaugeMetricFamily("proxyd_cache_disk_size_bytes", "Disk that they may use.", labels=label)
    index_used = GaugeMetricFamily(
        "proxyd_cache_disk_index_used_bytes", "Memory that is used to know what is on the disk.", labels=label
    )
    index_size = GaugeMetricFamily(
        "proxyd_cache_disk_index_size_bytes", "Memory that may be used for that.", labels=label
    )
    disk_evicted = CounterMetricFamily(
        "proxyd_cache_disk_evicted", "Answers on the disk that had to make room for others.", labels=label
    )
    disk_purged = CounterMetricFamily(
        "proxyd_cache_disk_purged", "Answers on the disk that were found to be purged.", labels=label
    )
    disk_skipped = CounterMetricFamily(
        "proxyd_cache_disk_skipped",
        "Answers that were not written to the disk, which was busy.",
        labels=label,
    )
    for cache in snapshot.caches:
        name = (cache.name,)
        disk = cache.disk
        if disk is not None:
            disk_entries.add_metric(name, disk.entries)
            disk_used.add_metric(name, disk.used)
            disk_size.add_metric(name, disk.size)
            index_used.add_metric(name, disk.index)
            index_size.add_metric(name, disk.index_size)
            disk_evicted.add_metric(name, disk.evicted)
            disk_purged.add_metric(name, disk.purged)
            disk_skipped.add_metric(name, disk.skipped)
        for result, count in cache.requests:
            requests.add_metric((cache.name, result), count)
        saved.add_metric(name, cache.saved)
        evicted.add_metric(name, cache.evicted)
        purged.add_metric(name, cache.purged)
        entries.add_metric(name, cache.entries)
        used.add_metric(name, cache.used)
        size.add_metric(name, cache.size)
    yield from (requests, saved, evicted, purged, entries, used, size, disk_entries, disk_used, disk_size)
    yield from (index_used, index_size, disk_evicted, disk_purged, disk_skipped)


def _list(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    return {"caches": [_row(cache.snapshot()) for cache in steered.caches.values()]}


def _row(cache: CacheSnapshot) -> Answer:
    return {
        "name": cache.name,
        "entries": cache.entries,
        "used": cache.used,
        "size": cache.size,
        "requests": dict(cache.requests),
        "evicted": cache.evicted,
        "purged": cache.purged,
        "saved": cache.saved,
        "purging": cache.purging,
        "disk": None if cache.disk is None else asdict(cache.disk),
    }


def _purge(steered: Steered, given: Given, caller: Optional[Caller]) -> Answer:
    name = given["cache"]
    cache = steered.caches.get(name)
    if cache is None:
        raise Declined("unknown_cache", f"cache: {unknown(name, steered.caches)}")
    ways = [way for way in (URL, PREFIX, TAG) if way in given]
    if len(ways) != 1:
        raise Declined("bad_parameter", "one of url, prefix and tag says what is thrown away")
    (way,) = ways
    text = given[way]
    try:
        if way == URL:
            count = cache.purge_named(text)
        elif way == TAG:
            count = cache.purge_tag(text.encode("utf-8"))
        else:
            count = cache.purge_prefix(text.encode("utf-8"))
    except Malformed as wrong:
        raise Declined("bad_parameter", f"{way}: {wrong}") from None
    who = f"{caller} (pid {caller.pid})" if caller else NOBODY_KNOWN
    log.info(
        "admin: {who} has purged {count} answers of [cache {name}], {way} {text!r}",
        who=who,
        count=count,
        name=name,
        way=way,
        text=text,
    )
    return {"cache": name, "purged": count, "going_on": way != URL and cache.snapshot().purging}


COMMANDS = (
    Command("cache list", "the caches: how much they store, and what requests had of them", _list),
    Command(
        "cache purge",
        "throw away what is stored of a URL, of all that begin so, or all that has a tag",
        _purge,
        (
            Parameter("cache", "its name", required=True),
            Parameter(URL, "a URL, such as https://www.example.com/logo.png"),
            Parameter(PREFIX, "how URLs begin, such as https://www.example.com/images/"),
            Parameter(TAG, "a word of Surrogate-Key or Cache-Tag"),
        ),
    ),
)
