"""
Does a client that never reads hold up the others, or fill the daemon?

One client asks Redis for 100 MB and reads none of it, while others exchange 64 bytes through the same
daemon.  What it costs the others is printed, and may not be far more than without it; the daemon holds none
of the 100 MB.  In the end the client reads after all, and gets every byte.
"""

from __future__ import annotations

import socket
from time import perf_counter

from attrs import frozen

from tests.proof._footing import GROWTH, MIB, footprint, prove, unchanged
from tests.support.daemon import relay
from tests.support.services import redis
from tests.support.stage import Place, Stage, program

SIZE = 100 * MIB
OTHERS = 8
EXCHANGES = 20_000
WARM_UP = 2000
WORD = b"x" * 57
REQUEST = b"ECHO " + WORD + b"\r\n"
ANSWER = b"$57\r\n" + WORD + b"\r\n"  # 64 bytes there, 64 back

# How late the others may be beside it: more than a machine varies, far less than a daemon that is held up.
WORSE_TIMES = 5
WORSE_SECONDS = 0.005


@frozen
class Taken:
    """How long an exchange took (seconds): half of them at most so long, and all but one in a hundred."""

    half: float
    late: float

    def __str__(self) -> str:
        return f"p50 {self.half * 1e6:.0f} us, p99 {self.late * 1e6:.0f} us"


def connected(place: Place) -> socket.socket:
    """A client that sends at once."""
    skt = place.socket()
    skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return skt


def read_exactly(skt: socket.socket, size: int) -> int:
    """Read so many bytes, or to the end; return how many came."""
    count = 0
    while count < size:
        data = skt.recv(min(256 * 1024, size - count))
        if not data:
            break
        count += len(data)
    return count


def exchange(clients: list[socket.socket], times: int) -> Taken:
    """Have the clients exchange 64 bytes in turn; return how long that took them."""
    taken = []
    for number in range(times):
        client = clients[number % len(clients)]
        began = perf_counter()
        client.sendall(REQUEST)
        answer = client.recv(len(ANSWER), socket.MSG_WAITALL)
        taken.append(perf_counter() - began)
        assert answer == ANSWER, answer
    taken.sort()
    return Taken(taken[times // 2], taken[times * 99 // 100])


async def proof(stage: Stage) -> str:
    server = await redis(stage)
    await stage.check(
        program("redis-cli", "redis-tools"), "-h", server.place.host, "-p", str(server.place.port),
        "setrange", "large", str(SIZE - 1), "x",
    )  # fmt: skip
    daemon = await relay(stage, server.place)
    first = connected(daemon.front)
    exchange([first], WARM_UP)
    first.close()
    before = await footprint(daemon)

    clients = [connected(daemon.front) for _ in range(OTHERS)]
    alone = exchange(clients, EXCHANGES)
    print(f"without a stalled client: {alone}; {daemon.resident() / MIB:.1f} MiB resident")
    stalled = connected(daemon.front)
    stalled.sendall(b"GET large\r\n")
    beside = exchange(clients, EXCHANGES)
    grown = daemon.resident() - before.resident
    print(f"with one:                 {beside}; {daemon.resident() / MIB:.1f} MiB resident")
    most = WORSE_TIMES * alone.late + WORSE_SECONDS
    assert beside.late <= most, f"the others were held up: p99 {beside.late * 1e6:.0f} us beside it"
    metrics = await daemon.metrics()
    taken = metrics['proxyd_bytes_total{direction="out",listener="front",pool="servers",server="a"}']
    taken -= (2 * EXCHANGES + WARM_UP) * len(ANSWER)
    print(f"of {SIZE / MIB:.0f} MiB the daemon has taken {taken / MIB:.1f} for it (the kernel holds them)")
    assert 0 < taken < SIZE, "it was not stalled at all"
    assert grown <= GROWTH, f"memory has grown by {grown / MIB:.1f} MiB"

    head = b"$%d\r\n" % SIZE
    whole = len(head) + SIZE + len(b"\r\n")
    count = read_exactly(stalled, whole)
    assert count == whole, f"{count} of {whole} bytes came when it read again"
    for client in (stalled, *clients):
        client.close()
    kept = await unchanged(daemon, before)
    return f"the others: {alone} without, {beside} with it; {grown / MIB:+.1f} MiB meanwhile; then {kept}"


if __name__ == "__main__":
    prove(proof)
