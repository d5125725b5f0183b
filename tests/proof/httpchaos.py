"""
Does everybody get the own answer, and whole, while all of HTTP goes on at once and much of it goes wrong?

A daemon with two listeners (one of TLS), routes, a cache with a disk, compression, retries, hedging, cookies
of affinity, passwords, forward authentication and bandwidths leads to two servers, of which one breaks off,
stalls, or answers early or rubbish now and then.  Rude clients abort, reset, pipeline, cut short and open
tunnels, by HTTP/1 and HTTP/2; beside them others see that each answer they get is to their own request, and
whole, by a digest.  At the end there is nothing left, and each request has its one line in the access log.
The same on both datapaths.  ``--seconds`` is how long in all, ``--seed`` for another one.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections import Counter
from typing import Any, Sequence

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from proxyd.policy.cachestore import MOST_ELSEWHERE
from proxyd.relay.lane.pipes import MOST_PIPES
from tests.proof._chaosbreakers import Breaker, Breaker1, Breaker2
from tests.proof._chaosclients import Asker, Multiplexer, Pipeliner, Tunneller
from tests.proof._chaosorigin import BAD, Gatekeeper, Origin
from tests.proof._chaosplans import Fronts, Visitor
from tests.proof._footing import MIB, footprint, prove, unchanged
from tests.support.certificate import key_and_certificate
from tests.support.daemon import SETTLE_SECONDS, Daemon, descriptors, start
from tests.support.stage import LOOK_SECONDS, Stage

SECONDS, SEED = 80, 4711
WARM = 0.3  # share of the time before the daemon is measured
GROWTH = 16 * MIB  # of it, behind that: it stands still after a minute, some 6 to 8 MiB above
JOIN_SECONDS = 90  # more than those wait who find out that they are forgotten

CROWD: Sequence[tuple[type[Visitor], int]] = (
    (Breaker1, 10), (Breaker2, 6), (Asker, 6), (Multiplexer, 4), (Pipeliner, 2), (Tunneller, 2),
)  # fmt: skip

# What counts what there is now, and must be 0 when nobody is there.
GAUGES = (
    "proxyd_connections_open", "proxyd_requests_open", "proxyd_server_connections_open",
    "proxyd_queue_waiting", "proxyd_tarpit_held",
)  # fmt: skip

PIPES = 2 * MOST_PIPES + 5  # both ends of what the lane keeps; the output, and what wakes the reactor

# What counts what must have happened, or nothing was tried.
WORKED = (
    "proxyd_hedged_requests_total",
    "proxyd_connect_retries_total",
    "proxyd_compression_answers_total",
    'proxyd_cache_requests_total{cache="pages",result="hit"',
)

# The user alice, and her password, which is secret.
USERS = "alice:$2y$05$ZCKwhjjBWwf6hH45wv.MguExvQk.9AOBw8P8EBVlMt64N3fFhwAJy\n"


def sections(stage: Stage, datapath: str, fronts: Fronts, servers: Sequence[Origin], gate: Gatekeeper) -> str:
    """The configuration."""
    disk = stage.subfolder(f"{datapath}-disk")
    disk.chmod(0o777)
    users = stage.folder / "users"
    users.write_text(USERS)
    listener = f"protocol = http\ndatapath = {datapath}\ncache = pages\nmax_requests = 100000\n"
    a, b = (server.place for server in servers)
    pool = f"server a = {a} max_connections=10\nresponse_timeout = 1s\nretry_on = 502 503 timeout\n"
    pool += "idle_connection_timeout = 1s\n"  # so that they are gone when they are counted
    route = "listener = web secure\n"
    return f"""
[listener web]
bind = {fronts.plain.bind}
{listener}
pool = app
compression = gzip min_size=100
trusted = 127.0.0.1
error_page 5xx = "oops {{id}}"
header_timeout = 10s
keepalive_timeout = 5s
idle_timeout = 10s

