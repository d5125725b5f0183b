"""
What is measured?

A row is a load and the figures that are read from it; a figure may have a target, which is the ratio to the
better of the peers that it shall reach.  A ratio is always ours to theirs such that more is better.
"""

from __future__ import annotations

import time
from typing import Callable, Mapping, Optional

import attrs

from bench import h2load
from bench.load import Load, Result
from bench.proxies import Proxy

SETTLE_SECONDS = 0.5  # before memory is looked at

IDLE = 1900  # connections

GB = 1e9

HAPROXIES = ("haproxy", "haproxy-splice")


@attrs.frozen
class Figure:
    """One number of a row: what it is called, in which unit, and whether less is better."""

    name: str
    unit: str
    read: Callable[[Result], float]
    target: Optional[float] = None
    less_is_better: bool = False
    compared: bool = True
    itself_a_ratio: bool = False  # its target is what ours shall reach; peers are only shown


@attrs.frozen
class Row:
    """One kind of load."""

    name: str
    text: str
    figures: tuple[Figure, ...]
    load: Mapping[str, int] = {}
    fresh: bool = False  # needs a proxy that has done nothing yet
    beside: Mapping[str, int] = {}  # a load on the same proxy that this one is compared with
    streams: Mapping[str, int] = {}  # of HTTP/2, stored or compressed, by `h2load` instead of our own load
    lacking: tuple[str, ...] = ()  # proxies that do nothing of the kind, or only in another way
    checked: int = 0  # servers that are only checked; compared with the same load on a proxy without them

    @property
    def bulk(self) -> bool:
        """Whether it moves bulk, so that splicing matters."""
        return "uploads" in self.load or "downloads" in self.load or self.load.get("size", 0) > 1_000_000

    def measure(self, load: Load, proxy: Proxy, seconds: float, warmup: float) -> Result:
        """Load a proxy; ``seconds`` count, after those to warm up."""
        if self.streams:
            return h2load.measure(proxy, seconds, warmup, **self.streams)
        if self.fresh:
            return measure_memory(load, proxy, self.load)
        how = {"port": proxy.port, "pid": proxy.pid, "seconds": seconds, "warmup": warmup}
        result = load.measure(**how, **self.load)
        return {**result, "beside": load.measure(**how, **self.beside)} if self.beside else result


def measure_memory(load: Load, proxy: Proxy, further: Mapping[str, int]) -> Result:
    """What a proxy's memory grows by while it relays idle connections."""
    load.hold(port=proxy.port, connections=32, **further)  # what is made once is there before we look
    load.release()
    time.sleep(SETTLE_SECONDS)
    before = proxy.memory()
    held = load.hold(port=proxy.port, connections=IDLE, **further)
    time.sleep(SETTLE_SECONDS)
    grown = proxy.memory() - before
    load.release()
    return {**held, "memory": grown}


def rate(what: str) -> Callable[[Result], float]:
    """How often a second."""
    return lambda result: float(result[what] / result["seconds"])


def cost(what: str) -> Callable[[Result], float]:
    """Microseconds of the proxy's processor for each."""
    return lambda result: float(1e6 * result["cpu"] / result[what]) if result[what] else 0.0


def gigabits(what: str) -> Callable[[Result], float]:
    """Gbit/s."""
    return lambda result: float(8 * result[what] / GB / result["seconds"])


def cost_of_bytes(what: str) -> Callable[[Result], float]:
    """Seconds of the proxy's processor for a gigabyte."""
    return lambda result: float(result["cpu"] / (result[what] / GB)) if result[what] else 0.0


def value(what: str) -> Callable[[Result], float]:
    """A number as it was measured."""
    return lambda result: float(result[what])


def share(what: str) -> Callable[[Result], float]:
    """Per cent of a core."""
    return lambda result: float(100 * result[what] / result["seconds"])


# Where neither core is busy, the rate says how long things took rather than how much can be done.
BUSY = (
    Figure("proxy's core busy", "%", share("cpu"), compared=False),
    Figure("load's core busy", "%", share("load_busy"), compared=False),
)


def latency(what: str, target: Optional[float] = None) -> Figure:
    """A percentile of the latency."""
    return Figure(what, "µs", value(what), target, less_is_better=True)


def exchanges(target: Optional[float] = None) -> tuple[Figure, ...]:
    """Rate and cost of exchanges."""
    return (
        Figure("exchanges", "/s", rate("exchanges"), target),
        Figure("CPU an exchange", "µs", cost("exchanges"), target, less_is_better=True),
        *BUSY,
    )


def memory(target: float) -> tuple[Figure, ...]:
    """What an idle connection takes."""
    return (
        Figure(
            "memory a connection",
            "bytes",
            lambda result: float(result["memory"] / max(1, result["held"])),
            target,
            less_is_better=True,
        ),
    )


