"""
What is seen of caches, and how is what they store thrown away?

The families of the metrics, and the commands of the admin socket.
"""

from __future__ import annotations

from typing import Callable, Iterator, Optional, Protocol, Union

from attrs import asdict
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from twisted.logger import Logger

from proxyd.config.options import unknown
from proxyd.errors import Malformed
from proxyd.ops.command import NOBODY_KNOWN, Answer, Caller, Command, Declined, Given, Parameter, Steered
from proxyd.snapshots import CacheSnapshot, DiskSnapshot, Snapshot

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


_Kind = Union[type[CounterMetricFamily], type[GaugeMetricFamily]]

_COUNT, _NOW = CounterMetricFamily, GaugeMetricFamily

# What there is of each cache: its kind, its name, what it is, and where that stands.
_OF_EACH: tuple[tuple[_Kind, str, str, Callable[[CacheSnapshot], int]], ...] = (
    (_COUNT, "saved_bytes", "Bytes of bodies that were sent without asking a server.", lambda of: of.saved),
    (_COUNT, "evicted", "Answers that had to make room for others.", lambda of: of.evicted),
    (_COUNT, "purged", "Answers that were thrown away by the operator.", lambda of: of.purged),
    (_NOW, "entries", "Answers that are stored.", lambda of: of.entries),
    (_NOW, "used_bytes", "Memory that they use.", lambda of: of.used),
    (_NOW, "size_bytes", "Memory that they may use.", lambda of: of.size),
)

# The same of the disk, of those that have one.
_OF_DISKS: tuple[tuple[_Kind, str, str, Callable[[DiskSnapshot], int]], ...] = (
    (_NOW, "entries", "Answers that are stored on the disk.", lambda of: of.entries),
    (_NOW, "used_bytes", "Disk that they use.", lambda of: of.used),
    (_NOW, "size_bytes", "Disk that they may use.", lambda of: of.size),
    (_NOW, "index_used_bytes", "Memory that is used to know what is on the disk.", lambda of: of.index),
    (_NOW, "index_size_bytes", "Memory that may be used for that.", lambda of: of.index_size),
    (_COUNT, "evicted", "Answers on the disk that had to make room for others.", lambda of: of.evicted),
    (_COUNT, "purged", "Answers on the disk that were found to be purged.", lambda of: of.purged),
    (_COUNT, "skipped", "Answers that were not written to the disk, which was busy.", lambda of: of.skipped),
)


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """The metrics of caches, where there are some."""
    if not snapshot.caches:
        return
    requests = CounterMetricFamily(
        "proxyd_cache_requests", "Requests, by what they had of the cache.", labels=("cache", "result")
    )
    for cache in snapshot.caches:
        for result, count in cache.requests:
            requests.add_metric((cache.name, result), count)
    yield requests
    for kind, name, text, value in _OF_EACH:
        family = kind(f"proxyd_cache_{name}", text, labels=("cache",))
        for cache in snapshot.caches:
            family.add_metric((cache.name,), value(cache))
        yield family
    for kind, name, text, of_disk in _OF_DISKS:
        family = kind(f"proxyd_cache_disk_{name}", text, labels=("cache",))
        for cache in snapshot.caches:
            if cache.disk is not None:
                family.add_metric((cache.name,), of_disk(cache.disk))
        yield family


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