[listener secure]
bind = {fronts.secure.bind}
{listener}
tls = {stage.folder}/web.pem
pool = app
compression = gzip min_size=100
bandwidth = in=20M/s out=20M/s
idle_timeout = 10s

[route fa]
{route}
path = /fa
forward_auth = http://{gate.place}/verify send=x-name copy=x-user timeout=5s
rewrite = /fa / both_ways
max_concurrent_requests = 20
pool = hedged

[route ba]
{route}
path = /ba
auth = basic file:{users} realm=Intern
rewrite = /ba / both_ways
response_header = set X-Resp {{user}}
pool = sticky

[route hedge]
{route}
path = /hedge
rewrite = /hedge /
pool = hedged

[route sticky]
{route}
path = /sticky
rewrite = /sticky /
pool = sticky

[route limited]
{route}
path = /limited
rewrite = /limited /
max_concurrent_requests = 3
request_rate_per_client = 20/s
max_body = 100k
pool = app

[cache pages]
size = 200k
path = {disk}
disk_size = 2M
stale_if_error = 10s

[pool app]
{pool}
server b = {b} max_connections=10
queue = length=30 wait=1s

[pool hedged]
{pool}
server b = {b} max_connections=adaptive
balance = leastconn
hedge_after = 50ms
eject = 5 statuses=500 trial

[pool sticky]
{pool}
server b = {b} max_connections=50
affinity = cookie name=SRV
max_idle_connections = 2
"""


def crowd(fronts: Fronts, seconds: float) -> list[Visitor]:
    """Let all of them go on for so long; AssertionError if one has found something wrong, or is forgotten."""
    visitors = [kind(fronts, number) for kind, count in CROWD for number in range(count)]
    for visitor in visitors:
        visitor.start()
    fronts.over.wait(seconds)
    fronts.over.set()
    for visitor in visitors:
        visitor.join(JOIN_SECONDS)
        assert not visitor.is_alive(), f"{visitor.kind} {visitor.number} does not come to an end"
    wrong = [visitor for visitor in visitors if visitor.wrong]
    for visitor in wrong:
        print(f"{visitor.kind} {visitor.number}: {visitor.wrong}")
    assert not wrong, f"{len(wrong)} of {len(visitors)} clients found something wrong"
    return visitors


def total(samples: dict[str, float], name: str) -> float:
    """The sum of a family's samples."""
    return sum(value for sample, value in samples.items() if sample.startswith(name))


async def at_rest(stage: Stage, daemon: Daemon) -> dict[str, float]:
    """The metrics, when all that is counted as there has gone."""
    await daemon.leaves_nothing()
    left: dict[str, float] = {}
    for _ in range(int(SETTLE_SECONDS / LOOK_SECONDS)):
        samples = await daemon.metrics()
        left = {name: value for name, value in samples.items() if name.startswith(GAUGES) and value}
        if not left:
            return samples
        await deferLater(stage.reactor, LOOK_SECONDS)
    raise AssertionError(f"nobody is there, and the metrics say {left}")


async def recorded(daemon: Daemon, samples: dict[str, float], whole: Sequence[str]) -> int:
    """See that each request is in the log once, and the metrics say as many; how many those are."""
    counted = int(total(samples, "proxyd_requests_total{"))
    records = [record for record in await daemon.records(counted) if "target" in record]
    assert len(records) == counted, f"{len(records)} lines of requests, and the metrics say {counted}"
    lines: Counter[Any] = Counter(
        record["target"] for record in records if "/echo/" in (record["target"] or "")
    )
    twice = [target for target, times in lines.items() if times > 1]
    assert not twice, f"{len(twice)} requests are in the log twice: {twice[:5]}"
    missing = [target for target in whole if target not in lines]
    assert not missing, f"{len(missing)} requests were answered and are not in the log: {missing[:5]}"
    return counted