def handshakes(what: str) -> tuple[Figure, ...]:
    """Rate and cost of TLS handshakes, with the connections around them."""
    return (
        Figure("handshakes", "/s", rate(what), 0.6),
        Figure("CPU a handshake", "µs", cost(what), 0.6, less_is_better=True),
        *BUSY,
    )


def bulk(what: str, target: float = 1.0) -> tuple[Figure, ...]:
    """Rate and cost of bulk."""
    return (
        Figure("bulk", "Gbit/s", gigabits(what), target),
        Figure("CPU a GB", "s", cost_of_bytes(what), less_is_better=True),
        *BUSY,
    )


def to_the_other(what: str) -> Callable[[Result], float]:
    """The rate to that of the load beside it."""

    def read(result: Result) -> float:
        other = rate(what)(result["beside"])
        return rate(what)(result) / other if other else 0.0

    return read


# Bulk that goes as fast as it can is not the same bulk for all: who moves more of it has less time for the
# rest, and the kernel's queues make the percentiles jump.  So there is a row with the same bulk for all, too.
UNDER_BULK = (
    latency("p99", 0.7),
    latency("p50"),
    Figure("bulk to the server", "Gbit/s", gigabits("bytes_up"), compared=False),
    Figure("bulk from the server", "Gbit/s", gigabits("bytes_down"), compared=False),
)


def without(what: str) -> Callable[[Result], float]:
    """A number of the load beside it."""
    return lambda result: float(result["beside"][what])


def of_that_without(what: str) -> Callable[[Result], float]:
    """What a number of the load beside it is to this one."""
    return lambda result: float(result["beside"][what] / result[what]) if result[what] else 0.0


def requests(what: str, target: Optional[float] = None) -> tuple[Figure, ...]:
    """Rate and cost of requests."""
    return (
        Figure("requests", "/s", rate(what), target),
        Figure("CPU a request", "µs", cost(what), target, less_is_better=True),
        *BUSY,
    )


