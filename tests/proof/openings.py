"""
Do a hundred thousand broken openings each end as they should, and do servers hear of none that is not right?

PROXY headers and ClientHellos, and both, are broken in the same ways in every run, and sent to a daemon in
pieces, some with an end behind them and some without.  Each client waits to be closed.  What the parsers say
of the same bytes in one piece says what must come of them: which reason in the access log, and exactly which
bytes at the server.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from random import Random
from time import perf_counter
from typing import Any, Iterator, Union

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from proxyd.errors import Reason
from tests.proof._footing import footprint, prove, unchanged
from tests.support.daemon import Daemon, start
from tests.support.mutations import mutations
from tests.support.openings import KINDS, Kind, verdict
from tests.support.stage import Place, Stage

OPENINGS = 100_000
WARM_UP = 10_000  # with fewer the allocator still has a MiB to take
IN_FLIGHT = 300
SEED = 4711
MOST_PIECES = 4
FINISHED = 0.8  # this share has an end behind it; of the others, those that are cut short take TIMEOUT each

# opening_timeout, seconds: on a busy machine several hundred clients need some time for their pieces.
TIMEOUT = 2.0
# How late a client may notice: the wheel's ticks, and a daemon that has some hundred others to serve.
LATE = 5.0

# A connection that was led to the server ends with either of these: both sides close in order.
IN_ORDER = ("client_finished", "server_finished")


@frozen
class Broken:
    """A broken opening: where it goes, in which pieces, and what must come of it."""

    number: int
    kind: Kind
    pieces: tuple[bytes, ...]
    finished: bool
    expected: Union[bytes, Reason]

    @property
    def source(self) -> str:
        """The address it is sent from, by which it is found in the access log."""
        return f"127.{1 + (self.number >> 16)}.{self.number >> 8 & 255}.{self.number & 255}"


def openings(seed: int, count: int) -> Iterator[Broken]:
    """The same for the same seed."""
    random = Random(seed)
    broken = [(kind, mutations(random, kind.seeds, count)) for kind in KINDS]
    for number in range(count):
        kind, ones = random.choice(broken)
        data = next(ones)
        cuts = sorted(random.choices(range(len(data) + 1), k=random.randrange(MOST_PIECES)))
        pieces = tuple(data[one:other] for one, other in zip([0, *cuts], [*cuts, len(data)]))
        finished = random.random() < FINISHED
        yield Broken(number, kind, pieces, finished, verdict(kind, data, finished))


@implementer(IHalfCloseableProtocol)
class Client(Protocol):
    """Sends one opening, a piece in each turn, and waits until it is closed."""

    transport: Any

    def __init__(self, opening: Broken, reactor: Any) -> None:
        self.opening = opening
        self.ended: Deferred[float] = Deferred()  # with the seconds that it took
        self.heard = b""
        self._reactor = reactor
        self._pieces = list(opening.pieces)
        self._began = perf_counter()

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self._go_on()

    def _go_on(self) -> None:
        if not self.transport.connected:
            return
        if self._pieces:
            self.transport.write(self._pieces.pop(0))
            self._reactor.callLater(0, self._go_on)
        elif self.ended.called:
            self.transport.loseConnection()
        elif self.opening.finished:
            self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def readConnectionLost(self) -> None:
        self._end()
        if not self._pieces:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our own end has left."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end()

    def _end(self) -> None:
        if not self.ended.called:
            self.ended.callback(perf_counter() - self._began)


class ClientMade(ClientFactory):
    """Makes the one client."""

    noisy = False

    def __init__(self, client: Client) -> None:
        self.client = client

    def buildProtocol(self, addr: Any) -> Client:
        return self.client

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.client.ended.errback(reason)


@implementer(IHalfCloseableProtocol)
class Listening(Protocol):
    """Closes its side at once, and hears the client to its end."""

    factory: Any
    transport: Any

    def connectionMade(self) -> None:
        self._heard = b""
        self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        self._heard += data

    def readConnectionLost(self) -> None:
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our own end has left."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.heard[self._heard] += 1


class ListeningFactory(Factory):
    """The server; it counts what it has heard."""

    noisy = False
    protocol = Listening

    def __init__(self) -> None:
        self.heard: Counter[bytes] = Counter()


@frozen
class Sent:
    """What has come of many."""

    reasons: dict[str, Reason]  # of those that are refused, by their source
    heard: Counter[bytes]  # what the server must have heard
    latest: float  # seconds until the last of them was closed


async def send(stage: Stage, fronts: dict[str, Place], ones: Iterator[Broken]) -> Sent:
    """Send them all, many at a time."""
    reasons: dict[str, Reason] = {}
    heard: Counter[bytes] = Counter()
    latest = 0.0

    async def some() -> None:
        nonlocal latest
        for one in ones:
            client = Client(one, stage.reactor)
            front = fronts[one.kind.name]
            stage.reactor.connectTCP(front.host, front.port, ClientMade(client), bindAddress=(one.source, 0))
            seconds = await client.ended.addTimeout(TIMEOUT + LATE, stage.reactor)
            assert client.heard == b"", f"{one} was answered"
            latest = max(latest, seconds)
            if isinstance(one.expected, Reason):
                reasons[one.source] = one.expected
            else:
                heard[one.expected] += 1

    await gatherResults([Deferred.fromCoroutine(some()) for _ in range(IN_FLIGHT)], consumeErrors=True)
    return Sent(reasons, heard, latest)


def check_log(daemon: Daemon, first: int, sent: Sent) -> Counter[str]:
    """Each line has the reason that it must have; return how often there was each."""
    found: Counter[str] = Counter()
    with open(daemon.access_log, encoding="ascii") as file:
        for line in islice(file, first, None):
            record = json.loads(line)
            source = (record["via"] or record["client"]).rpartition(":")[0]
            expected = sent.reasons.get(source)
            right = IN_ORDER if expected is None else (expected.code,)
            assert record["reason"] in right, f"{right} was expected: {line}"
            assert (record["server"] == "") == (expected is not None), line
            found[record["reason"]] += 1
    return found


async def proof(stage: Stage) -> str:
    server = stage.tcp()
    factory = ListeningFactory()
    port = stage.reactor.listenTCP(server.port, factory, backlog=IN_FLIGHT, interface=server.host)
    stage.add_cleanup(port.stopListening)
    fronts = {kind.name: stage.tcp() for kind in KINDS}
    sections = [f"[pool servers]\nserver a = {server}"]
    for kind in KINDS:
        sections.append(f"[listener {kind.name}]\nbind = {fronts[kind.name].bind}\npool = servers")
        sections.append(f"opening_timeout = {TIMEOUT * 1000:.0f}ms")
        sections += ["proxy_protocol = 127.0.0.0/8"] * kind.header + ["tls = passthrough"] * kind.tls
    daemon = await start(stage, "\n".join(sections), fronts["tls"])

    await send(stage, fronts, openings(SEED + 1, WARM_UP))
    before = await footprint(daemon)
    factory.heard.clear()

    began = perf_counter()
    sent = await send(stage, fronts, openings(SEED, OPENINGS))
    seconds = perf_counter() - began
    await daemon.leaves_nothing()
    await daemon.records(WARM_UP + OPENINGS)
    found = check_log(daemon, WARM_UP, sent)
    print(f"{OPENINGS} ended so: {dict(found.most_common())}")
    assert sum(found.values()) == OPENINGS, f"{sum(found.values())} connections were logged"
    assert factory.heard == sent.heard, f"heard too much: {factory.heard - sent.heard}"
    metrics = await daemon.metrics()
    internal = [name for name in metrics if 'reason="internal"' in name and metrics[name]]
    assert not internal, internal
    led = sum(sent.heard.values())
    kept = await unchanged(daemon, before)
    return (
        f"{OPENINGS} openings, {led} right and led on unchanged, the others refused for the right reason; "
        f"{OPENINGS / seconds:.0f}/s, each closed within {sent.latest:.1f} s; {kept}"
    )


if __name__ == "__main__":
    prove(proof)