def count_descriptors(daemon: Daemon) -> int:
    """How many the daemon has that are not kept for later: pipes of the lane, and open files of the cache."""
    links = descriptors(daemon.child.pid)
    pipes = [link for link in links if link.startswith("pipe:")]
    files = [link for link in links if "-disk/" in link]
    assert len(pipes) <= PIPES, f"{len(pipes)} pipes, and {PIPES} may be"
    assert len(files) <= MOST_ELSEWHERE, f"{len(files)} files of the cache, and {MOST_ELSEWHERE} may be"
    return len(links) - len(pipes) - len(files)


def complain(log: str) -> None:
    """Fail if there is a traceback in the daemon's log, and say which in one line."""
    count = log.count("Traceback")
    if count or "Unhandled" in log:
        print(log)
        errors = re.findall(r"^\s*([\w.]+(?:Error|Exception|Failure)\b.*)", log, re.MULTILINE)
        raise AssertionError(f"{count} tracebacks in the daemon's log, of {sorted(set(errors))}")


def summary(visitors: Sequence[Visitor]) -> tuple[Counter[str], Counter[str]]:
    """What those who look found, and what the rude ones did."""
    found: Counter[str] = Counter()
    did: Counter[str] = Counter()
    for visitor in visitors:
        found += visitor.found
        if isinstance(visitor, Breaker):
            did += visitor.did
    return found, did


async def chaos(stage: Stage, datapath: str, seconds: float, seed: int) -> str:
    """One datapath."""
    plain, secure = stage.tcp(), stage.tcp()
    certificate = stage.folder / "web.pem"
    certificate.write_bytes(key_and_certificate(secure.host))
    good, bad = Origin(stage, f"{seed} good"), Origin(stage, f"{seed} bad", bad=True)
    gate = Gatekeeper(stage)

    def fronts(part: str) -> Fronts:
        return Fronts(plain, secure, str(certificate), f"{seed}-{datapath}-{part}")

    configuration = sections(stage, datapath, fronts("none"), (good, bad), gate)
    daemon = await start(stage, configuration, plain)
    visitors = await deferToThread(crowd, fronts("warm"), seconds * WARM)
    before, others = await footprint(daemon), count_descriptors(daemon)
    visitors += await deferToThread(crowd, fronts("main"), seconds * (1 - WARM))
    complain(daemon.log)
    samples = await at_rest(stage, daemon)
    left = count_descriptors(daemon)
    assert left == others, f"there were {others} other descriptors, and now {left}"
    whole = [target for visitor in visitors for target in visitor.whole]
    requests = await recorded(daemon, samples, whole)
    found, did = summary(visitors)
    print(f"{datapath}: {requests} requests, each recorded once")
    print(f"{datapath}: those who look found {json.dumps(found, sort_keys=True)}")
    print(f"{datapath}: the rude ones did {json.dumps(did, sort_keys=True)}")
    print(f"{datapath}: the bad server did {json.dumps(bad.did, sort_keys=True)}")
    for kind in ("whole", "part", "known", "denied", "tunnel", "left"):
        assert found[kind], f"nothing was {kind}"
    asked = sum(count for kind, count in found.items() if kind not in ("left", "connection", "tunnel"))
    assert 2 * found["whole"] > asked, f"only {found['whole']} of {asked} answers were whole"
    assert all(bad.did[kind] for kind in BAD), f"the bad server did only {bad.did}"
    for sample in WORKED:
        assert total(samples, sample), f"{sample} is 0"
    kept = await unchanged(daemon, before, GROWTH)
    shutil.rmtree(daemon.folder)
    return (
        f"{datapath}: {requests} requests, each recorded once, and of {asked} answers that were looked at "
        f"{found['whole'] + found['part'] + found['known']} right, the others refusals or cut; {kept}"
    )


async def proof(stage: Stage) -> str:
    options = argparse.ArgumentParser(prog="httpchaos")
    options.add_argument("--seconds", type=float, default=SECONDS)
    options.add_argument("--seed", type=int, default=SEED)
    chosen = options.parse_args()
    found = [await chaos(stage, datapath, chosen.seconds / 2, chosen.seed) for datapath in ("lane", "stock")]
    return "; ".join(found)


if __name__ == "__main__":
    prove(proof)
