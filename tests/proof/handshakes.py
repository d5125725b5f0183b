"""
Do a hundred thousand broken TLS handshakes end cleanly, and does a server hear of nothing that is not whole?

Clients of TLS 1.2 and 1.3 shake hands with a daemon that ends TLS, and one of the flights that they send, or
the request behind, is broken in a way that the seed says.  Whatever a client is answered, it must be closed
in time; the server may get the request, or nothing, and the daemon must say nothing but why each was closed.
"""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from time import perf_counter
from typing import Any, Iterator

from attrs import frozen
from OpenSSL import SSL
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure

from tests.proof._footing import MIB, footprint, prove, unchanged
from tests.proof.openings import ListeningFactory
from tests.support.authority import FOR_CLIENTS, Authority
from tests.support.daemon import relay
from tests.support.mutations import mutations
from tests.support.stage import Stage

HANDSHAKES = 100_000
WARM_UP = 5_000
IN_FLIGHT = 100
SEED = 20_26
MOST_PIECES = 3
FINISHED = 0.9  # this share closes its side behind what is broken; the others are waited for
TIMEOUT = 1.0  # handshake_timeout, seconds
LATE = 20.0
NAME = b"www.example.com"
REQUEST = b"what the server may hear"

REASONS = {
    "tls_handshake", "opening_timeout", "client_gone", "client_reset", "client_finished", "server_finished",
    "idle_timeout", "client_unfinished", "server_unfinished",
}  # fmt: skip


@frozen
class Broken:
    """A client: how it speaks, which flight is broken (the third is the request), and by what chance."""

    context: SSL.Context
    flight: int
    random: Random
    finished: bool


class Client(Protocol):
    """Shakes hands, with one flight broken, and waits until it is closed."""

    transport: Any

    def __init__(self, broken: Broken) -> None:
        self.ended: Deferred[float] = Deferred()
        self._broken = broken
        self._flight = 0
        self._over = False  # the broken flight is away
        self._shaken = False
        self._ssl = SSL.Connection(broken.context, None)
        self._ssl.set_tlsext_host_name(NAME)
        self._ssl.set_connect_state()
        self._began = perf_counter()

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self._go_on()

    def dataReceived(self, data: bytes) -> None:
        if not self._over:
            self._ssl.bio_write(data)
            self._go_on()

    def _go_on(self) -> None:
        try:
            if not self._shaken:
                self._ssl.do_handshake()
                self._shaken = True
        except SSL.WantReadError:
            pass
        except SSL.Error:
            self._over = True  # it is told that it is refused
            self.transport.loseConnection()
            return
        self._send()
        if self._shaken and not self._over:
            self._ssl.send(REQUEST)
            self._flight = 2
            self._send()

    def _send(self) -> None:
        try:
            data = self._ssl.bio_read(65536)
        except SSL.WantReadError:
            return
        broken = self._broken
        if self._flight == broken.flight:
            self._over = True
            [data] = mutations(broken.random, [data], 1)
        self._flight += 1
        cuts = sorted(broken.random.choices(range(len(data) + 1), k=broken.random.randrange(MOST_PIECES)))
        for one, other in zip([0, *cuts], [*cuts, len(data)]):
            self.transport.write(data[one:other])
        if self._over and broken.finished:
            self.transport.loseWriteConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
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


def contexts(certificate: str) -> list[SSL.Context]:
    """Clients of both versions, with and without ALPN and a certificate of theirs."""
    made = []
    for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
        for full in (False, True):
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_min_proto_version(version)
            context.set_max_proto_version(version)
            if full:
                context.set_alpn_protos([b"h2", b"http/1.1"])
                context.use_certificate_chain_file(certificate)
                context.use_privatekey_file(certificate)
            made.append(context)
    return made


def handshakes(made: list[SSL.Context], seed: int, count: int) -> Iterator[Broken]:
    """The same faults for the same seed; the randoms within TLS are OpenSSL's own."""
    random = Random(seed)
    for _ in range(count):
        flight = random.choices((0, 1, 2), (6, 3, 1))[0]
        finished = random.random() < FINISHED
        yield Broken(random.choice(made), flight, Random(random.random()), finished)


async def shake(stage: Stage, place: Any, ones: Iterator[Broken]) -> float:
    """All of them, many at a time; how many seconds the longest took."""
    latest = 0.0

    async def some() -> None:
        nonlocal latest
        for one in ones:
            client = Client(one)
            stage.reactor.connectTCP(place.host, place.port, ClientMade(client))
            latest = max(latest, await client.ended.addTimeout(TIMEOUT + LATE, stage.reactor))

    await gatherResults([Deferred.fromCoroutine(some()) for _ in range(IN_FLIGHT)], consumeErrors=True)
    return latest


async def proof(stage: Stage) -> str:
    root, clients = Authority(), Authority("Clients")
    folder = stage.subfolder("certs")
    root.issue(NAME.decode()).write(folder / "www.pem")
    trusted = clients.write(stage.folder / "clients.pem")
    made = contexts(clients.issue("somebody", purpose=FOR_CLIENTS).write(stage.folder / "client.pem"))
    server, behind = stage.tcp(), ListeningFactory()
    await TCP4ServerEndpoint(stage.reactor, server.port, 511, server.host).listen(behind)
    daemon = await relay(
        stage, server,
        listener=f"tls = {folder} alpn=h2 client=optional client_ca={trusted}\n" + "\n".join(
            f"{name}_timeout = {TIMEOUT:g}s" for name in ("handshake", "idle", "half_closed")
        ),
    )  # fmt: skip
    await shake(stage, daemon.front, handshakes(made, SEED + 1, WARM_UP))
    before = await footprint(daemon)
    behind.heard.clear()
    began = perf_counter()
    latest = await shake(stage, daemon.front, handshakes(made, SEED, HANDSHAKES))
    rate = HANDSHAKES / (perf_counter() - began)
    await daemon.leaves_nothing()
    lines = (await daemon.records(WARM_UP + HANDSHAKES))[WARM_UP:]
    reasons = Counter(line["reason"] for line in lines)
    print(json.dumps(reasons, indent=2))
    assert sum(reasons.values()) == HANDSHAKES, reasons
    assert set(reasons) <= REASONS, reasons
    assert reasons["tls_handshake"] > HANDSHAKES / 4, reasons
    assert set(behind.heard) <= {b"", REQUEST}, list(behind.heard)[:3]
    stood = sum(line["tls"] != "" for line in lines)
    assert sum(behind.heard.values()) <= stood, (behind.heard, reasons)
    grown = await unchanged(daemon, before, 4 * MIB)
    return (
        f"{HANDSHAKES} handshakes, {reasons['tls_handshake']} refused by TLS, {stood} stood all the same, "
        f"and the server heard {behind.heard[REQUEST]} requests, all whole; {rate:.0f}/s, each closed within "
        f"{latest:.1f} s; {grown}"
    )


if __name__ == "__main__":
    prove(proof)