ROWS = {
    row.name: row
    for row in (
        Row("small64", "64-byte exchanges on 64 connections", exchanges(0.75), {"exchangers": 64}),
        Row(
            "one",
            "64-byte exchanges on 1 connection",
            (latency("p50", 0.8), latency("p99")),
            {"exchangers": 1},
        ),
        Row(
            "medium",
            "16 KB exchanges on 32 connections",
            exchanges(),
            {"exchangers": 32, "size": 16384},
        ),
        Row(
            "connect",
            "connect, a 64-byte exchange and close, 32 in flight",
            (
                Figure("connections", "/s", rate("connects"), 0.7),
                Figure("CPU a connection", "µs", cost("connects"), 0.7, less_is_better=True),
                *BUSY,
            ),
            {"connectors": 32},
        ),
        Row("upload", "bulk to the server on 4 connections", bulk("bytes_up"), {"uploads": 4}),
        Row("download", "bulk from the server on 4 connections", bulk("bytes_down"), {"downloads": 4}),
        Row(
            "passthrough",
            "bulk to the server on 4 connections that begin with a ClientHello, which is read",
            (
                *bulk("bytes_up"),
                Figure("to that without TLS", "ratio", to_the_other("bytes_up"), 0.95, itself_a_ratio=True),
            ),
            {"uploads": 4, "tls": 1},
            beside={"uploads": 4},
        ),
        Row(
            "httpkeep",
            "HTTP: GET of 1 KB on 64 connections that are kept",
            requests("exchanges", 0.65),
            {"exchangers": 64, "http": 1, "size": 1024},
        ),
        Row(
            "httpclose",
            "HTTP: connect, a GET of 1 KB and close, 32 in flight",
            requests("connects", 0.65),
            {"connectors": 32, "http": 1, "size": 1024},
        ),
        Row(
            "http100k",
            "HTTP: GET of 100 KB on 16 connections",
            requests("exchanges", 1.0),
            {"exchangers": 16, "http": 1, "size": 102_400},
        ),
        Row(
            "http10m",
            "HTTP: GET of 10 MB on 4 connections",
            bulk("bytes_down"),
            {"exchangers": 4, "http": 1, "size": 10_485_760},
        ),
        Row(
            "httpput",
            "HTTP: PUT of 10 MB on 4 connections",
            bulk("bytes_up"),
            {"exchangers": 4, "http": 1, "size": 10_485_760, "put": 1},
        ),
        Row(
            "websocket",
            "64-byte exchanges on 64 connections that were upgraded",
            exchanges(0.9),
            {"exchangers": 64, "http": 1, "upgrade": 1},
        ),
        Row(
            "h2",
            "HTTP/2: GET of 1 KB on 10 connections with 10 streams each",
            requests("exchanges", 0.15),
            streams={"clients": 10, "streams": 10, "size": 1024},
        ),
        Row(
            "cached1k",
            "HTTP: GET of 1 KB that is stored, on 64 connections",
            requests("exchanges", 0.7),
            streams={"clients": 64, "streams": 1, "size": 1024, "cached": 1},
        ),
        Row(
            "cached100k",
            "HTTP: GET of 100 KB that is stored, on 16 connections",
            requests("exchanges", 0.7),
            streams={"clients": 16, "streams": 1, "size": 102_400, "cached": 1},
        ),
        Row(
            "gzip",
            "HTTP: GET of 100 KB of JSON, compressed by gzip at level 1, on 16 connections",
            requests("exchanges", 0.9),
            streams={"clients": 16, "streams": 1, "size": 102_400, "gzip": 1},
            lacking=HAPROXIES,
        ),
        Row(
            "static1k",
            "HTTP: GET of a file of 1 KB on 64 connections",
            requests("exchanges", 0.7),
            {"exchangers": 64, "http": 1, "files": 1, "size": 1024},
            lacking=HAPROXIES,
        ),
        Row(
            "static1m",
            "HTTP: GET of a file of 1 MB on 16 connections",
            bulk("bytes_down"),
            {"exchangers": 16, "http": 1, "files": 1, "size": 1024**2},
            lacking=HAPROXIES,
        ),
        Row(
            "static1g",
            "HTTP: GET of a file of 1 GB on 4 connections",
            bulk("bytes_down"),
            {"exchangers": 4, "http": 1, "files": 1, "size": 1024**3},
            lacking=HAPROXIES,
        ),
        Row("memory", f"{IDLE:,} idle connections", memory(1.5), fresh=True),
        Row(
            "underbulk",
            "64-byte exchanges on 8 connections while bulk runs in each direction, as fast as it goes",
            UNDER_BULK,
            {"exchangers": 8, "uploads": 1, "downloads": 1},
        ),
        Row(
            "underpaced",
            "64-byte exchanges on 8 connections while bulk runs in each direction, at 2 Gbit/s",
            UNDER_BULK,
            {"exchangers": 8, "uploads": 1, "downloads": 1, "pace": 250_000_000},
        ),
        Row(
            "underflood",
            "64-byte exchanges on 8 connections while 1,000 connections a second come and go",
            (
                latency("p99", 0.7),
                latency("p50"),
                Figure("connections", "/s", rate("connects"), compared=False),
            ),
            {"exchangers": 8, "rate": 1000},
        ),
        Row(
            "tlssmall",
            "1 KB exchanges on 64 connections whose TLS ends",
            exchanges(0.6),
            {"exchangers": 64, "size": 1024, "secure": 1},
        ),
        Row(
            "tlsdownload",
            "downloads of 1 MB on 4 connections that are kept, and whose TLS ends",
            bulk("bytes_down", 0.6),
            {"exchangers": 4, "reply": 1_048_576, "secure": 1},
        ),
        Row(
            "tlsupload",
            "bulk to the server on 4 connections whose TLS ends",
            bulk("bytes_up", 0.6),
            {"uploads": 4, "secure": 1},
        ),
        Row(
            "tlsconnect",
            "connect, a full TLS handshake, a 64-byte exchange and close, 32 in flight",
            handshakes("handshakes"),
            {"connectors": 32, "secure": 1},
        ),
        Row(
            "tlsresume",
            "connect, a TLS handshake that resumes a session, a 64-byte exchange and close, 32 in flight",
            handshakes("resumed"),
            {"connectors": 32, "secure": 1, "resume": 1},
        ),
        Row("tlsmemory", f"{IDLE:,} idle connections whose TLS ends", memory(0.6), {"secure": 1}, fresh=True),
        Row(
            "checks",
            "64-byte exchanges on 8 connections while 1,000 checks are in flight, 200 new ones a second",
            (
                latency("p99", 0.7),
                latency("p50"),
                Figure("p99 without checks", "µs", without("p99"), less_is_better=True, compared=False),
                Figure("p99 without to with", "ratio", of_that_without("p99"), 0.8, itself_a_ratio=True),
            ),
            {"exchangers": 8},
            checked=1000,
        ),
    )
}

GROUPS = {
    "http": ("httpkeep", "httpclose", "http100k", "http10m", "httpput", "websocket", "h2"),
    "cache": ("cached1k", "cached100k"),
    "web": ("gzip", "static1k", "static1m", "static1g"),
    "bulk": ("upload", "download", "passthrough"),
    "tls": ("tlssmall", "tlsdownload", "tlsupload", "tlsconnect", "tlsresume", "tlsmemory"),
    "p99": ("underbulk", "underpaced", "underflood"),
}
