"""
How does a test give a daemon clients that come at times of their own, stay a while, and leave?

They come from several addresses of the loopback network, independently of each other, ask Redis whether it
is there, and hold their connections for a time.  The same seed makes the same clients.
"""

from __future__ import annotations

import socket
from random import Random
from typing import Any, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from tests.support.peer import SocketPeer
from tests.support.stage import PATIENCE, Place, Stage

PING, PONG = b"PING\r\n", b"+PONG\r\n"


@frozen
class Client:
    """When one comes, where to, from where, how long it stays, and how often it asks."""

    at: float
    place: Place
    source: str
    stays: float
    asks: int


def clients(places: Sequence[Place], count: int, rate: float, stays: float, seed: int) -> list[Client]:
    """So many clients of each place, in the order of their times; the rate is of all together."""
    dice = Random(seed)
    where = [place for place in places for _ in range(count)]
    dice.shuffle(where)
    found, at = [], 0.0
    for place in where:
        at += dice.expovariate(rate)
        source = f"127.1.{dice.randrange(40)}.{dice.randrange(1, 255)}"
        found.append(Client(at, place, source, dice.expovariate(1 / stays), 1 + int(dice.expovariate(0.1))))
    return found


async def visit(stage: Stage, visitors: Sequence[Client]) -> None:
    """All of them come, and have left."""
    began = stage.reactor.seconds()
    visits = [Deferred.fromCoroutine(_visit(stage.reactor, began, client)) for client in visitors]
    await gatherResults(visits, consumeErrors=True)


async def _visit(reactor: Any, began: float, client: Client) -> None:
    await deferLater(reactor, max(0.0, began + client.at - reactor.seconds()))
    skt = socket.create_connection((client.place.host, client.place.port), PATIENCE, (client.source, 0))
    peer = SocketPeer(reactor, skt)
    try:
        peer.send(PING * client.asks)
        await peer.receives(len(PONG) * client.asks)
        await deferLater(reactor, client.stays)
        peer.finish()
        await peer.sees_end()
    finally:
        peer.close()
